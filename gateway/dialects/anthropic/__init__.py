"""
OpenAI's chat completions spoken to Anthropic's Messages API, and back.

1. `request` makes the body, out of `messages`, `tools`, `response_format`, `sampling` and `thinking`; what has no
   equivalent is refused by name, with the help of `shape`. `messages` asks `content_parts` for text and images, and
   `tool_calls` for calls and results, whose ids `tool_ids` keeps apart. `schema` says a JSON Schema in the words that
   Anthropic's grammar knows.
2. `answer` turns a complete message into a chat completion; `stream` turns events into the frames of `chunks`, while
   `open_blocks` knows which tool calls and thoughts are under way.
3. Both read `usage` and `stop_reasons`, and hand out `thinking_blocks` that come back with the next request.
4. `errors` decides who is to blame.
"""
