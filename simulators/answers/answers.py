"""
`compose` writes the answer to a request: thinking, text and tool calls, as tokens. Pure and deterministic.

A token is a string: one word of running text with the blank before it, or four characters of JSON. Everything that a
bill can depend on is the number of such tokens, so a test can count an answer by hand.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import orjson

from simulators.schemas.json_documents import document

VOCABULARY = tuple(
    word
    for line in (
        "the quick river carries small boats past quiet mills while morning light settles over green fields",
        "and someone reads aloud from an old book about winds stars maps and the patience of stone",
    )
    for word in line.split()
)
JSON_TOKEN = 4
WORD = re.compile(r"\s*\S+")


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    schema: dict[str, Any]
    free_text: bool = False
    """An OpenAI custom tool: its input is text, not JSON."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request asks for, in no provider's terms. `calls` is the number of tool calls to make."""

    words: int
    most_tokens: int
    seed: int = 0
    text: str | None = None
    stops: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    calls: int = 0
    schema: dict[str, Any] | None = None
    thinking: int = 0


@dataclass(frozen=True, slots=True)
class ToolCall:
    tool: Tool
    fragments: tuple[str, ...]

    @property
    def arguments(self) -> str:
        return "".join(self.fragments)


@dataclass(frozen=True, slots=True)
class Answer:
    """`ended` is end, length, stop or tools; `stop` is the stop sequence that was met."""

    thinking: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    calls: tuple[ToolCall, ...] = field(default=())
    ended: str = "end"
    stop: str | None = None

    @property
    def text(self) -> str:
        return "".join(self.words)

    @property
    def output_tokens(self) -> int:
        """Tokens of text and tool calls; thinking is counted apart."""
        return len(self.words) + sum(len(call.fragments) for call in self.calls)


def compose(demand: Demand) -> Answer:
    """The answer to a demand, cut to `most_tokens` (thinking included) and at the first stop sequence."""
    thinking = _words(demand.thinking, demand.seed + 1)
    words = _text(demand)
    words, stop = _stopped(words, demand.stops)
    calls = () if stop else tuple(_call(demand, index) for index in range(demand.calls))
    ended = "stop" if stop else "tools" if calls else "end"
    return _shortened(Answer(thinking, words, calls, ended, stop), demand.most_tokens)


def json_tokens(value: Any) -> tuple[str, ...]:
    text = orjson.dumps(value).decode()
    return tuple(text[start : start + JSON_TOKEN] for start in range(0, len(text), JSON_TOKEN))


def _text(demand: Demand) -> tuple[str, ...]:
    if demand.text is not None:
        return tuple(WORD.findall(demand.text))
    if demand.schema is not None and not demand.calls:
        return json_tokens(document(demand.schema, demand.seed))
    return _words(demand.words, demand.seed)


def _words(count: int, seed: int) -> tuple[str, ...]:
    words = (VOCABULARY[(seed + index) % len(VOCABULARY)] for index in range(count))
    return tuple(word if index == 0 else f" {word}" for index, word in enumerate(words))


def _call(demand: Demand, index: int) -> ToolCall:
    tool = demand.tools[index % len(demand.tools)]
    if tool.free_text:
        return ToolCall(tool, _words(4, demand.seed + index))
    return ToolCall(tool, json_tokens(document(tool.schema, demand.seed + index)))


def _stopped(words: tuple[str, ...], stops: tuple[str, ...]) -> tuple[tuple[str, ...], str | None]:
    text = "".join(words)
    found = [(text.find(stop), stop) for stop in stops if stop in text]
    if not found:
        return words, None
    end, stop = min(found)
    kept: list[str] = []
    for word in words:
        if end <= 0:
            break
        kept.append(word[:end])
        end -= len(word)
    # A blank before the stop sequence is no word, and every token of text is one.
    return tuple(word for word in kept if word.strip()), stop


def _shortened(answer: Answer, most: int) -> Answer:
    if len(answer.thinking) + answer.output_tokens <= most:
        return answer
    thinking = answer.thinking[:most]
    left = most - len(thinking)
    words = answer.words[:left]
    left -= len(words)
    calls: list[ToolCall] = []
    for call in answer.calls:
        if left <= 0:
            break
        calls.append(ToolCall(call.tool, call.fragments[:left]))
        left -= len(calls[-1].fragments)
    return Answer(thinking, words, tuple(calls), "length", None)
