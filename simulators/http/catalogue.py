"""
The small routes of both providers: list of models, one model, counting tokens, and the 404 for everything else.
"""

from typing import Any, Protocol

import orjson
from starlette.types import Receive, Scope, Send

from simulators.answers.models import Families, find
from simulators.faults.record import Record, now
from simulators.faults.refusals import Refused
from simulators.http.connection import ClientGone, Connection
from simulators.http.delivery import JSON
from simulators.http.endpoint import read_json

CREATED = 1_767_225_600
CREATED_AT = "2026-01-01T00:00:00Z"


class Provider(Protocol):
    name: str
    max_body_bytes: int

    def authenticate(self, headers: dict[str, str]) -> str: ...

    def headers(self, request_id: str) -> dict[str, str]: ...

    def new_request_id(self) -> str: ...

    def error_body(self, refused: Refused, request_id: str) -> bytes: ...


class TokenCounter(Provider, Protocol):
    def count_tokens(self, body: Any, headers: dict[str, str]) -> int: ...


class _SmallEndpoint:
    """Authenticates, answers one JSON document, and words refusals as its provider does."""

    def __init__(self, provider: Provider, record: Record) -> None:
        self._provider = provider
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = Connection(scope, receive, send)
        request_id = self._provider.new_request_id()
        try:
            self._provider.authenticate(connection.headers)
            status, body = 200, orjson.dumps(await self._answer(connection, scope))
        except ClientGone:
            return
        except Refused as refused:
            self._note(connection, refused)
            status, body = refused.status, self._provider.error_body(refused, request_id)
        headers = {**self._provider.headers(request_id), **JSON, "content-length": str(len(body))}
        await connection.start(status, headers)
        await connection.finish(body)

    async def _answer(self, connection: Connection, scope: Scope) -> Any:
        raise Refused(404, f"Invalid URL ({connection.method} {connection.path})", type="invalid_request_error")

    def _note(self, connection: Connection, refused: Refused) -> None:
        self._record.unexpected.append(
            {
                "provider": self._provider.name,
                "method": connection.method,
                "path": connection.path,
                "status": refused.status,
                "message": refused.message,
                "client_request_id": connection.headers.get("x-client-request-id"),
                "at": now(),
            }
        )


class NoSuchRoute(_SmallEndpoint):
    """Every path that the provider does not have."""


class CountTokensEndpoint(_SmallEndpoint):
    def __init__(self, provider: TokenCounter, record: Record) -> None:
        super().__init__(provider, record)
        self._counter = provider

    async def _answer(self, connection: Connection, scope: Scope) -> Any:
        body = await read_json(connection, self._provider.max_body_bytes)
        return {"input_tokens": self._counter.count_tokens(body, connection.headers)}


class ModelsEndpoint(_SmallEndpoint):
    """The listed models, or one model of any name that exists."""

    def __init__(self, provider: Provider, record: Record, families: Families, listed: tuple[str, ...]) -> None:
        super().__init__(provider, record)
        self._families = families
        self._listed = listed

    async def _answer(self, connection: Connection, scope: Scope) -> Any:
        name = scope.get("path_params", {}).get("model")
        if name is None:
            return self._list([self._model(one) for one in self._listed])
        if find(self._families, name) is None:
            raise Refused(404, f"The model '{name}' does not exist", code="model_not_found", param="model")
        return self._model(name)

    def _list(self, models: list[dict[str, Any]]) -> dict[str, Any]:
        if self._provider.name == "openai":
            return {"object": "list", "data": models}
        return {"data": models, "has_more": False, "first_id": models[0]["id"], "last_id": models[-1]["id"]}

    def _model(self, name: str) -> dict[str, Any]:
        if self._provider.name == "openai":
            return {"id": name, "object": "model", "created": CREATED, "owned_by": "openai"}
        family = find(self._families, name)
        return {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": CREATED_AT,
            "lifecycle": "active",
            "max_input_tokens": family.context if family else None,
            "max_tokens": family.max_output if family else None,
        }
