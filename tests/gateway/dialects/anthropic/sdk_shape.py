"""Whether a request body is one that Anthropic's SDK could have sent."""

from typing import Any

from anthropic.types import (
    MessageCreateParams,
    MetadataParam,
    OutputConfigParam,
    TextBlockParam,
    ThinkingConfigParam,
    ToolChoiceParam,
    ToolParam,
)
from anthropic.types.content_block_param import ContentBlockParam
from anthropic.types.message_create_params import MessageCreateParamsBase
from anthropic.types.tool_result_block_param import Content
from pydantic import TypeAdapter

NEWER_MODELS_REFUSE = {"temperature", "top_p", "top_k"}
BETA = {"mcp_servers", "context_management"}
KNOWN = set(MessageCreateParamsBase.__annotations__) | {"stream"} | NEWER_MODELS_REFUSE | BETA
PARTS: dict[str, TypeAdapter[Any]] = {
    "system": TypeAdapter(list[TextBlockParam]),
    "tools": TypeAdapter(list[ToolParam]),
    "tool_choice": TypeAdapter(ToolChoiceParam),
    "thinking": TypeAdapter(ThinkingConfigParam),
    "output_config": TypeAdapter(OutputConfigParam),
    "metadata": TypeAdapter(MetadataParam),
    "stop_sequences": TypeAdapter(list[str]),
}
BLOCKS: TypeAdapter[Any] = TypeAdapter(list[ContentBlockParam])
RESULT_CONTENT: TypeAdapter[Any] = TypeAdapter(list[Content])
WHOLE: TypeAdapter[Any] = TypeAdapter(MessageCreateParams)


def require_sdk_shape(body: dict[str, Any]) -> None:
    """Validation drops what a type does not know, so a part is right when it comes back as it went in."""
    assert body.keys() <= KNOWN
    WHOLE.validate_python(body)
    for name, adapter in PARTS.items():
        if name in body:
            assert adapter.validate_python(body[name]) == body[name]
    for message in body["messages"]:
        assert message.keys() == {"role", "content"}
        _require_blocks(message["content"])


def _require_blocks(blocks: list[dict[str, Any]]) -> None:
    without_results = [block for block in blocks if block["type"] != "tool_result"]
    assert BLOCKS.validate_python(without_results) == without_results
    for block in blocks:
        if block["type"] == "tool_result":
            assert block.keys() <= {"type", "tool_use_id", "content", "is_error", "cache_control"}
            content = block.get("content", [])
            assert RESULT_CONTENT.validate_python(content) == content
