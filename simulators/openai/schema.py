"""
The request body of OpenAI's chat completions, field by field. What one field alone cannot tell is in `openai_rules`.
"""

from simulators.schemas.strict_schemas import KEYWORDS as SCHEMA_OBJECT
from simulators.schemas.validation import (
    ANY_OBJECT,
    ANYTHING,
    Choice,
    Either,
    Fields,
    Flag,
    Integer,
    Items,
    Number,
    Spec,
    Tagged,
    Text,
    optional,
)

CALL_ID = Text(shortest=1, longest=40)
FUNCTION_NAME = Text(r"[a-zA-Z0-9_-]+", longest=64)
CACHE_BREAKPOINT = Fields({"mode": Choice("explicit")}, {"ttl": Choice("30m", "12h")})


def _part(kind: str, content: Spec) -> Spec:
    return Fields({"type": Choice(kind), kind: content}, {"prompt_cache_breakpoint": CACHE_BREAKPOINT})


TEXT_PART = _part("text", Text())
REFUSAL_PART = Fields({"type": Choice("refusal"), "refusal": Text()})
PARTS: dict[str, Spec] = {
    "text": TEXT_PART,
    "image_url": _part(
        "image_url", Fields({"url": Text(shortest=1)}, {"detail": Choice("auto", "low", "high", "original")})
    ),
    "input_audio": _part("input_audio", Fields({"data": Text(), "format": Choice("wav", "mp3")})),
    "file": _part("file", Fields(optional={"file_data": Text(), "file_id": Text(), "filename": Text()})),
}
TEXT_CONTENT = Either(Text(), Items(Tagged({"text": TEXT_PART}), fewest=1))
USER_CONTENT = Either(Text(), Items(Tagged(PARTS), fewest=1))
ASSISTANT_CONTENT = Either(Text(), Items(Tagged({"text": TEXT_PART, "refusal": REFUSAL_PART}), fewest=1))

TOOL_CALL = Tagged(
    {
        "function": Fields(
            {
                "id": CALL_ID,
                "type": Choice("function"),
                "function": Fields({"name": Text(), "arguments": Text()}),
            }
        ),
        "custom": Fields(
            {"id": CALL_ID, "type": Choice("custom"), "custom": Fields({"name": Text(), "input": Text()})}
        ),
    }
)
SPEAKER = {"name": Text(r"[^\s<|\\/>]+", longest=64)}
MESSAGE = Tagged(
    {
        "system": Fields({"role": Text(), "content": TEXT_CONTENT}, SPEAKER),
        "developer": Fields({"role": Text(), "content": TEXT_CONTENT}, SPEAKER),
        "user": Fields({"role": Text(), "content": USER_CONTENT}, SPEAKER),
        "assistant": Fields(
            {"role": Text()},
            {
                **SPEAKER,
                "content": optional(ASSISTANT_CONTENT),
                "refusal": optional(Text()),
                "audio": optional(Fields({"id": Text()})),
                "function_call": optional(Fields({"name": Text(), "arguments": Text()})),
                "tool_calls": Items(TOOL_CALL, fewest=1),
                # Answers of this API carry it, and clients send answers back as they came.
                "annotations": Items(ANYTHING),
            },
        ),
        # No documented field, but taken, and sent by older clients.
        "tool": Fields({"role": Text(), "content": TEXT_CONTENT, "tool_call_id": CALL_ID}, SPEAKER),
        "function": Fields({"role": Text(), "content": optional(Text()), "name": FUNCTION_NAME}),
    },
    tag="role",
)

