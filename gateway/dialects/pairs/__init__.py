"""
One module for each pair of a client API and an upstream schema; a new schema is a new module here.

`openai_openai` changes only what it must. `openai_anthropic` translates everything, both ways.
"""
