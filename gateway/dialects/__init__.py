"""
Between the client's words and the upstream's: bytes in, bytes out, no I/O, no clock.

1. `chat_request` reads the little of a request that we rely on, with `exact_json` where the usual parser would round or
   refuse.
2. `translator` says what the gateway asks of every pair of a client API and an upstream schema; `pairs` has one module
   for each. What is common to all requests of a schema lies in `openai` and `anthropic`.
3. `sse` splits a stream into its events. `delivered` estimates what was handed out where an upstream reports nothing.
4. `error_object`, `error_text` and `retry_after` read what an upstream says about a failure.
"""
