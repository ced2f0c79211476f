"""
OpenAI's words: as a client speaks them, and as an upstream that speaks the same.

1. `chat_api` is the API of chat completions as clients speak it: `chat_request` reads a body, `error_answer` is a
   refusal, `error_frame` the event that ends a broken stream, `keep_alive_frame` one that fills a silence.
2. `request` is what a request is changed into for an upstream.
3. `stream` lets a streamed answer through, searching bytes instead of parsing JSON; `usage` reads the usage on the way.
4. `errors` decides who is to blame for an upstream's error.
"""
