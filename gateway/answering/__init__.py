"""
One answer, to its end.

1. `failover` asks one target after the other, as `target_search` finds them, until one has begun to answer: `opening`
   reads so far. `transport_failure` and `client_error` say what failed, to the policy and to the client. Nothing is
   tried again once a byte of content has reached the client.
2. `relay` carries the answer to the client, chunk by chunk, and settles what it has cost.
3. `keep_alive` fills the silence of a stream whose model is still thinking.
4. `client_disconnects` stops the upstream, at once or a little later, when the client has gone.
"""
