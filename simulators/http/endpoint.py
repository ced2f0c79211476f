"""
The path of one call, the same for both providers: authenticate, parse, check, measure, script, answer, deliver, record.
"""

import time
from typing import Any, Protocol

import orjson
from starlette.types import Receive, Scope, Send

from simulators.answers.models import Family
from simulators.answers.prompt_cache import Breakpoint
from simulators.answers.prompts import Prompt
from simulators.answers.replies import Reply, Request
from simulators.faults.directives import directive_settings
from simulators.faults.faults import FaultQueue
from simulators.faults.record import Record, ServedCall, now
from simulators.faults.refusals import Refused
from simulators.http.connection import BodyTooLarge, ClientGone, Connection
from simulators.http.delivery import JSON, Cut, Delivery, scripted_error

KEY_TAIL = 4


class Provider(Protocol):
    """What tells one provider from the other."""

    name: str
    stream_error_status: int
    max_body_bytes: int

    def authenticate(self, headers: dict[str, str]) -> str: ...

    def check(self, body: Any, headers: dict[str, str]) -> Family: ...

    def measure(self, body: dict[str, Any]) -> tuple[Prompt, list[Breakpoint]]: ...

    def reply(self, request: Request, prompt: Prompt, points: list[Breakpoint], api_key: str) -> Reply: ...

    def headers(self, request_id: str) -> dict[str, str]: ...

    def new_request_id(self) -> str: ...

    def error_body(self, refused: Refused, request_id: str) -> bytes: ...

    def error_event(self, refused: Refused, request_id: str) -> bytes: ...


class CompletionEndpoint:
    """The ASGI application behind a provider's completion route."""

    def __init__(self, provider: Provider, faults: FaultQueue, record: Record) -> None:
        self._provider = provider
        self._faults = faults
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = Connection(scope, receive, send)
        request_id = self._provider.new_request_id()
        call = ServedCall(
            provider=self._provider.name,
            model="",
            client_request_id=connection.headers.get("x-client-request-id"),
            upstream_request_id=request_id,
            api_key_tail="",
            stream=False,
            started_at=now(),
        )
        try:
            await self._serve(connection, call)
        except Refused as refused:
            await self._refuse(connection, call, refused)
        except (Cut, ClientGone):
            return

    async def _serve(self, connection: Connection, call: ServedCall) -> None:
        provider = self._provider
        api_key = provider.authenticate(connection.headers)
        call.api_key_tail = api_key[-KEY_TAIL:]
        body = await read_json(connection, provider.max_body_bytes)
        family = self._check(body, connection.headers)
        call.model, call.stream = body["model"], bool(body.get("stream"))
        prompt, points = provider.measure(body)
        script = self._faults.script(
            directive_settings(prompt.last_user_text),
            {
                "provider": provider.name,
                "model": call.model,
                "api_key": api_key,
                "client_request_id": call.client_request_id or "",
            },
        )
        request = Request(body, family, script, int(time.time()))
        if script.status is not None:
            await connection.pause(script.first_byte_ms / 1000)
            raise scripted_error(script, script.status)
        self._record.begun.append({"client_request_id": call.client_request_id, "model": call.model})
        await self._answer(connection, call, request, provider.reply(request, prompt, points, api_key))

    def _check(self, body: Any, headers: dict[str, str]) -> Family:
        try:
            return self._provider.check(body, headers)
        except RecursionError:
            raise Refused(400, "The request body is nested too deeply.") from None

    async def _answer(self, connection: Connection, call: ServedCall, request: Request, reply: Reply) -> None:
        provider, script = self._provider, request.script
        headers = provider.headers(call.upstream_request_id)
        error_event = provider.error_event(
            scripted_error(script, provider.stream_error_status), call.upstream_request_id
        )
        delivery = Delivery(connection, script, call, self._record)
        try:
            await delivery.before_the_head(headers)
            if call.stream and script.error_event == "start":
                await delivery.error_instead(headers, error_event)
        except Cut:
            self._note(self._record.refused, connection, call, Refused(200, "cut by the script", scripted=True))
            raise
        except ClientGone:
            call.charge_input(reply.usage)
            call.outcome = "client_gone"
            self._record.add(call)
            raise
        await self._deliver(delivery, call, reply, headers, error_event)

    async def _deliver(
        self, delivery: Delivery, call: ServedCall, reply: Reply, headers: dict[str, str], error_event: bytes
    ) -> None:
        try:
            if call.stream:
                await delivery.stream(reply, headers, error_event)
            else:
                await delivery.whole(reply, headers)
        except ClientGone:
            call.outcome = "client_gone"
            raise
        finally:
            # Also when the simulator is stopped: what was delivered so far is on record as cut.
            if not delivery.is_recorded:
                self._record.add(call)

    async def _refuse(self, connection: Connection, call: ServedCall, refused: Refused) -> None:
        self._note(self._record.refused if refused.scripted else self._record.unexpected, connection, call, refused)
        body = self._provider.error_body(refused, call.upstream_request_id)
        headers = {**self._provider.headers(call.upstream_request_id), **JSON, **refused.headers}
        await connection.start(refused.status, {**headers, "content-length": str(len(body))})
        await connection.finish(body)

    def _note(self, notes: Any, connection: Connection, call: ServedCall, refused: Refused) -> None:
        notes.append(
            {
                "provider": call.provider,
                "model": call.model,
                "method": connection.method,
                "path": connection.path,
                "status": refused.status,
                "message": refused.message,
                "code": refused.code,
                "client_request_id": call.client_request_id,
                "upstream_request_id": call.upstream_request_id,
                "api_key_tail": call.api_key_tail,
                "at": call.started_at,
            }
        )


async def read_json(connection: Connection, limit: int) -> Any:
    """The request body, decoded; 400 or 413 when it is not one JSON document of a sensible size."""
    kind = connection.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        data = await connection.read_body(limit)
    except BodyTooLarge:
        message = f"Request exceeds the maximum size of {limit} bytes."
        raise Refused(413, message, headers={"connection": "close"}) from None
    if kind != "application/json":
        message = f"Unsupported content type: '{kind}'. Expected 'application/json'."
        raise Refused(400, message, code="unsupported_content_type")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        message = f"We could not parse the JSON body of your request. ({error})"
        raise Refused(400, message) from None
