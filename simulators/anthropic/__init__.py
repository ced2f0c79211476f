"""
Anthropic's messages: `messages` authenticates and checks a request by the table `schema`, with the fields of its
`betas`, and then by `rules`, `versions`, `conversation` and `grammar`, which refuse what one field alone cannot tell.
`reply` puts the answer into frames, `errors` words what is refused.
"""
