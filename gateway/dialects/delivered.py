"""Estimates how many output tokens were handed out, for answers whose upstream reports no usage."""

from collections.abc import Iterator

__all__ = ["BYTES_PER_TOKEN", "text_length", "text_tokens"]

BYTES_PER_TOKEN = 4
TEXTS = ("content", "refusal", "reasoning_content", "reasoning")


def text_tokens(message: object) -> int:
    """About how many tokens a message (or delta) of the OpenAI schema holds, reasoning and tool calls included."""
    return -(-text_length(message) // BYTES_PER_TOKEN)


def text_length(message: object) -> int:
    """Bytes of text in a message or delta: content, reasoning, refusal, names and arguments of tool calls."""
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in _texts(message) if isinstance(text, str))


def _texts(message: object) -> Iterator[object]:
    if not isinstance(message, dict):
        return
    for name in TEXTS:
        yield message.get(name)
    calls = message.get("tool_calls")
    for call in [*(calls if isinstance(calls, list) else ()), {"function": message.get("function_call")}]:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            yield function.get("name")
            yield function.get("arguments")
