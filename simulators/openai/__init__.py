"""
OpenAI's chat completions: `chat` authenticates and checks a request by the table `schema` and then by `rules`, `reply`
puts the answer into frames, `errors` words what is refused.
"""
