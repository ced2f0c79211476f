"""
HTTP/1.1 towards clients. Nothing here knows an account, a model or an amount.

1. `server` accepts connections and drains them; `connections` counts and bounds them.
2. `client_protocol` is one connection: `request_reader` finds the requests on it, within bounds; `reading_pace` tells
   who takes no answer.
3. `exchange` is one request and its answer, with their `headers`; `cors` says what a browser may do with it.
"""
