"""
Between the client's schema and the upstream's: bytes in, bytes out, no I/O, no clock.

1. `translator` says what the relay asks of every pair of schemas, and what it gets back.
2. `openai_openai` changes only what it must, as `openai_request` says; `openai_stream` lets a streamed answer through,
   searching bytes instead of parsing JSON, and `openai_usage` reads the usage on the way.
3. `openai_anthropic` translates everything, both ways, with the package `anthropic`.
4. `delivered` estimates what was handed out where an upstream reports nothing.
5. `openai_errors` (and its Anthropic twin) decides who is to blame for an error, from what `error_object`,
   `error_text` and `retry_after` read; `error_frame` is the event that ends a broken stream, `keep_alive_frame`
   one that fills a silence.
"""
