"""
One module for each pair of a client API and an upstream schema. `table` names them: a new API, or a new schema, is a row
of it.

`openai_openai` changes only what it must. `openai_anthropic` translates everything, both ways.
"""
