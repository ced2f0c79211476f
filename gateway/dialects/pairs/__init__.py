"""
One module for each pair of a client API and an upstream schema. `table` names them: a new API or schema is a row of it.

`chat_openai` and `messages_anthropic` change only what they must; `chat_anthropic` translates everything both ways.
`messages_chat` puts the Messages API in front of every schema that a chat can be asked of.
"""
