"""
What Anthropic refuses although every field has the right shape: what the model does not support and settings that
exclude each other. The order of the conversation is in `anthropic_conversation`. Pure; `check` raises the first
`Refused`.
"""

from collections.abc import Iterator
from typing import Any

from simulators.answers.models import Family
from simulators.anthropic.errors import refusal
from simulators.anthropic.grammar import check_grammar
from simulators.faults.refusals import Refused
from simulators.schemas.validation import Spec

MOST_BREAKPOINTS = 4


def check_shape(body: Any, spec: Spec) -> None:
    """Refuse a body that is no request of this kind, before its model is looked up."""
    problem = spec.first_problem(body)
    if problem is not None:
        raise refusal(problem)


def check(body: dict[str, Any], family: Family) -> None:
    """Refuse well-shaped settings that the model would not take."""
    for rule in RULES:
        rule(body, family)


def cache_marks(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every cache_control in the request, in the order of the cache: tools, system, messages."""
    system = body.get("system")
    blocks = [*(body.get("tools") or []), *(system if isinstance(system, list) else [])]
    for message in body["messages"]:
        blocks += message["content"] if isinstance(message["content"], list) else []
    yield from (block["cache_control"] for block in blocks if block.get("cache_control"))
    if body.get("cache_control"):
        yield body["cache_control"]


def _max_tokens(body: dict[str, Any], family: Family) -> None:
    wanted = body.get("max_tokens", 1)
    if wanted > family.max_output:
        limit = f"{family.max_output}, which is the maximum allowed number of output tokens for {body['model']}"
        raise Refused(400, f"max_tokens: {wanted} > {limit}")


def _sampling(body: dict[str, Any], family: Family) -> None:
    given = [name for name in ("temperature", "top_p", "top_k") if name in body]
    defaults = {"temperature": 1, "top_p": 1}
    if not family.sampling:
        for name in given:
            if body[name] != defaults.get(name):
                raise Refused(400, f"`{name}` is not supported for this model.")
    if family.one_sampling_parameter and {"temperature", "top_p"} <= set(given):
        message = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
        raise Refused(400, message)


def _thinking(body: dict[str, Any], family: Family) -> None:
    thinking = body.get("thinking", {"type": "disabled"})
    if thinking["type"] == "adaptive" and not family.adaptive_thinking:
        raise Refused(400, "adaptive thinking is not supported on this model")
    if thinking["type"] != "enabled":
        return
    if not family.manual_thinking:
        advice = 'Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
        raise Refused(400, f'"thinking.type.enabled" is not supported for this model. {advice}')
    if "max_tokens" in body and thinking["budget_tokens"] >= body["max_tokens"]:
        raise Refused(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    _compatible_with_thinking(body)


def _compatible_with_thinking(body: dict[str, Any]) -> None:
    if body.get("temperature", 1) != 1:
        raise Refused(400, "`temperature` may only be set to 1 when thinking is enabled.")
    if "top_k" in body:
        raise Refused(400, "`top_k` must be unset when thinking is enabled.")
    if "top_p" in body and body["top_p"] < 0.95:
        raise Refused(400, "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise Refused(400, "Thinking may not be enabled when tool_choice forces tool use.")


def _tools(body: dict[str, Any], family: Family) -> None:
    names = [tool.get("name") for tool in body.get("tools") or []]
    if len(names) != len(set(names)):
        raise Refused(400, "tools: Tool names must be unique.")
    for index, tool in enumerate(body.get("tools") or []):
        _tool_schema(tool, f"tools.{index}.custom")
    choice = body.get("tool_choice")
    if choice and not names:
        raise Refused(400, "tool_choice: may only be specified while providing tools.")
    if choice and choice["type"] == "tool" and choice["name"] not in names:
        raise Refused(400, f"Tool '{choice['name']}' not found in provided tools")


def _tool_schema(tool: dict[str, Any], where: str) -> None:
    schema = tool.get("input_schema") or {}
    if schema.keys() & {"oneOf", "allOf", "anyOf"}:
        rule = "input_schema does not support oneOf, allOf, or anyOf at the top level"
        raise Refused(400, f"{where}.input_schema: {rule}")
    if tool.get("strict"):
        check_grammar(schema, where)


def _output_format(body: dict[str, Any], family: Family) -> None:
    output_format = (body.get("output_config") or {}).get("format")
    if output_format is None:
        return
    if not family.structured:
        raise Refused(400, f"'{body['model']}' does not support output format.")
    check_grammar(output_format["schema"], "output_config.format.schema")


def _stop_sequences(body: dict[str, Any], family: Family) -> None:
    for stop in body.get("stop_sequences") or []:
        if not stop.strip():
            raise Refused(400, "stop_sequences: each stop sequence must contain non-whitespace")


def _cache(body: dict[str, Any], family: Family) -> None:
    ttls = [mark.get("ttl", "5m") for mark in cache_marks(body)]
    if len(ttls) > MOST_BREAKPOINTS:
        limit = f"A maximum of {MOST_BREAKPOINTS} blocks with cache_control may be provided."
        raise Refused(400, f"{limit} Found {len(ttls)}.")
    if "1h" in ttls[ttls.index("5m") if "5m" in ttls else len(ttls) :]:
        rule = "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block."
        raise Refused(
            400, f"cache_control.ttl: {rule} Note that blocks are processed in the order tools, system, messages."
        )


def _metadata(body: dict[str, Any], family: Family) -> None:
    if "@" in ((body.get("metadata") or {}).get("user_id") or ""):
        raise Refused(400, "metadata.user_id: user_id appears to contain an email address")


def _system(body: dict[str, Any], family: Family) -> None:
    system = body.get("system")
    for index, block in enumerate(system if isinstance(system, list) else []):
        if not block["text"]:
            raise Refused(400, f"system.{index}: text content blocks must be non-empty")


RULES = (_max_tokens, _sampling, _thinking, _tools, _output_format, _stop_sequences, _cache, _system, _metadata)
