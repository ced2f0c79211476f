"""
The request body of Anthropic's messages, field by field. What one field alone cannot tell is in `anthropic_rules`.
"""

from simulators.schemas.strict_schemas import KEYWORDS, SCHEMA
from simulators.schemas.validation import (
    ANY_OBJECT,
    ANYTHING,
    Choice,
    Either,
    Fields,
    Flag,
    Integer,
    Items,
    Null,
    Number,
    Spec,
    Tagged,
    Text,
    optional,
)

TOOL_NAME = Text(r"[a-zA-Z0-9_-]{1,128}")
TOOL_USE_ID = Text(r"[a-zA-Z0-9_-]+")
CACHE_CONTROL = optional(Fields({"type": Choice("ephemeral")}, {"ttl": Choice("5m", "1h")}))
CITATIONS = optional(Fields(optional={"enabled": Flag()}))
CALLER = Fields({"type": Text()}, {"tool_id": Text()})


def _block(required: dict[str, Spec], optional_fields: dict[str, Spec] | None = None, cached: bool = True) -> Spec:
    cache = {"cache_control": CACHE_CONTROL} if cached else {}
    return Fields({"type": Text(), **required}, {**(optional_fields or {}), **cache})


URL_SOURCE = Fields({"type": Text(), "url": Text(r"https://.+")})
FILE_SOURCE = Fields({"type": Text(), "file_id": Text()})
IMAGE_SOURCE = Tagged(
    {
        "base64": Fields(
            {
                "type": Text(),
                "media_type": Choice("image/jpeg", "image/png", "image/gif", "image/webp"),
                "data": Text(shortest=1),
            }
        ),
        "url": URL_SOURCE,
        "file": FILE_SOURCE,
    },
    shown_in_path=True,
)
TEXT_BLOCK = _block({"text": Text()}, {"citations": optional(Items(ANY_OBJECT))})
IMAGE_BLOCK = _block(
    {"source": IMAGE_SOURCE},
    {"transformations": optional(Fields(optional={"oversized_image": Choice("downsize", "error")}))},
)
DOCUMENT_SOURCE = Tagged(
    {
        "base64": Fields({"type": Text(), "media_type": Choice("application/pdf"), "data": Text(shortest=1)}),
        "text": Fields({"type": Text(), "media_type": Choice("text/plain"), "data": Text()}),
        "content": Fields(
            {"type": Text(), "content": Either(Text(), Items(Tagged({"text": TEXT_BLOCK, "image": IMAGE_BLOCK})))}
        ),
        "url": URL_SOURCE,
        "file": FILE_SOURCE,
    },
    shown_in_path=True,
)
DOCUMENT_BLOCK = _block(
    {"source": DOCUMENT_SOURCE}, {"citations": CITATIONS, "context": optional(Text()), "title": optional(Text())}
)
SEARCH_RESULT_BLOCK = _block(
    {"source": Text(), "title": Text(), "content": Items(Tagged({"text": TEXT_BLOCK}))}, {"citations": CITATIONS}
)
SYSTEM_TEXT = Either(Text(), Items(Tagged({"text": TEXT_BLOCK}, shown_in_path=False)))
RESULT_PARTS = Tagged(
    {
        "text": TEXT_BLOCK,
        "image": IMAGE_BLOCK,
        "document": DOCUMENT_BLOCK,
        "search_result": SEARCH_RESULT_BLOCK,
        "tool_reference": _block({"tool_name": Text()}),
    },
    shown_in_path=True,
)
TOOL_RESULT_BLOCK = _block(
    {"tool_use_id": TOOL_USE_ID},
    {"content": Either(Text(), Items(RESULT_PARTS)), "is_error": Flag(), "toolset_name": optional(Text())},
)
TOOL_USE_BLOCK = _block(
    {"id": TOOL_USE_ID, "name": Text(r"[a-zA-Z0-9_-]{1,200}"), "input": ANY_OBJECT},
    {"caller": optional(CALLER), "toolset_name": optional(Text())},
)
SERVER_BLOCK = Fields({"type": Text()}, extra=ANYTHING)
SERVER_BLOCKS = (
    "server_tool_use",
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "container_upload",
)
BLOCK = Tagged(
    {
        "text": TEXT_BLOCK,
        "image": IMAGE_BLOCK,
        "document": DOCUMENT_BLOCK,
        "search_result": SEARCH_RESULT_BLOCK,
        "thinking": _block({"thinking": Text(), "signature": Text(shortest=1)}, cached=False),
        "redacted_thinking": _block({"data": Text(shortest=1)}, cached=False),
        "tool_use": TOOL_USE_BLOCK,
        "tool_result": TOOL_RESULT_BLOCK,
        **dict.fromkeys(SERVER_BLOCKS, SERVER_BLOCK),
    },
    shown_in_path=True,
)
# The role is a rule of the conversation: `anthropic_rules` words a wrong one as the provider does.
MESSAGE = Fields({"role": Text(), "content": Either(Text(), Items(BLOCK))})