FUNCTION = Fields(
    {"name": FUNCTION_NAME}, {"description": Text(), "parameters": SCHEMA_OBJECT, "strict": optional(Flag())}
)
OLD_FUNCTION = Fields({"name": FUNCTION_NAME}, {"description": Text(), "parameters": SCHEMA_OBJECT})
GRAMMAR = Fields({"definition": Text(), "syntax": Choice("lark", "regex")})
CUSTOM_TOOL = Fields(
    {"name": FUNCTION_NAME},
    {
        "description": Text(),
        "format": Tagged(
            {
                "text": Fields({"type": Text()}),
                "grammar": Fields({"type": Text(), "grammar": GRAMMAR}),
            }
        ),
    },
)
TOOL = Tagged(
    {
        "function": Fields({"type": Text(), "function": FUNCTION}),
        "custom": Fields({"type": Text(), "custom": CUSTOM_TOOL}),
    }
)
NAMED = Fields({"name": Text()})
ALLOWED_TOOLS = Fields({"mode": Choice("auto", "required"), "tools": Items(ANY_OBJECT)})
TOOL_CHOICE = Either(
    Choice("none", "auto", "required"),
    Tagged(
        {
            "function": Fields({"type": Text(), "function": NAMED}),
            "custom": Fields({"type": Text(), "custom": NAMED}),
            "allowed_tools": Fields({"type": Text(), "allowed_tools": ALLOWED_TOOLS}),
        }
    ),
)
JSON_SCHEMA = Fields(
    {"name": FUNCTION_NAME}, {"description": Text(), "schema": SCHEMA_OBJECT, "strict": optional(Flag())}
)
RESPONSE_FORMAT = Tagged(
    {
        "text": Fields({"type": Text()}),
        "json_object": Fields({"type": Text()}),
        "json_schema": Fields({"type": Text(), "json_schema": JSON_SCHEMA}),
    }
)
VOICE = Either(Text(), Fields({"id": Text()}))
AUDIO = Fields({"format": Choice("wav", "aac", "mp3", "flac", "opus", "pcm16"), "voice": VOICE})
MODERATION_RULE = Fields({"mode": Choice("score", "block")})
MODERATION_POLICY = Fields(optional={"input": optional(MODERATION_RULE), "output": optional(MODERATION_RULE)})
LOCATION = Fields(
    {
        "type": Choice("approximate"),
        "approximate": Fields(optional={name: Text() for name in ("city", "country", "region", "timezone")}),
    }
)
WEB_SEARCH = Fields(
    optional={"search_context_size": Choice("low", "medium", "high"), "user_location": optional(LOCATION)}
)

CHAT_REQUEST = Fields(
    required={"model": Text(shortest=1), "messages": Items(MESSAGE, fewest=1)},
    optional={
        "audio": optional(AUDIO),
        "frequency_penalty": optional(Number(-2, 2)),
        "function_call": Either(Choice("none", "auto"), NAMED),
        "functions": Items(
            Fields({"name": FUNCTION_NAME}, {"description": Text(), "parameters": SCHEMA_OBJECT}), 1, 128
        ),
        "logit_bias": optional(Fields(extra=Integer(-100, 100))),
        "logprobs": optional(Flag()),
        "max_completion_tokens": optional(Integer(1)),
        "max_tokens": optional(Integer(1)),
        "metadata": optional(Fields(extra=Text(longest=512), most=16)),
        "modalities": optional(Items(Choice("text", "audio"), 1)),
        "moderation": optional(Fields({"model": Text()}, {"policy": optional(MODERATION_POLICY)})),
        "n": optional(Integer(1, 128)),
        "parallel_tool_calls": Flag(),
        "prediction": optional(Fields({"type": Choice("content"), "content": TEXT_CONTENT})),
        "presence_penalty": optional(Number(-2, 2)),
        "prompt_cache_key": optional(Text(longest=64)),
        "prompt_cache_options": Fields(optional={"mode": Choice("implicit", "explicit"), "ttl": Choice("30m")}),
        "prompt_cache_retention": optional(Choice("in_memory", "24h")),
        "reasoning_effort": optional(Choice("none", "minimal", "low", "medium", "high", "xhigh", "max")),
        "response_format": RESPONSE_FORMAT,
        "safety_identifier": optional(Text(longest=128)),
        "seed": optional(Integer(-(2**63), 2**63 - 1)),
        "service_tier": optional(Choice("auto", "default", "flex", "scale", "priority", "fast")),
        "stop": optional(Either(Text(), Items(Text(), 1, 4))),
        "store": optional(Flag()),
        "stream": optional(Flag()),
        "stream_options": optional(Fields(optional={"include_usage": Flag(), "include_obfuscation": Flag()})),
        "temperature": optional(Number(0, 2)),
        "tool_choice": TOOL_CHOICE,
        "tools": Items(TOOL, most=128),
        "top_logprobs": optional(Integer(0, 20)),
        "top_p": optional(Number(0, 1)),
        "user": Text(),
        "verbosity": optional(Choice("low", "medium", "high")),
        "web_search_options": WEB_SEARCH,
    },
)
