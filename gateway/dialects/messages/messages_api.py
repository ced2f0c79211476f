"""Anthropic's Messages API, as clients speak it."""

from gateway.dialects.generation_request import GenerationRequest
from gateway.dialects.messages.error_body import error_body, error_event, status_of
from gateway.dialects.messages.messages_request import API, parse_messages
from gateway.dialects.openai.error_answer import error_headers
from gateway.errors import GatewayError
from gateway.inbound.headers import Headers

__all__ = ["MessagesApi"]

PING = b'event: ping\ndata: {"type": "ping"}\n\n'


class MessagesApi:
    name = API
    request_id_header = b"request-id"

    def parse(self, raw: bytes) -> GenerationRequest:
        return parse_messages(raw)

    def error(self, error: GatewayError, request_id: str) -> tuple[int, Headers, bytes]:
        """The headers that steer retries are the same for both families of SDKs."""
        return status_of(error), error_headers(error), error_body(error, request_id)

    def error_frame(self, error: GatewayError, request_id: str) -> bytes:
        return error_event(error.message, status_of(error), error.code, request_id)

    def keep_alive(self, *, id: str, model: str, created: int, first: bool) -> bytes:
        """Anthropic sends it too, at any place of a stream."""
        return PING

    def continued(self, events: bytes) -> bytes:
        return events
