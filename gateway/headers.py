"""The headers of an answer, as they go over the wire."""

__all__ = ["Headers"]

Headers = list[tuple[bytes, bytes]]
