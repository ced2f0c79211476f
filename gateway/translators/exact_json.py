"""The JSON reader of `gateway.exact_json`, for the translators."""

from gateway.exact_json import has_long_number, load, load_exactly

__all__ = ["has_long_number", "load", "load_exactly"]
