"""
Between the client's words and the upstream's: bytes in, bytes out, no I/O, no clock.

1. `client_api` says what the gateway asks of an API that clients speak. Each reads the little that we rely on into a
   `generation_request`, with `request_fields`, and `exact_json` where the usual parser would round or refuse.
2. `translator` says what the gateway asks of every pair of a client API and an upstream schema; `pairs` has one module
   for each, and a table of them. What belongs to one schema or API lies in `openai`, `anthropic` and `messages`.
3. `sse` splits a stream into its events. `delivered` estimates what was handed out where an upstream reports nothing.
4. `error_object`, `error_text` and `retry_after` read what an upstream says about a failure.
"""
