"""The tables of fields against the types of the official SDKs, which are generated from the providers' own."""

from typing import Any, Literal, Required, get_args, get_origin, get_type_hints

import anthropic.types as anthropic
import openai.types.chat as openai
import openai.types.shared_params as openai_shared
import pytest
from anthropic.types.message_create_params import MessageCreateParamsBase
from openai.types.chat import completion_create_params as openai_request

from simulators.anthropic import schema as anthropic_schema
from simulators.openai import schema as openai_schema
from simulators.schemas.validation import Fields, Spec, Tagged

# Sent as headers by the SDK; `stream` and the removed sampling parameters of older API versions are not in its base.
ONLY_IN_THE_SDK = {"user_profile_id", "workspace_id"}
ONLY_IN_THE_API = {"stream", "temperature", "top_k", "top_p"}


def table(spec: Spec) -> tuple[set[str], set[str]]:
    assert isinstance(spec, Fields)
    return set(spec.known), set(spec.required)


def sdk(kind: Any) -> tuple[set[str], set[str]]:
    hints = get_type_hints(kind, include_extras=True)
    return set(hints), {name for name, hint in hints.items() if get_origin(hint) is Required}


def variant(spec: Spec, tag: str) -> Spec:
    assert isinstance(spec, Tagged)
    return spec.variants[tag]


def test_openai_s_request_has_the_fields_of_the_sdk() -> None:
    known, required = sdk(openai_request.CompletionCreateParamsBase)

    assert table(openai_schema.CHAT_REQUEST) == (known | {"stream"}, required)


def test_anthropic_s_request_has_the_fields_of_the_sdk() -> None:
    known, required = sdk(MessageCreateParamsBase)

    assert table(anthropic_schema.MESSAGES_REQUEST) == (known - ONLY_IN_THE_SDK | ONLY_IN_THE_API, required)


def test_anthropic_s_count_has_the_fields_of_the_sdk() -> None:
    known, required = sdk(anthropic.MessageCountTokensParams)

    assert table(anthropic_schema.COUNT_REQUEST) == (known - ONLY_IN_THE_SDK, required)


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        (variant(openai_schema.MESSAGE, "system"), openai.ChatCompletionSystemMessageParam),
        (variant(openai_schema.MESSAGE, "developer"), openai.ChatCompletionDeveloperMessageParam),
        (variant(openai_schema.MESSAGE, "user"), openai.ChatCompletionUserMessageParam),
        (variant(openai_schema.MESSAGE, "function"), openai.ChatCompletionFunctionMessageParam),
        (variant(openai_schema.TOOL, "function"), openai.ChatCompletionFunctionToolParam),
        (variant(openai_schema.TOOL, "custom"), openai.ChatCompletionCustomToolParam),
        (openai_schema.FUNCTION, openai_shared.FunctionDefinition),
        (variant(openai_schema.TOOL_CALL, "function"), openai.ChatCompletionMessageFunctionToolCallParam),
        (variant(openai_schema.TOOL_CALL, "custom"), openai.ChatCompletionMessageCustomToolCallParam),
        (openai_schema.PARTS["text"], openai.ChatCompletionContentPartTextParam),
        (openai_schema.PARTS["image_url"], openai.ChatCompletionContentPartImageParam),
        (openai_schema.PARTS["input_audio"], openai.ChatCompletionContentPartInputAudioParam),
        (openai_schema.AUDIO, openai.ChatCompletionAudioParam),
        (openai_schema.ALLOWED_TOOLS, openai.ChatCompletionAllowedToolsParam),
        (variant(openai_schema.RESPONSE_FORMAT, "json_schema"), openai_shared.ResponseFormatJSONSchema),
        (openai_schema.WEB_SEARCH, openai_request.WebSearchOptions),
        (anthropic_schema.MESSAGE, anthropic.UserMessageParam),
        (anthropic_schema.TEXT_BLOCK, anthropic.TextBlockParam),
        (anthropic_schema.IMAGE_BLOCK, anthropic.ImageBlockParam),
        (anthropic_schema.DOCUMENT_BLOCK, anthropic.DocumentBlockParam),
        (anthropic_schema.SEARCH_RESULT_BLOCK, anthropic.SearchResultBlockParam),
        (anthropic_schema.TOOL_USE_BLOCK, anthropic.ToolUseBlockParam),
        (anthropic_schema.TOOL_RESULT_BLOCK, anthropic.ToolResultBlockParam),
        (variant(anthropic_schema.BLOCK, "thinking"), anthropic.ThinkingBlockParam),
        (variant(anthropic_schema.BLOCK, "redacted_thinking"), anthropic.RedactedThinkingBlockParam),
        (anthropic_schema.CUSTOM_TOOL, anthropic.ToolParam),
        (variant(anthropic_schema.TOOL_CHOICE, "auto"), anthropic.ToolChoiceAutoParam),
        (variant(anthropic_schema.TOOL_CHOICE, "tool"), anthropic.ToolChoiceToolParam),
        (variant(anthropic_schema.TOOL_CHOICE, "none"), anthropic.ToolChoiceNoneParam),
        (variant(anthropic_schema.THINKING, "enabled"), anthropic.ThinkingConfigEnabledParam),
        (variant(anthropic_schema.THINKING, "adaptive"), anthropic.ThinkingConfigAdaptiveParam),
        (anthropic_schema.OUTPUT_CONFIG, anthropic.OutputConfigParam),
        (anthropic_schema.OUTPUT_FORMAT, anthropic.JSONOutputFormatParam),
    ],
)
def test_a_table_has_the_fields_of_the_sdk_s_type(spec: Spec, kind: Any) -> None:
    assert table(spec) == sdk(kind)


def test_an_assistant_message_may_carry_what_answers_carry() -> None:
    known, required = sdk(openai.ChatCompletionAssistantMessageParam)

    assert table(variant(openai_schema.MESSAGE, "assistant")) == (known | {"annotations"}, required)


def test_a_tool_message_may_carry_the_name_that_older_clients_send() -> None:
    known, required = sdk(openai.ChatCompletionToolMessageParam)

    assert table(variant(openai_schema.MESSAGE, "tool")) == (known | {"name"}, required)


def test_every_kind_of_anthropic_tool_is_known() -> None:
    types = [get_type_hints(kind)["type"] for kind in get_args(anthropic.ToolUnionParam)]
    named = {name for hint in types if get_origin(hint) is Literal for name in get_args(hint)}

    assert set(anthropic_schema.SERVER_TOOLS) == named
