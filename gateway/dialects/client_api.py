"""What an endpoint asks of its clients' API: how a body is read, and how everything but an answer is said."""

from typing import Protocol

from gateway.dialects.generation_request import GenerationRequest
from gateway.errors import GatewayError
from gateway.inbound.headers import Headers

__all__ = ["ClientApi"]


class ClientApi(Protocol):
    """Stateless; one for each API. The words of answers belong to `pairs`."""

    @property
    def name(self) -> str:
        """As `GenerationRequest.api` has it."""

    @property
    def request_id_header(self) -> bytes:
        """The header that this API's SDKs read a request's id from, in lower case."""

    def parse(self, raw: bytes) -> GenerationRequest:
        """Validate what admission, routing and relay depend on. Raises InvalidRequest, which names the parameter."""

    def error(self, error: GatewayError, request_id: str) -> tuple[int, Headers, bytes]:
        """Status, headers, body of a refusal."""

    def error_frame(self, error: GatewayError, request_id: str) -> bytes:
        """The only event of a stream whose head went out before the refusal."""

    def keep_alive(self, *, id: str, model: str, created: int, first: bool) -> bytes:
        """A whole event that says nothing. `first`: nothing of the answer has been sent. `created` in Unix seconds."""

    def continued(self, events: bytes) -> bytes:
        """The beginning of an answer, behind a keep-alive: what that one has said is not said again."""
