"""Fields that every API has, checked. Each raises InvalidRequest, which names the parameter."""

import orjson

from gateway.dialects.exact_json import load_request
from gateway.dialects.generation_request import Document
from gateway.errors import InvalidRequest

__all__ = ["boolean", "load_document", "model_name", "text", "whole_number"]

MAX_MODEL_NAME = 256


def load_document(raw: bytes) -> Document:
    try:
        document = load_request(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from None
    if not isinstance(document, dict):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
    return document


def model_name(document: Document) -> str:
    model = document.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= MAX_MODEL_NAME:
        raise InvalidRequest("`model` must be the name of a model; GET /v1/models lists them.", param="model")
    return model


def boolean(name: str, value: object) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise InvalidRequest(f"`{name}` must be true or false.", param=name)


def text(name: str, value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    raise InvalidRequest(f"`{name}` must be a string.", param=name)


def whole_number(document: Document, name: str, maximum: int | None = None) -> int | None:
    value = document.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 1 or (maximum is not None and value > maximum):
        bound = "a whole number of at least 1" if maximum is None else f"a whole number from 1 to {maximum}"
        raise InvalidRequest(f"`{name}` must be {bound}.", param=name)
    return value
