"""
JSON that our parser can't hold: half a surrogate pair, which Python and JavaScript write, and numbers that it rounds.

A number of more than 15 digits (an amount in wei, an id) is kept as the text it came as; a lone surrogate, which is no
character at all, becomes U+FFFD.
"""

import json
import re
from typing import Any

import orjson

__all__ = ["has_long_number", "load", "load_exactly", "load_request"]

EXACT_DIGITS = 15
LONG_NUMBER = re.compile(rb"[0-9][0-9.]{15}")
ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)
"""A pair of surrogates, or a lone one, or any other escape: what a backslash belongs to is read from left to right."""

DIGITS_ALIKE = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
LONG_RUN = b"0" * 19
"""A whole number beyond 64 bits has no fewer digits. This search takes a sixth of the time of LONG_NUMBER's."""


def load(data: bytes) -> Any:
    """Raises orjson.JSONDecodeError, but not for a lone surrogate."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        repaired = _without_lone_surrogates(data)
        if repaired == data:
            raise
        return orjson.loads(repaired)


def has_long_number(data: bytes) -> bool:
    """Whether `load` could round something; digits within a text count too."""
    return LONG_NUMBER.search(data) is not None


def load_exactly(data: bytes) -> Any:
    """The same as `load`, except that long numbers are fragments, which orjson writes as they came."""
    document = load(data)
    if not has_long_number(data):
        return document
    try:
        return json.loads(_without_lone_surrogates(data), parse_int=_whole, parse_float=_decimal)
    except RecursionError:  # Nested deeper than the exact parser goes.
        return document


def load_request(data: bytes) -> Any:
    """The same as `load`, except that whole numbers beyond 64 bits are fragments. Others stay numbers, to be judged."""
    document = load(data)
    if LONG_RUN not in data.translate(DIGITS_ALIKE):
        return document
    try:
        return json.loads(_without_lone_surrogates(data), parse_int=_whole_of_64_bits)
    except RecursionError:
        return document


def _whole_of_64_bits(text: str) -> int | orjson.Fragment:
    if len(text) <= 20 and -(2**63) <= int(text) < 2**64:
        return int(text)
    return orjson.Fragment(text)


def _whole(text: str) -> int | orjson.Fragment:
    return int(text) if len(text) <= EXACT_DIGITS else orjson.Fragment(text)


def _decimal(text: str) -> float | orjson.Fragment:
    return float(text) if len(text) <= EXACT_DIGITS else orjson.Fragment(text)


def _without_lone_surrogates(data: bytes) -> bytes:
    return ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], data)
