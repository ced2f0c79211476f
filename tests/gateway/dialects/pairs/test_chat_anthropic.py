import orjson

from core.usage.token_usage import TokenUsage
from gateway.dialects.anthropic.stream import AnthropicStream
from gateway.dialects.pairs.chat_anthropic import ChatToAnthropic
from gateway.failure import Fault
from tests.gateway.dialects.replay import chat, play
from tests.gateway.dialects.streams import anthropic as streams

USAGE = {"input_tokens": 100, "cache_read_input_tokens": 40, "output_tokens": 1}
BODY = orjson.dumps({"id": "msg_1", "model": "m", "content": [], "usage": USAGE})
STREAM = streams.start(input_tokens=100, cache_read_input_tokens=40) + streams.end(usage={"output_tokens": 1})


def test_input_and_cache_are_counted_apart_unless_the_upstream_is_known_to_do_otherwise() -> None:
    native, other = ChatToAnthropic(), ChatToAnthropic(input_includes_cache=True)

    assert native.answer(chat(), BODY, created=1).usage == TokenUsage(input=100, cache_read=40, output=1)
    assert other.answer(chat(), BODY, created=1).usage == TokenUsage(input=60, cache_read=40, output=1)
    assert play(lambda: native.stream(chat(), created=1), STREAM).usage == TokenUsage(100, cache_read=40, output=1)
    assert play(lambda: other.stream(chat(), created=1), STREAM).usage == TokenUsage(60, cache_read=40, output=1)


def test_streams_and_failures_are_those_of_anthropic() -> None:
    translator = ChatToAnthropic()

    assert isinstance(translator.stream(chat(), created=1), AnthropicStream)
    assert translator.failure(529, lambda name: None, b"").fault is Fault.UPSTREAM
    assert translator.failure(429, {b"retry-after": b"3"}.get, b"").retry_after == 3
    assert translator.path == "/v1/messages"
