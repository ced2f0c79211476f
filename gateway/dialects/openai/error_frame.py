"""The event that ends a broken stream, in the OpenAI schema."""

import orjson

__all__ = ["error_frame"]


def error_frame(message: str, type: str, code: str | None, param: str | None = None) -> bytes:
    """Both SDKs raise on it. It is never followed by [DONE]: a broken answer must not look complete."""
    error = {"message": message, "type": type, "param": param, "code": code}
    return b"data: " + orjson.dumps({"error": error}) + b"\n\n"
