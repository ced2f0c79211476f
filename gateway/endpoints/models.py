"""
`GET /v1/models` and `GET /v1/models/{id}`: what this key may ask for. One that may ask for nothing (revoked, expired,
of a suspended account) hears what it would hear with a request.
"""

from typing import Any

import orjson

from core.models.models_file import Model
from gateway.admission.authentication import Authentication
from gateway.admission.standing import Standing
from gateway.errors import ModelNotFound
from gateway.inbound.exchange import Exchange
from gateway.records.request_record import RequestRecord
from gateway.upstreams.catalog import Catalog

__all__ = ["Models"]

PREFIX = "/v1/models/"
CREATED = 1_735_689_600
"""2025-01-01. Clients expect a time, and no provider says when a model was made. It stays the same over restarts."""
JSON = [(b"content-type", b"application/json")]


class Models:
    def __init__(self, authentication: Authentication, catalog: Catalog, standing: Standing) -> None:
        self._authentication = authentication
        self._catalog = catalog
        self._standing = standing

    async def list(self, client: Exchange, record: RequestRecord) -> None:
        models = [_card(model) for model in (await self._allowed(client, record)).values()]
        await client.answer(200, JSON, orjson.dumps({"object": "list", "data": models}))

    async def retrieve(self, client: Exchange, record: RequestRecord) -> None:
        """Raises ModelNotFound, also for a model that the key may not use."""
        name = client.path.removeprefix(PREFIX)
        model = (await self._allowed(client, record)).get(name)
        if model is None:
            raise ModelNotFound(f"The model {name[:100]!r} does not exist.", param="model")
        await client.answer(200, JSON, orjson.dumps(_card(model)))

    async def _allowed(self, client: Exchange, record: RequestRecord) -> dict[str, Model]:
        principal = record.principal = await self._authentication.identify(client.headers)
        names = await self._standing.models(principal)
        models = self._catalog.models
        return dict(models) if names is None else {name: models[name] for name in names if name in models}


def _card(model: Model) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": CREATED,
        "owned_by": model.owned_by,
        "context_window": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
        "capabilities": sorted(model.capabilities),
    }
