"""
How the simulators speak HTTP, well or badly.

`connection` holds one exchange and its socket; `endpoint` runs the steps that both providers share; `delivery` brings
the answer to the client as the script says. `catalogue` has the small routes, `control` the API for tests.
"""
