"""
What OpenAI refuses although every field has the right shape: fields that exclude each other, fields that need each
other, tool messages that answer nothing, more tokens than the model has. Pure; `check` raises the first `Refused`.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

from simulators.answers.models import Family
from simulators.faults.refusals import Refused
from simulators.openai.errors import refusal
from simulators.openai.schema import CHAT_REQUEST
from simulators.schemas.strict_schemas import open_objects, optional_properties

DATA_URL = re.compile(r"data:image/(png|jpeg|jpg|gif|webp);base64,(.+)", re.DOTALL)
FIXED_WHEN_REASONING = {"temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}


def check_shape(body: Any) -> None:
    """Refuse a body that is no chat request, before its model is looked up."""
    problem = CHAT_REQUEST.first_problem(body)
    if problem is not None:
        raise refusal(problem)


def check(body: dict[str, Any], family: Family) -> None:
    """Refuse a well-shaped chat request that the model would not take."""
    for rule in RULES:
        rule(body, family)


def _lengths(body: dict[str, Any], family: Family) -> None:
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        raise Refused(400, message, code="invalid_parameter_combination", param="max_tokens")
    for name in ("max_tokens", "max_completion_tokens"):
        wanted = body.get(name)
        if wanted is not None and wanted > family.max_output:
            limit = f"This model supports at most {family.max_output} completion tokens"
            message = f"{name} is too large: {wanted}. {limit}, whereas you provided {wanted}."
            raise Refused(400, message, code="invalid_value", param=name)


def _reasoning(body: dict[str, Any], family: Family) -> None:
    if not family.reasoning:
        _without_reasoning(body)
        return
    if not family.stop and body.get("stop") is not None:
        raise _unsupported("stop", "")
    if body.get("max_tokens") is not None:
        raise _unsupported("max_tokens", " Use 'max_completion_tokens' instead.")
    if body.get("reasoning_effort") == "none":
        return
    for name, only in FIXED_WHEN_REASONING.items():
        if body.get(name) not in (None, only):
            reason = f"'{name}' does not support {body[name]} with this model. Only the default ({only}) is supported."
            message = f"Unsupported value: {reason}"
            raise Refused(400, message, code="unsupported_value", param=name)
    if body.get("logprobs"):
        message = "You are not allowed to request logprobs from this model."
        raise Refused(403, message, type="invalid_request_error", param="logprobs")


def _without_reasoning(body: dict[str, Any]) -> None:
    if body.get("reasoning_effort") is not None:
        message = "Unrecognized request argument supplied: reasoning_effort"
        raise Refused(400, message, code="unknown_parameter", param="reasoning_effort")
    if body.get("verbosity") not in (None, "medium"):
        reason = f"'verbosity' does not support '{body['verbosity']}' with this model. Supported values are: 'medium'."
        raise Refused(400, f"Unsupported value: {reason}", code="unsupported_value", param="verbosity")


def _unsupported(name: str, instead: str) -> Refused:
    message = f"Unsupported parameter: '{name}' is not supported with this model.{instead}"
    return Refused(400, message, code="unsupported_parameter", param=name)


def _companions(body: dict[str, Any], family: Family) -> None:
    for name, companion, condition in (
        ("stream_options", "stream", "enabled"),
        ("top_logprobs", "logprobs", "enabled"),
    ):
        if body.get(name) is not None and not body.get(companion):
            message = f"The '{name}' parameter is only allowed when '{companion}' is {condition}."
            raise Refused(400, message, code="invalid_value", param=name)
    for name in ("tool_choice", "parallel_tool_calls"):
        if name in body and not body.get("tools"):
            message = f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified."
            raise Refused(400, message, code="invalid_value", param=name)
    if "audio" in (body.get("modalities") or []) and not body.get("audio"):
        raise Refused(400, "Missing required parameter: 'audio'.", code="missing_required_parameter", param="audio")


def _tools(body: dict[str, Any], family: Family) -> None:
    names = [tool[tool["type"]]["name"] for tool in body.get("tools") or []]
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice["type"] in ("function", "custom"):
        wanted = choice[choice["type"]]["name"]
        if wanted not in names:
            message = (
                f"Invalid value for 'tool_choice': no tool named '{wanted}' was specified in the 'tools' parameter."
            )
            raise Refused(400, message, code="invalid_value", param="tool_choice")
    for index, tool in enumerate(body.get("tools") or []):
        function = tool.get("function") or {}
        _parameters_are_an_object(function, index)
        if function.get("strict"):
            where = f"tools[{index}].function.parameters"
            schema = function.get("parameters", {"type": "object", "additionalProperties": False})
            _strict(schema, f"function '{function['name']}'", where, "invalid_function_parameters")


def _parameters_are_an_object(function: dict[str, Any], index: int) -> None:
    parameters = function.get("parameters")
    if parameters and parameters.get("type") != "object":
        reason = f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{parameters.get('type')}\"'."
        message = f"Invalid schema for function '{function['name']}': {reason}"
        where = f"tools[{index}].function.parameters"
        raise Refused(400, message, code="invalid_function_parameters", param=where)


def _response_format(body: dict[str, Any], family: Family) -> None:
    wanted = body.get("response_format", {"type": "text"})
    if wanted["type"] == "json_object" and "json" not in _all_text(body).lower():
        message = (
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        )
        raise Refused(400, message, param="messages")
    if wanted["type"] == "json_schema":
        schema = wanted["json_schema"]
        if "schema" not in schema:
            message = "Missing required parameter: 'response_format.json_schema.schema'."
            raise Refused(400, message, code="missing_required_parameter", param="response_format.json_schema.schema")
        if schema.get("strict"):
            _strict(schema["schema"], f"response_format '{schema['name']}'", "response_format", None)


def _strict(schema: dict[str, Any], what: str, param: str, code: str | None) -> None:
    for path, _ in open_objects(schema):
        reason = "'additionalProperties' is required to be supplied and to be false."
        raise Refused(400, f"Invalid schema for {what}: In context={path}, {reason}", code=code, param=param)
    for path, name in optional_properties(schema):
        rule = "'required' is required to be supplied and to be an array including every key in properties."
        reason = f"{rule} Missing '{name}'."
        raise Refused(400, f"Invalid schema for {what}: In context={path}, {reason}", code=code, param=param)


def _conversation(body: dict[str, Any], family: Family) -> None:
    unanswered: list[str] = []
    answerable = False
    for index, message in enumerate(body["messages"]):
        if message["role"] == "tool":
            _answers_a_call(message, unanswered, answerable, index)
            continue
        _nothing_unanswered(unanswered, index - 1)
        if message["role"] == "assistant":
            _says_something(message, index)
        unanswered = [call["id"] for call in message.get("tool_calls") or []]
        answerable = bool(unanswered)
    _nothing_unanswered(unanswered, len(body["messages"]) - 1)


def _answers_a_call(message: dict[str, Any], unanswered: list[str], answerable: bool, index: int) -> None:
    if not answerable:
        text = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
        raise Refused(400, f"Invalid parameter: {text}", param=f"messages.[{index}].role")
    if message["tool_call_id"] not in unanswered:
        text = f"'tool_call_id' of '{message['tool_call_id']}' not found in 'tool_calls' of previous message."
        raise Refused(400, f"Invalid parameter: {text}", param=f"messages.[{index}].tool_call_id")
    unanswered.remove(message["tool_call_id"])


def _nothing_unanswered(unanswered: list[str], index: int) -> None:
    if unanswered:
        rule = "An assistant message with 'tool_calls' must be followed by tool messages"
        missing = f"The following tool_call_ids did not have response messages: {', '.join(unanswered)}"
        message = f"{rule} responding to each 'tool_call_id'. {missing}"
        raise Refused(400, message, param=f"messages.[{index}].role")


def _says_something(message: dict[str, Any], index: int) -> None:
    if all(message.get(name) is None for name in ("content", "tool_calls", "function_call", "refusal", "audio")):
        text = "Invalid value for 'content': expected a string, got null."
        raise Refused(400, text, code="invalid_value", param=f"messages.[{index}].content")


def _images(body: dict[str, Any], family: Family) -> None:
    for url, where in _image_urls(body):
        data = DATA_URL.fullmatch(url)
        if url.startswith("data:") and not (data and _is_base64(data[2])):
            message = "Invalid base64 image_url: a data URL must be data:image/{png,jpeg,gif,webp};base64,<data>."
            raise Refused(400, message, code="invalid_base64", param=where)
        if not url.startswith(("data:", "https://", "http://")):
            message = f"Invalid image_url: expected an http(s) URL or a data URL, but got '{url[:40]}'."
            raise Refused(400, message, code="invalid_image_url", param=where)


def _image_urls(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for index, message in enumerate(body["messages"]):
        for place, part in enumerate(message.get("content") or [] if isinstance(message.get("content"), list) else []):
            if part["type"] == "image_url":
                yield part["image_url"]["url"], f"messages[{index}].content[{place}].image_url.url"


def _is_base64(data: str) -> bool:
    try:
        return bool(base64.b64decode(data, validate=True))
    except binascii.Error:
        return False


def _metadata(body: dict[str, Any], family: Family) -> None:
    for name in body.get("metadata") or {}:
        if len(name) > 64:
            message = f"Invalid 'metadata': key too long. Expected at most 64 characters, but got {len(name)}."
            raise Refused(400, message, code="string_above_max_length", param="metadata")


def _all_text(body: dict[str, Any]) -> str:
    contents = [message.get("content") or "" for message in body["messages"]]
    parts = [part if isinstance(part, list) else [{"text": part}] for part in contents]
    return " ".join(part.get("text", "") for group in parts for part in group)


RULES = (_lengths, _reasoning, _companions, _tools, _response_format, _conversation, _images, _metadata)
