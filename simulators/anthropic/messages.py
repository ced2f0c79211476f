"""
Anthropic's messages: who may call, what counts as input, what the answer should be, which headers it carries.
"""

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from simulators.answers.answers import Demand, Tool, compose
from simulators.answers.models import ANTHROPIC, Family, find
from simulators.answers.prompt_cache import Breakpoint, PromptCache
from simulators.answers.prompts import Prompt
from simulators.answers.replies import Request, count_usage
from simulators.anthropic import errors as anthropic_errors
from simulators.anthropic import rules as anthropic_rules
from simulators.anthropic import versions as anthropic_versions
from simulators.anthropic.betas import with_betas
from simulators.anthropic.conversation import check_conversation
from simulators.anthropic.reply import AnthropicReply
from simulators.anthropic.schema import COUNT_REQUEST, MESSAGES_REQUEST
from simulators.faults.refusals import Refused
from simulators.schemas.validation import Fields

ADAPTIVE_THINKING_TOKENS = {"low": 8, "medium": 16, "high": 32, "xhigh": 64, "max": 128}
MANUAL_THINKING_TOKENS = 20
BEARER = re.compile(r"Bearer\s+(\S+)", re.IGNORECASE)
MAX_BODY_BYTES = 32 * 1024 * 1024


class AnthropicMessages:
    """The provider `anthropic`. An empty set of keys accepts every key."""

    name = "anthropic"
    stream_error_status = 529
    max_body_bytes = MAX_BODY_BYTES

    def __init__(self, api_keys: frozenset[str], cache: PromptCache) -> None:
        self._api_keys = api_keys
        self._cache = cache

    def authenticate(self, headers: dict[str, str]) -> str:
        # Both are valid: the newer SDKs send the key as a bearer token, everybody else as x-api-key.
        bearer = BEARER.fullmatch(headers.get("authorization", ""))
        api_key = headers.get("x-api-key", "").strip() or (bearer[1] if bearer else "")
        if not api_key:
            raise Refused(401, "x-api-key header is required")
        if self._api_keys and api_key not in self._api_keys:
            raise Refused(401, "invalid x-api-key")
        return api_key

    def check(self, body: Any, headers: dict[str, str], spec: Fields = MESSAGES_REQUEST) -> Family:
        """The family of the requested model, or the first reason why the request cannot be served."""
        version = headers.get("anthropic-version")
        anthropic_versions.check_version(version)
        anthropic_rules.check_shape(body, with_betas(spec, headers.get("anthropic-beta", "")))
        anthropic_versions.check(body, version)
        family = find(ANTHROPIC, body["model"])
        if family is None:
            raise Refused(404, f"model: {body['model']}")
        anthropic_rules.check(body, family)
        check_conversation(body, family)
        return family

    def count_tokens(self, body: Any, headers: dict[str, str]) -> int:
        self.check(body, headers, COUNT_REQUEST)
        return self.measure(body)[0].tokens

    def measure(self, body: dict[str, Any]) -> tuple[Prompt, list[Breakpoint]]:
        """What the request sends, and where its cacheable prefixes end."""
        prompt = Prompt(body["model"])
        points: list[Breakpoint] = []
        for block in _content(body, prompt):
            if block.get("cache_control"):
                points.append(_breakpoint(prompt, block["cache_control"]))
        if body.get("cache_control"):
            points.append(_breakpoint(prompt, body["cache_control"]))
        return prompt, points

    def reply(self, request: Request, prompt: Prompt, points: list[Breakpoint], api_key: str) -> AnthropicReply:
        window = request.family.context
        if prompt.tokens > window:
            raise Refused(400, f"prompt is too long: {prompt.tokens} tokens > {window} maximum")
        wanted = request.body["max_tokens"]
        if prompt.tokens + wanted > window and not request.family.stops_at_window:
            limit = f"input length and `max_tokens` exceed context limit: {prompt.tokens} + {wanted} > {window}"
            raise Refused(400, f"{limit}, decrease input length or `max_tokens` and try again")
        answer = compose(_demand(request, prompt))
        cache = self._cache.use(api_key, points, prompt.tokens)
        usage = count_usage(request.script, cache, (answer,), len(answer.thinking))
        return AnthropicReply(request, answer, usage)

    def headers(self, request_id: str) -> dict[str, str]:
        limits = {"requests": "4000", "tokens": "4800000", "input-tokens": "4000000", "output-tokens": "800000"}
        headers = {"request-id": request_id, "anthropic-organization-id": "00000000-0000-4000-8000-000000000000"}
        for name, limit in limits.items():
            headers[f"anthropic-ratelimit-{name}-limit"] = limit
            headers[f"anthropic-ratelimit-{name}-remaining"] = str(int(limit) - 1)
            headers[f"anthropic-ratelimit-{name}-reset"] = "2030-01-01T00:00:00Z"
        return headers

    def new_request_id(self) -> str:
        return f"req_01{uuid4().hex[:22]}"

    def error_body(self, refused: Refused, request_id: str) -> bytes:
        return anthropic_errors.error_body(refused, request_id)

    def error_event(self, refused: Refused, request_id: str) -> bytes:
        return anthropic_errors.error_event(refused, request_id)


