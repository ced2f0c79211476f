"""
Answers in JSON: OpenAI's `response_format` as Anthropic's `output_config.format`, or as an instruction.

Anthropic's grammar needs a schema in which every object names all its properties. "Any object" has none, and a schema
that the grammar can't say but that the client does not want `strict` is a hint for OpenAI's models too: both become a
sentence at the end of the system prompt.
"""

import re
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.dialects.anthropic.schema import Inexpressible, strict_schema
from gateway.dialects.anthropic.shape import as_object, unsupported

__all__ = ["AnswerFormat", "answer_format"]

NO_GRAMMAR = re.compile(r"claude-(?:3|[a-z]+-4(?![-.][5-9]\b))")
"""Models before 4.5."""
ONE_OBJECT = "Answer with exactly one JSON object and nothing else: no words before or after it, no code fence."
AFTER_TOOLS = " This is about your answer in text: call tools as usual."
BY_SCHEMA = " The object must follow this JSON Schema: "


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """Both None for plain text."""

    format: dict[str, Any] | None = None
    """For `output_config`: the grammar holds the model to it."""
    instruction: str | None = None
    """For the system prompt: the model does its best."""


PLAIN_TEXT = AnswerFormat()


def answer_format(value: object, *, model: str, has_tools: bool) -> AnswerFormat:
    if value is None:
        return PLAIN_TEXT
    wanted = as_object(value, "response_format")
    kind = wanted.get("type")
    if kind == "text":
        return PLAIN_TEXT
    if kind == "json_object":
        return AnswerFormat(instruction=_instruction(has_tools))
    if kind != "json_schema":
        raise unsupported(f"`response_format` of type `{kind}`", "response_format", "Send a `json_schema` instead.")
    described = as_object(wanted.get("json_schema"), "response_format.json_schema")
    schema = as_object(described.get("schema"), "response_format.json_schema.schema")
    try:
        return AnswerFormat(format=_grammar(schema, model))
    except Inexpressible as error:
        if described.get("strict") is True:
            raise unsupported(str(error), "response_format.json_schema.schema") from None
        return AnswerFormat(instruction=_instruction(has_tools) + BY_SCHEMA + orjson.dumps(schema).decode())


def _grammar(schema: dict[str, Any], model: str) -> dict[str, Any]:
    if NO_GRAMMAR.search(model):
        raise Inexpressible("A schema for the answer of this model")
    return {"type": "json_schema", "schema": strict_schema(schema)}


def _instruction(has_tools: bool) -> str:
    return ONE_OBJECT + (AFTER_TOOLS if has_tools else "")
