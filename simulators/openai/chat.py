"""
OpenAI's chat completions: who may call, what counts as input, what the answer should be, which headers it carries.
"""

import re
from typing import Any
from uuid import uuid4

from simulators.answers.answers import Demand, Tool, compose
from simulators.answers.models import OPENAI, Family, find
from simulators.answers.prompt_cache import Breakpoint, CacheUse, PromptCache
from simulators.answers.prompts import Prompt
from simulators.answers.replies import Request, count_usage
from simulators.faults.refusals import Refused
from simulators.openai import errors as openai_errors
from simulators.openai import rules as openai_rules
from simulators.openai.reply import OpenAIReply

REASONING_TOKENS = {"minimal": 8, "low": 16, "medium": 32, "high": 64, "xhigh": 128, "max": 256}
CACHE_STEP = 128
BEARER = re.compile(r"Bearer\s+(\S+)", re.IGNORECASE)
MAX_BODY_BYTES = 50 * 1024 * 1024


class OpenAIChat:
    """The provider `openai`. An empty set of keys accepts every key."""

    name = "openai"
    stream_error_status = 500
    max_body_bytes = MAX_BODY_BYTES

    def __init__(self, api_keys: frozenset[str], cache: PromptCache) -> None:
        self._api_keys = api_keys
        self._cache = cache

    def authenticate(self, headers: dict[str, str]) -> str:
        bearer = BEARER.fullmatch(headers.get("authorization", ""))
        if bearer is None:
            advice = "You need to provide your API key in an Authorization header using Bearer auth."
            raise Refused(401, f"You didn't provide an API key. {advice}")
        if self._api_keys and bearer[1] not in self._api_keys:
            shown = f"{bearer[1][:3]}...{bearer[1][-4:]}"
            raise Refused(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")
        return bearer[1]

    def check(self, body: Any, headers: dict[str, str]) -> Family:
        """The family of the requested model, or the first reason why the request cannot be served."""
        openai_rules.check_shape(body)
        family = find(OPENAI, body["model"])
        if family is None:
            message = f"The model `{body['model']}` does not exist or you do not have access to it."
            raise Refused(404, message, code="model_not_found")
        openai_rules.check(body, family)
        return family

    def measure(self, body: dict[str, Any]) -> tuple[Prompt, list[Breakpoint]]:
        """What the request sends, and where its cacheable prefixes end."""
        prompt = Prompt(body["model"])
        points: list[Breakpoint] = []
        for tool in body.get("tools") or []:
            _add_tool(prompt, tool)
        for message in body["messages"]:
            _add_message(prompt, message)
            points.append(Breakpoint(prompt.tokens_so_far // CACHE_STEP * CACHE_STEP, prompt.fingerprint))
        return prompt, points

    def reply(self, request: Request, prompt: Prompt, points: list[Breakpoint], api_key: str) -> OpenAIReply:
        body, script = request.body, request.script
        _refuse_too_long(body, prompt, request.family.context)
        answers = tuple(compose(_demand(request, prompt, index)) for index in range(body.get("n") or 1))
        # OpenAI bills what it writes into its cache as plain input: only the reading is a class of its own.
        read = self._cache.use(api_key, points, prompt.tokens).read
        cache = CacheUse(prompt.tokens - read, read)
        reasoning = sum(len(answer.thinking) for answer in answers)
        return OpenAIReply(request, answers, count_usage(script, cache, answers, reasoning))

    def headers(self, request_id: str) -> dict[str, str]:
        return {
            "x-request-id": request_id,
            "openai-organization": "sim-organization",
            "openai-processing-ms": "12",
            "openai-version": "2020-10-01",
            "x-ratelimit-limit-requests": "10000",
            "x-ratelimit-limit-tokens": "30000000",
            "x-ratelimit-remaining-requests": "9999",
            "x-ratelimit-remaining-tokens": "29999000",
            "x-ratelimit-reset-requests": "6ms",
            "x-ratelimit-reset-tokens": "1ms",
        }

    def new_request_id(self) -> str:
        return f"req_{uuid4().hex}"

    def error_body(self, refused: Refused, request_id: str) -> bytes:
        return openai_errors.error_body(refused)

    def error_event(self, refused: Refused, request_id: str) -> bytes:
        return openai_errors.error_event(refused)


def _refuse_too_long(body: dict[str, Any], prompt: Prompt, window: int) -> None:
    """The prompt, and the limit of the answer with it, must fit."""
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or 0
    if prompt.tokens + limit <= window:
        return
    asked = f"your messages resulted in {prompt.tokens} tokens."
    if prompt.tokens <= window:
        parts = f"{prompt.tokens} in the messages, {limit} in the completion"
        asked = f"you requested {prompt.tokens + limit} tokens ({parts})."
    message = f"This model's maximum context length is {window} tokens. However, {asked}"
    raise Refused(400, message, code="context_length_exceeded", param="messages")


def _add_tool(prompt: Prompt, tool: dict[str, Any]) -> None:
    one = tool[tool["type"]]
    prompt.mark("tool")
    prompt.add_text(one["name"] + one.get("description", ""))
    if one.get("parameters") is not None:
        prompt.add_json(one["parameters"])


def _add_message(prompt: Prompt, message: dict[str, Any]) -> None:
    prompt.mark(message["role"])
    content = message.get("content") or ""
    texts: list[str] = []
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        if part["type"] in ("text", "refusal"):
            texts.append(part[part["type"]])
            prompt.add_text(texts[-1])
        else:
            prompt.add_image(part)
    for call in message.get("tool_calls") or []:
        prompt.add_text(call[call["type"]]["name"])
        prompt.add_text(call[call["type"]].get("arguments", "") or call[call["type"]].get("input", ""))
    if message["role"] == "user":
        prompt.last_user_text = "\n".join(texts)


def _demand(request: Request, prompt: Prompt, index: int) -> Demand:
    body, script = request.body, request.script
    tools, calls = _tool_calls(body, script.tools)
    stop = body.get("stop") or ()
    output_format = body.get("response_format") or {}
    effort = REASONING_TOKENS.get(body.get("reasoning_effort") or "none", 0)
    prose = script.words if script.words is not None else 0 if calls else 5 + prompt.tokens % 20
    return Demand(
        words=prose,
        most_tokens=body.get("max_completion_tokens") or body.get("max_tokens") or request.family.max_output,
        seed=prompt.seed + index,
        text=script.text,
        stops=(stop,) if isinstance(stop, str) else tuple(stop),
        tools=tools,
        calls=calls,
        schema=_answer_schema(output_format),
        thinking=effort if script.thinking is None else script.thinking,
    )


def _answer_schema(output_format: dict[str, Any]) -> dict[str, Any] | None:
    if output_format.get("type") == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}, "count": {"type": "integer"}}}
    schema: dict[str, Any] | None = output_format.get("json_schema", {}).get("schema")
    return schema


def _tool_calls(body: dict[str, Any], asked: int) -> tuple[tuple[Tool, ...], int]:
    """The tools that may be called, and how many calls to make."""
    choice = body.get("tool_choice", "auto")
    tools = [_tool(tool) for tool in body.get("tools") or []]
    if isinstance(choice, dict) and choice["type"] != "allowed_tools":
        tools = [tool for tool in tools if tool.name == choice[choice["type"]]["name"]]
    mode = choice["allowed_tools"]["mode"] if isinstance(choice, dict) and "allowed_tools" in choice else choice
    if not tools or mode == "none":
        return (), 0
    calls = asked if mode == "auto" else max(1, asked)
    return tuple(tools), min(calls, 1) if body.get("parallel_tool_calls") is False else calls


def _tool(tool: dict[str, Any]) -> Tool:
    one = tool[tool["type"]]
    schema = one.get("parameters") or {"type": "object", "properties": {}}
    return Tool(one["name"], schema, free_text=tool["type"] == "custom")
