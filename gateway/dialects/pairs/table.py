"""Which pairs of a client API and an upstream schema there are. A new schema, or a new API, is a row here."""

from collections.abc import Callable

from core.models.models_file import Target
from gateway.dialects.openai.request import Dialect
from gateway.dialects.pairs.chat_anthropic import ChatToAnthropic
from gateway.dialects.pairs.chat_openai import ChatToOpenAI
from gateway.dialects.pairs.messages_anthropic import MessagesToAnthropic
from gateway.dialects.pairs.messages_chat import MessagesOverChat
from gateway.dialects.translator import Translator

__all__ = ["translators"]


def _chat_openai(target: Target) -> Translator:
    provider = target.provider
    return ChatToOpenAI(
        Dialect(
            max_tokens_parameter=provider.max_tokens_parameter,
            stream_options=provider.stream_options,
            sends_done=provider.sends_done,
            foreign_fields=target.foreign_fields,
            fixed_sampling=target.fixed_sampling,
            input_includes_cache=provider.input_includes_cache,
        )
    )


def _chat_anthropic(target: Target) -> Translator:
    return ChatToAnthropic(input_includes_cache=target.provider.input_includes_cache)


def _messages_anthropic(target: Target) -> Translator:
    return MessagesToAnthropic(input_includes_cache=target.provider.input_includes_cache)


PAIRS: dict[tuple[str, str], Callable[[Target], Translator]] = {
    ("chat", "openai"): _chat_openai,
    ("chat", "anthropic"): _chat_anthropic,
    ("messages", "anthropic"): _messages_anthropic,
    ("messages", "openai"): lambda target: MessagesOverChat(_chat_openai(target)),
}


def translators(target: Target) -> dict[str, Translator]:
    """By the name of the client API: those in which this target can be asked."""
    return {api: make(target) for (api, schema), make in PAIRS.items() if schema == target.provider.schema}
