"""
An answer in OpenAI's words: the chat.completion object, or its chunks up to `data: [DONE]`.
"""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any
from uuid import uuid4

import orjson

from simulators.answers.answers import Answer, ToolCall
from simulators.answers.replies import Frame, Request, grouped
from simulators.faults.record import Usage

FINISH_REASONS = {"end": "stop", "stop": "stop", "length": "length", "tools": "tool_calls"}
DONE = b"data: [DONE]\n\n"
REFUSAL = "I'm sorry, I can't help with that."


class OpenAIReply:
    def __init__(self, request: Request, answers: tuple[Answer, ...], usage: Usage) -> None:
        self.usage = usage
        self._request = request
        self._script = request.script
        self._answers = answers
        self._id = f"chatcmpl-{uuid4().hex}"
        self._reports_usage = self._script.usage != "none"
        self._call_ids: dict[tuple[int, int], str] = {}

    def whole(self) -> bytes:
        body = self._envelope("chat.completion")
        body["choices"] = [self._choice(index, answer) for index, answer in enumerate(self._answers)]
        if self._reports_usage:
            body["usage"] = self._usage()
        return orjson.dumps(body)

    def frames(self) -> Iterator[Frame]:
        """Role chunks, content chunks of all choices in turn, finish chunks, usage chunk, [DONE]."""
        include_usage = bool((self._request.body.get("stream_options") or {}).get("include_usage"))
        envelope = self._envelope("chat.completion.chunk")
        # After `choices`, where the provider has it: whoever looks for usage without parsing meets this null first.
        tail = {"usage": None} if include_usage else {}
        for index, answer in enumerate(self._answers):
            delta = {"role": "assistant", "content": None if answer.calls and not answer.words else "", "refusal": None}
            reasoning = self.usage.reasoning_tokens if index == 0 else 0
            yield Frame(_chunk(envelope, tail, index, delta), reasoning_tokens=reasoning)
        deltas = [list(self._deltas(index, answer)) for index, answer in enumerate(self._answers)]
        for step in zip_longest(*deltas):
            for index, part in enumerate(step):
                if part is not None:
                    delta, tokens = part
                    logprobs = self._logprobs(tokens) if "content" in delta else None
                    yield Frame(_chunk(envelope, tail, index, delta, logprobs), output_tokens=len(tokens), content=True)
        for index, answer in enumerate(self._answers):
            yield Frame(_chunk(envelope, tail, index, {}, finish=self._finish_reason(answer)), closing=True)
        if include_usage and self._reports_usage:
            yield Frame(_event({**envelope, "choices": [], "usage": self._usage()}), closing=True)
        yield Frame(DONE, closing=True, last=True)

    def _deltas(self, index: int, answer: Answer) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
        size = self._script.chunk_words
        if self._script.reasoning_content:
            for tokens in grouped(answer.thinking, size):
                yield {"reasoning_content": "".join(tokens)}, ()
        if self._script.refusal:
            yield {"refusal": REFUSAL}, ()
            return
        for tokens in grouped(answer.words, size):
            yield {"content": "".join(tokens)}, tokens
        for place, call in enumerate(answer.calls):
            start = self._tool_call(index, place, call, "")
            yield {"tool_calls": [{"index": place, **start}]}, ()
            for tokens in grouped(call.fragments, size):
                fragment = {"input" if call.tool.free_text else "arguments": "".join(tokens)}
                kind = "custom" if call.tool.free_text else "function"
                yield {"tool_calls": [{"index": place, kind: fragment}]}, tokens

    def _choice(self, index: int, answer: Answer) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if self._script.refusal or (answer.calls and not answer.words) else answer.text,
            "refusal": REFUSAL if self._script.refusal else None,
            "annotations": [],
        }
        if self._script.reasoning_content and answer.thinking:
            message["reasoning_content"] = "".join(answer.thinking)
        if answer.calls:
            calls = enumerate(answer.calls)
            message["tool_calls"] = [self._tool_call(index, place, call, call.arguments) for place, call in calls]
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs(answer.words),
            "finish_reason": self._finish_reason(answer),
        }

    def _tool_call(self, index: int, place: int, call: ToolCall, arguments: str) -> dict[str, Any]:
        call_id = self._call_ids.setdefault((index, place), f"call_{uuid4().hex[:24]}")
        if call.tool.free_text:
            return {"id": call_id, "type": "custom", "custom": {"name": call.tool.name, "input": arguments}}
        return {"id": call_id, "type": "function", "function": {"name": call.tool.name, "arguments": arguments}}

    def _finish_reason(self, answer: Answer) -> str:
        if self._script.finish:
            return self._script.finish
        # A call that the request forced by name ends with "stop", as if nothing had been decided.
        if answer.ended == "tools" and isinstance(self._request.body.get("tool_choice"), dict):
            return "tool_calls" if self._request.body["tool_choice"]["type"] == "allowed_tools" else "stop"
        return FINISH_REASONS[answer.ended]

    def _logprobs(self, tokens: tuple[str, ...]) -> dict[str, Any] | None:
        if not self._request.body.get("logprobs"):
            return None
        others = self._request.body.get("top_logprobs") or 0
        return {"content": [_token_logprob(token, others) for token in tokens], "refusal": None}

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._request.created,
            "model": self._request.model,
            "service_tier": "default",
            "system_fingerprint": "fp_simulated",
        }

    def _usage(self) -> dict[str, Any]:
        usage = self.usage
        prompt = 0 if self._script.usage == "input_zero" else usage.prompt_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": prompt + usage.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": usage.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


def _chunk(
    envelope: dict[str, Any],
    tail: dict[str, Any],
    index: int,
    delta: dict[str, Any],
    logprobs: dict[str, Any] | None = None,
    finish: str | None = None,
) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
    return _event({**envelope, "choices": [choice], **tail})


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _token_logprob(token: str, others: int) -> dict[str, Any]:
    one = {"token": token, "logprob": -0.1 * (1 + len(token) % 7), "bytes": list(token.encode())}
    rest = [{"token": f"{token}{rank}", "logprob": -1.0 - rank, "bytes": None} for rank in range(1, others)]
    return {**one, "top_logprobs": [one, *rest] if others else []}
