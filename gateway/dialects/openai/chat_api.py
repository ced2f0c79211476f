"""OpenAI's chat completions, as clients speak them."""

from gateway.dialects.generation_request import GenerationRequest
from gateway.dialects.openai.chat_request import API, parse_chat
from gateway.dialects.openai.error_answer import error_answer
from gateway.dialects.openai.error_frame import error_frame
from gateway.dialects.openai.keep_alive_frame import keep_alive_frame, without_role
from gateway.errors import GatewayError
from gateway.inbound.headers import Headers

__all__ = ["ChatApi"]


class ChatApi:
    name = API
    request_id_header = b"x-request-id"

    def parse(self, raw: bytes) -> GenerationRequest:
        return parse_chat(raw)

    def error(self, error: GatewayError, request_id: str) -> tuple[int, Headers, bytes]:
        return error_answer(error)

    def error_frame(self, error: GatewayError, request_id: str) -> bytes:
        return error_frame(error.message, error.type, error.code, error.param)

    def keep_alive(self, *, id: str, model: str, created: int, first: bool) -> bytes:
        return keep_alive_frame(id=id, model=model, created=created, first=first)

    def continued(self, events: bytes) -> bytes:
        return without_role(events)
