"""
The HTTP/1.1 client of the data path: bytes to the upstream, bytes back, and nothing in between that costs time.

1. `origin` says where an upstream is, `timeouts` how long we wait for it; `head` builds a request head, split-proof.
2. `client` is the door: `Transport.send` returns an exchange at once, whatever must still be done for it.
3. `pool` finds the exchange a connection of its origin: the idle one used last, a new one, or a place in the queue;
   `dialling` makes a new one, and `tls` is how it is verified.
4. `connection` writes the request, feeds what arrives to `response_parser`, and guards every wait with one timer.
5. `exchange` hands the answer to its caller piece by piece, and can be aborted from any callback at any moment;
   `coding` reads what an upstream compressed unasked.
6. `errors` names everything that can go wrong, and whether the upstream may have seen the request.
"""
