"""
What the API version of a request changes: 2026-10-21 removed the sampling parameters and narrowed what messages hold.

The official SDKs of today send 2026-10-21, everything older 2023-06-01. Pure; `check` raises the first `Refused`.
"""

from typing import Any

from simulators.faults.refusals import Refused

NEWEST = "2026-10-21"
VERSIONS = ("2023-01-01", "2023-06-01", NEWEST)
REMOVED = ("temperature", "top_p", "top_k")


def check_version(version: str | None) -> None:
    if version is None:
        raise Refused(400, "anthropic-version: header is required")
    if version not in VERSIONS:
        raise Refused(400, f'anthropic-version: "{version}" is not a valid version')


def check(body: dict[str, Any], version: str | None) -> None:
    """Refuse what only an older version of the API takes."""
    if version != NEWEST:
        return
    for name in REMOVED:
        if name in body:
            raise Refused(400, f"{name}: Extra inputs are not permitted")
    for index, message in enumerate(body["messages"]):
        for place, block in enumerate(message["content"] if isinstance(message["content"], list) else []):
            _check_block(block, message["role"], f"messages.{index}.content.{place}")


def _check_block(block: dict[str, Any], role: str, where: str) -> None:
    if role == "assistant" and block["type"] == "document":
        raise Refused(400, f"{where}: `document` blocks are not permitted within assistant turns")
    texts = block["content"] if block["type"] == "search_result" else [block]
    if role == "user" and any(text["type"] == "text" and text.get("citations") for text in texts):
        raise Refused(400, f"{where}.citations: Extra inputs are not permitted")
