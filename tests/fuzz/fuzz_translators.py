"""
Throws broken requests, answers and streams at the translators.

A request is translated or refused, an answer is translated or malformed, and a stream says the same however it is
split, ends with [DONE] only if it was finished, and never reports more tokens than any model has.
"""

import orjson

from core.usage.token_usage import TokenUsage
from gateway.admission.token_estimate import FAMILIES, estimate_input
from gateway.dialects.generation_request import GenerationRequest
from gateway.dialects.openai.chat_request import parse_chat
from gateway.dialects.openai.usage import MAX_TOKENS
from gateway.dialects.pairs.chat_anthropic import ChatToAnthropic
from gateway.dialects.pairs.chat_openai import ChatToOpenAI
from gateway.dialects.translator import MalformedAnswer, Translator
from gateway.errors import InvalidRequest
from tests.fuzz.damage import Fuzzer
from tests.gateway.dialects.replay import Outcome, chat, play
from tests.gateway.dialects.streams import anthropic, openai

TRANSLATORS: tuple[Translator, ...] = (
    ChatToOpenAI(),
    ChatToAnthropic(),
    ChatToAnthropic(input_includes_cache=True),
)
NOW = 1_700_000_000.0


def fuzz_one(data: bytes) -> None:
    for translator in TRANSLATORS:
        _request(translator, data)
        _answer(translator, data)
        _failure(translator, data)
        _stream(translator, data)


def _request(translator: Translator, data: bytes) -> None:
    try:
        request = parse_chat(data)
        body = translator.request(request, upstream_model="claude-sonnet-4-5", max_output_tokens=2_000, clamp=True)
    except InvalidRequest:
        return
    assert orjson.loads(body)["model"] == "claude-sonnet-4-5"
    assert all(estimate_input(request, family) > 0 for family in FAMILIES)


def _answer(translator: Translator, data: bytes) -> None:
    try:
        answer = translator.answer(chat(), data, created=1)
    except MalformedAnswer:
        return
    assert isinstance(orjson.loads(answer.body)["choices"], list)
    assert answer.estimated_output >= 0
    _require_sane(answer.usage)


def _failure(translator: Translator, data: bytes) -> None:
    status = 300 + sum(data) % 300
    failure = translator.failure(status, lambda name: data[:20], data, now=NOW)
    assert failure.message
    assert len(failure.message) <= 1_000
    assert failure.retry_after is None or failure.retry_after >= 0


def _stream(translator: Translator, data: bytes) -> None:
    for request in (chat(stream=True), chat(stream=True, stream_options={"include_usage": True})):

        def outcome(*chunks: bytes, request: GenerationRequest = request) -> Outcome:
            return play(lambda: translator.stream(request, created=1), *chunks)

        whole = outcome(data)
        assert outcome(*(data[index : index + 1] for index in range(len(data)))) == whole, data
        assert outcome(data[: len(data) // 2], data[len(data) // 2 :]) == whole, data
        assert whole.finished is (whole.failure is None)
        assert whole.finished or not whole.done
        assert whole.delivered_output >= 0
        _require_sane(whole.usage)


def _require_sane(usage: TokenUsage | None) -> None:
    assert usage is None or all(0 <= count <= 2 * MAX_TOKENS for count in usage.as_tuple())


REQUESTS = [
    orjson.dumps(
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "S"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a"}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": None,
                    "thinking_blocks": [{"type": "thinking", "thinking": "x", "signature": "S"}],
                    "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "t", "content": "r"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {}}}}],
            "tool_choice": "auto",
            "reasoning_effort": "high",
            "response_format": {"type": "json_schema", "json_schema": {"schema": {"properties": {}}}},
            "stop": ["x"],
            "temperature": 0.5,
            "metadata": {"user_id": "u"},
        }
    ),
    b'{"model":"m","messages":[{"role":"user","content":"x"}],"reasoning":{"max_tokens":2000},"service_tier":"auto"}',
]
ANSWERS = [
    b'{"id":"a","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":'
    b'{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":1}}}',
    b'{"id":"msg_1","model":"m","content":[{"type":"thinking","thinking":"x","signature":"S"},{"type":"text","text":"A"}'
    b',{"type":"tool_use","id":"t","name":"f","input":{"a":1}}],"stop_reason":"tool_use","usage":{"input_tokens":1,'
    b'"output_tokens":2,"cache_creation":{"ephemeral_1h_input_tokens":3}}}',
    b'{"type":"error","error":{"type":"rate_limit_error","message":"x","details":{"error_code":"ramp_limit_exceeded"}}}',
    b'{"error":{"code":402,"message":"x","metadata":{"limit_source":"openrouter_credits"}}}',
]
STREAMS = [*openai.COMPLETE.values(), *openai.BROKEN.values(), *anthropic.COMPLETE.values(), *anthropic.BROKEN.values()]
FRAGMENTS = [
    b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"data: ", b"data: {}\n\n", b"data: [DONE]\n\n", b'"usage":null,', b"null",
    b',"usage":null', b'"usage":{"prompt_tokens":1}', b'"error":{"code":429},', b'"error":null,', b"[]", b"{}", b"-1",
    b"1e300", b"true", b'"\xed\xa0\x80"', b'"\\ud83d"', b"[" * 300, b"9" * 30, b": ping\n\n", b'"index":[],',
    b'"\\u0000"', b"event: error\n", b'{"type":"ping"}', b'"delta":{"content":"x"},', b"\xef\xbb\xbf",
]  # fmt: skip
FUZZER = Fuzzer(fuzz_one, [*REQUESTS, *ANSWERS, *STREAMS], FRAGMENTS)
