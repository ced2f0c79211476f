"""
The control API under `/_control`, for tests: queue faults, read and forget what was served.

All lists can be filtered by any of their fields: `GET /_control/served?client_request_id=abc&outcome=cut`.
"""

from collections import deque
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulators.answers.prompt_cache import PromptCache
from simulators.faults.faults import FaultQueue
from simulators.faults.record import Record
from simulators.faults.refusals import Refused


class Control:
    def __init__(self, faults: FaultQueue, record: Record, cache: PromptCache) -> None:
        self._faults = faults
        self._cache = cache
        self._lists = {
            "begun": record.begun,
            "served": record.served,
            "refused": record.refused,
            "unexpected": record.unexpected,
        }

    def routes(self) -> list[Route]:
        return [
            Route("/faults", self._queue_fault, methods=["POST"]),
            Route("/faults", self._waiting_faults, methods=["GET"]),
            Route("/faults", self._clear_faults, methods=["DELETE"]),
            Route("/cache", self._clear_cache, methods=["DELETE"]),
            Route("/healthz", self._health, methods=["GET"]),
            Route("/{name:str}", self._read, methods=["GET"]),
            Route("/{name:str}", self._clear, methods=["DELETE"]),
        ]

    async def _queue_fault(self, request: Request) -> Response:
        try:
            self._faults.add(orjson.loads(await request.body()))
        except orjson.JSONDecodeError as error:
            return _json({"error": f"not JSON: {error}"}, 400)
        except Refused as refused:
            return _json({"error": refused.message}, 400)
        return _json({"waiting": len(self._faults.waiting())}, 201)

    async def _waiting_faults(self, request: Request) -> Response:
        return _json({"data": self._faults.waiting()})

    async def _clear_faults(self, request: Request) -> Response:
        self._faults.clear()
        return Response(status_code=204)

    async def _clear_cache(self, request: Request) -> Response:
        self._cache.clear()
        return Response(status_code=204)

    async def _health(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def _read(self, request: Request) -> Response:
        entries = self._lists.get(request.path_params["name"])
        if entries is None:
            return _json({"error": f"one of {', '.join(self._lists)}, faults, cache, healthz"}, 404)
        return _json({"data": _matching(entries, dict(request.query_params))})

    async def _clear(self, request: Request) -> Response:
        entries = self._lists.get(request.path_params["name"])
        if entries is None:
            return _json({"error": f"one of {', '.join(self._lists)}, faults, cache"}, 404)
        entries.clear()
        return Response(status_code=204)


def _matching(entries: deque[dict[str, Any]], wanted: dict[str, str]) -> list[dict[str, Any]]:
    return [entry for entry in entries if all(str(entry.get(name)) == value for name, value in wanted.items())]


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
