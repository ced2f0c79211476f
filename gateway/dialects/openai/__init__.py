"""
OpenAI's words: as a client speaks them, and as an upstream that speaks the same.

1. `request` is what a request is changed into for an upstream.
2. `stream` lets a streamed answer through, searching bytes instead of parsing JSON; `usage` reads the usage on the way.
3. `errors` decides who is to blame for an upstream's error.
4. `error_answer` is how a client sees a refusal, `error_frame` the event that ends a broken stream,
   `keep_alive_frame` one that fills a silence.
"""
