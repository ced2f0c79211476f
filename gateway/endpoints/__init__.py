"""
What is served on the public port.

1. `router` finds the endpoint, opens the request and closes it: the one place that turns an error into an answer.
2. `generation` is the story of a request in one screen, for every API.
3. `bodies` takes in a body within bounds: a large one asks for the key's standing first, and `json_size` counts its
   values before anything is parsed.
4. `models` lists what a key may ask for, `key` what it has used and has left.
"""
