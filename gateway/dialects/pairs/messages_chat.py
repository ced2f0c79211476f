"""Anthropic's Messages in front of whatever a chat can be asked of: translated to a chat, and its answer back."""

from dataclasses import replace

import orjson

from gateway.dialects.generation_request import GenerationRequest, encode
from gateway.dialects.messages.from_chat_stream import ChatToMessagesStream
from gateway.dialects.messages.message import message_of
from gateway.dialects.messages.to_chat import chat_document
from gateway.dialects.openai.chat_request import API
from gateway.dialects.translator import Answer, Header, MalformedAnswer, Translator
from gateway.failure import Fault, UpstreamFailure

__all__ = ["MessagesOverChat"]


class MessagesOverChat:
    def __init__(self, chat: Translator) -> None:
        """`chat` is the translator from a chat to the upstream's schema."""
        self._chat = chat

    @property
    def path(self) -> str:
        return self._chat.path

    def request(self, chat: GenerationRequest, *, upstream_model: str, max_output_tokens: int, clamp: bool) -> bytes:
        return self._chat.request(
            _as_chat(chat), upstream_model=upstream_model, max_output_tokens=max_output_tokens, clamp=clamp
        )

    def answer(self, chat: GenerationRequest, body: bytes, *, created: int) -> Answer:
        answer = self._chat.answer(_answered(chat), body, created=created)
        try:
            return replace(answer, body=message_of(answer.body, answer.usage))
        except orjson.JSONEncodeError as error:
            message = "The provider's answer is broken: it is nested too deeply."
            raise MalformedAnswer(UpstreamFailure(Fault.UPSTREAM, 200, message)) from error

    def stream(self, chat: GenerationRequest, *, created: int) -> ChatToMessagesStream:
        return ChatToMessagesStream(self._chat.stream(_answered(chat), created=created))

    def failure(self, status: int, header: Header, body: bytes, *, now: float | None = None) -> UpstreamFailure:
        return self._chat.failure(status, header, body, now=now)


def _answered(request: GenerationRequest) -> GenerationRequest:
    """For what follows the request: its document is not looked into again."""
    return replace(request, api=API, wants_usage=False)


def _as_chat(request: GenerationRequest) -> GenerationRequest:
    document = chat_document(request.document)
    return replace(request, api=API, document=document, raw=encode(document), wants_usage=False)