INPUT_SCHEMA = Fields(
    {"type": Choice("object")},
    {
        **{name: spec for name, spec in KEYWORDS.optional.items() if name != "type"},
        "properties": optional(Fields(extra=SCHEMA)),
        "required": optional(Items(Text())),
    },
    extra=ANYTHING,
)
CUSTOM_TOOL = Fields(
    {"name": TOOL_NAME, "input_schema": INPUT_SCHEMA},
    {
        "type": optional(Choice("custom")),
        "description": Text(),
        "cache_control": CACHE_CONTROL,
        "strict": Flag(),
        "defer_loading": Flag(),
        "eager_input_streaming": optional(Flag()),
        "allowed_callers": Items(Text()),
        "input_examples": Items(ANY_OBJECT),
    },
)
SERVER_TOOLS = (
    "bash_20250124",
    "code_execution_20250522",
    "code_execution_20250825",
    "code_execution_20260120",
    "code_execution_20260521",
    "browser_toolset_20260801",
    "computer_toolset_20260801",
    "memory_20250818",
    "text_editor_20250124",
    "text_editor_20250429",
    "text_editor_20250728",
    "web_search_20250305",
    "web_search_20260209",
    "web_search_20260318",
    "web_fetch_20250910",
    "web_fetch_20260209",
    "web_fetch_20260309",
    "web_fetch_20260318",
    "tool_search_tool_bm25",
    "tool_search_tool_bm25_20251119",
    "tool_search_tool_regex",
    "tool_search_tool_regex_20251119",
)
SERVER_TOOL = Fields({"type": Text()}, {"name": Text(), "cache_control": CACHE_CONTROL}, extra=ANYTHING)
TOOL = Tagged(
    {"custom": CUSTOM_TOOL, **dict.fromkeys(SERVER_TOOLS, SERVER_TOOL)}, untagged="custom", shown_in_path=True
)
PARALLEL = {"disable_parallel_tool_use": Flag()}
TOOL_CHOICE = Tagged(
    {
        "auto": Fields({"type": Text()}, PARALLEL),
        "any": Fields({"type": Text()}, PARALLEL),
        "tool": Fields({"type": Text(), "name": Text()}, PARALLEL),
        "none": Fields({"type": Text()}),
    },
    shown_in_path=True,
)
DISPLAY = {"display": optional(Choice("summarized", "omitted"))}
THINKING = Tagged(
    {
        "enabled": Fields({"type": Text(), "budget_tokens": Integer(1024)}, DISPLAY),
        "adaptive": Fields({"type": Text()}, DISPLAY),
        "between_tools": Fields({"type": Text()}),
        "disabled": Fields({"type": Text()}),
    },
    shown_in_path=True,
)
OUTPUT_FORMAT = Fields({"type": Choice("json_schema"), "schema": KEYWORDS})
OUTPUT_CONFIG = Fields(
    optional={
        "effort": optional(Choice("low", "medium", "high", "xhigh", "max")),
        "format": optional(OUTPUT_FORMAT),
    }
)
CONTAINER = Either(Text(), Fields(optional={"id": optional(Text()), "skills": optional(Items(ANY_OBJECT))}), Null())

COUNTED_FIELDS: dict[str, Spec] = {
    "cache_control": CACHE_CONTROL,
    "output_config": OUTPUT_CONFIG,
    "speed": optional(Choice("standard", "fast")),
    "system": SYSTEM_TEXT,
    "thinking": THINKING,
    "tool_choice": TOOL_CHOICE,
    "tools": Items(TOOL),
}
COUNT_REQUEST = Fields({"model": Text(shortest=1), "messages": Items(MESSAGE)}, COUNTED_FIELDS)
MESSAGES_REQUEST = Fields(
    required={"model": Text(shortest=1), "messages": Items(MESSAGE, most=100_000), "max_tokens": Integer(1)},
    optional={
        **COUNTED_FIELDS,
        "container": CONTAINER,
        "diagnostics": optional(Fields(optional={"previous_message_id": optional(Text())})),
        "inference_geo": optional(Text()),
        "metadata": Fields(optional={"user_id": optional(Text(longest=256))}),
        "service_tier": Choice("auto", "standard_only"),
        "stop_sequences": Items(Text()),
        "stream": Flag(),
        "temperature": Number(0, 1),
        "top_k": Integer(0),
        "top_p": Number(0, 1),
    },
)
