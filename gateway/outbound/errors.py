"""
What can go wrong between the gateway and an upstream.

`dispatched` says whether the request may have reached the upstream: False means that a second attempt repeats nothing.

* TransportError
  x ConnectFailed      not dispatched  no address, refused, TLS not verified, closed before the request was written
  x ConnectTimeout     not dispatched  no connection (TLS included) within `Timeouts.connect`
  x PoolExhausted      not dispatched  every connection of the origin stayed busy for `Timeouts.connect`
  x FirstByteTimeout   dispatched      no complete response head within `Timeouts.first_byte`
  x IdleTimeout        dispatched      the body stalled for `Timeouts.idle`
  x TotalTimeout       it depends      the exchange outlived `Timeouts.total`
  x ConnectionLost     dispatched      the upstream closed before the end; `bytes_received` tells if it had answered
  x MalformedResponse  dispatched      not HTTP/1.1, ambiguous, damaged, or a head past its limit
  x AnswerTooLarge       dispatched      the body passed the limit given to `read`
  x ExchangeAborted    it depends      our side gave up: the client left, the task was cancelled, the transport closed
"""


class TransportError(Exception):
    """Base of everything the transport raises."""

    dispatched = True


class ConnectFailed(TransportError):
    dispatched = False


class ConnectTimeout(TransportError):
    dispatched = False


class PoolExhausted(TransportError):
    dispatched = False


class FirstByteTimeout(TransportError):
    pass


class IdleTimeout(TransportError):
    pass


class TotalTimeout(TransportError):
    def __init__(self, message: str, *, dispatched: bool) -> None:
        super().__init__(message)
        self.dispatched = dispatched


class ConnectionLost(TransportError):
    def __init__(self, message: str, *, bytes_received: bool) -> None:
        super().__init__(message)
        self.bytes_received = bytes_received


class MalformedResponse(TransportError):
    pass


class AnswerTooLarge(TransportError):
    pass


class ExchangeAborted(TransportError):
    def __init__(self, message: str, *, dispatched: bool) -> None:
        super().__init__(message)
        self.dispatched = dispatched