def _breakpoint(prompt: Prompt, mark: dict[str, Any]) -> Breakpoint:
    return Breakpoint(prompt.tokens_so_far, prompt.fingerprint, mark.get("ttl", "5m"))


def _content(body: dict[str, Any], prompt: Prompt) -> Iterator[dict[str, Any]]:
    """Adds every tool and block to the prompt, in the order of the cache, and yields it when it is in."""
    for tool in body.get("tools") or []:
        prompt.mark("tool")
        prompt.add_text(tool.get("name", "") + tool.get("description", ""))
        if "input_schema" in tool:
            prompt.add_json(tool["input_schema"])
        yield tool
    for block in _blocks(body.get("system") or []):
        prompt.mark("system")
        prompt.add_text(block["text"])
        yield block
    for message in body["messages"]:
        prompt.mark(message["role"])
        blocks = _blocks(message["content"])
        if message["role"] == "user":
            prompt.last_user_text = "\n".join(block["text"] for block in blocks if block["type"] == "text")
        for block in blocks:
            _add_block(prompt, block)
            yield block


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _add_block(prompt: Prompt, block: dict[str, Any]) -> None:
    kind = block["type"]
    if kind == "tool_use":
        prompt.add_text(block["name"])
        prompt.add_json(block["input"])
    elif kind == "tool_result":
        for part in _blocks(block.get("content") or []):
            _add_block(prompt, part)
    elif kind in ("text", "thinking"):
        prompt.add_text(block[kind])
    elif kind in ("image", "document"):
        prompt.add_image(block["source"])
    else:
        prompt.add_json({name: value for name, value in block.items() if name != "cache_control"})


def _demand(request: Request, prompt: Prompt) -> Demand:
    body, script = request.body, request.script
    tools, calls = _tool_calls(body, script.tools)
    words = script.words if script.words is not None else 0 if calls else 5 + prompt.tokens % 20
    return Demand(
        words=words,
        most_tokens=body["max_tokens"],
        seed=prompt.seed,
        text=script.text,
        stops=tuple(body.get("stop_sequences") or ()),
        tools=tools,
        calls=calls,
        schema=((body.get("output_config") or {}).get("format") or {}).get("schema"),
        thinking=_thinking_tokens(body, script.thinking),
    )


def _thinking_tokens(body: dict[str, Any], asked: int | None) -> int:
    """A model thinks only if the request turns thinking on; the script says how much."""
    mode = (body.get("thinking") or {}).get("type", "disabled")
    if mode == "disabled":
        return 0
    if asked is not None:
        return asked
    effort = (body.get("output_config") or {}).get("effort") or "high"
    return MANUAL_THINKING_TOKENS if mode == "enabled" else ADAPTIVE_THINKING_TOKENS[effort]


def _tool_calls(body: dict[str, Any], asked: int) -> tuple[tuple[Tool, ...], int]:
    """The tools that may be called, and how many calls to make."""
    choice = body.get("tool_choice") or {"type": "auto"}
    tools = [Tool(tool["name"], tool["input_schema"]) for tool in body.get("tools") or [] if "input_schema" in tool]
    if choice["type"] == "tool":
        tools = [tool for tool in tools if tool.name == choice["name"]]
    if not tools or choice["type"] == "none":
        return (), 0
    calls = asked if choice["type"] == "auto" else max(1, asked)
    return tuple(tools), min(calls, 1) if choice.get("disable_parallel_tool_use") else calls
