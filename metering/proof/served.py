"""
The upstreams' own record, as `reconcile --served` is given it: one JSON object a line, one line for each call.

    {"client_request_id": "<event id>", "upstream_request_id": "chatcmpl-1", "outcome": "complete",
     "delivered_chunks": 3, "input_tokens": 100, …}

`client_request_id` is missing where the upstream did not get one. `outcome` is `complete`, `client_gone`, `cut` or
another word; a complete call has all the token counts of the ledger. Other fields are ignored, and so are empty lines.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from metering.errors import MalformedRecord
from metering.ledger.aggregates import SUMMED

__all__ = ["COMPLETE", "TOKEN_COLUMNS", "Served", "read_served"]

COMPLETE = "complete"
TOKEN_COLUMNS = tuple(name for name in SUMMED if name.endswith("_tokens"))

Served = Mapping[str, Any]


def read_served(lines: Iterable[bytes]) -> list[Served]:
    """Raises MalformedRecord, which names the first line that is none."""
    return [_call(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _call(number: int, line: bytes) -> Served:
    try:
        call = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise MalformedRecord(number, f"is no JSON: {error.msg}") from error
    if not isinstance(call, dict):
        raise MalformedRecord(number, "is no JSON object")
    if not isinstance(call.get("outcome"), str):
        raise MalformedRecord(number, "has no `outcome`")
    for name in TOKEN_COLUMNS if call["outcome"] == COMPLETE else ():
        if type(call.get(name)) is not int:
            raise MalformedRecord(number, f"has no whole number `{name}`")
    return call
