"""Takes apart what a client sent, and names the place where it is not what it should be."""

from typing import Any

from gateway.errors import InvalidRequest

__all__ = ["as_list", "as_object", "as_text", "unsupported"]


def as_object(value: object, param: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise InvalidRequest(f"`{param}` must be an object.", param=param)


def as_list(value: object, param: str) -> list[Any]:
    if isinstance(value, list):
        return value
    raise InvalidRequest(f"`{param}` must be a list.", param=param)


def as_text(value: object, param: str) -> str:
    if isinstance(value, str):
        return value
    raise InvalidRequest(f"`{param}` must be a string.", param=param)


def unsupported(what: str, param: str, instead: str = "") -> InvalidRequest:
    """For what Anthropic's API has no words for. `instead` is a sentence that helps."""
    message = f"{what} can't be expressed for this model's provider (Anthropic)."
    return InvalidRequest(f"{message} {instead}".rstrip(), param=param, code="unsupported_parameter")
