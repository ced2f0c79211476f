"""
What a simulated model says.

`models` has the limits of each model. `prompts` measures the input and `prompt_cache` remembers its prefixes;
`answers` composes the answer; `replies` is what every provider's reply can do.
"""
