"""
Anthropic's Messages API, as clients speak it.

`messages_api` is the whole of it: `messages_request` reads a body, `error_body` is a refusal and the event that ends a
broken stream. `messages_stream` lets an answer of Anthropic through, and counts it.

In front of other schemas a request goes `to_chat`, and the answer comes back as a `message` or, streamed, through
`from_chat_stream`.
"""
