"""
HTTP/1.1 towards clients. Nothing here knows an account, a model or an amount.

1. `server` accepts connections and drains them; `connections` counts and bounds them.
2. `connection` is one of them: `request_parser` finds the requests on it, without a socket; `refusal` answers what is
   none. `client_writer` is its other side, and `reading_pace` tells who takes no answer.
3. `exchange` is one request and its answer. `headers` are its fields, `response_head` their bytes, `http_date` one of
   them; `cors` says what a browser may do with an answer.
"""
