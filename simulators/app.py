"""
The ASGI application: both providers' routes on one port, and the control API beside them.
"""

import time

from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from simulators.answers.models import ANTHROPIC, LISTED_ANTHROPIC, LISTED_OPENAI, OPENAI
from simulators.answers.prompt_cache import PromptCache
from simulators.anthropic.messages import AnthropicMessages
from simulators.faults.faults import FaultQueue
from simulators.faults.record import Record
from simulators.http.catalogue import CountTokensEndpoint, ModelsEndpoint, NoSuchRoute
from simulators.http.control import Control
from simulators.http.endpoint import CompletionEndpoint
from simulators.openai.chat import OpenAIChat


def build_app(record: Record, api_keys: frozenset[str] = frozenset()) -> ASGIApp:
    """The application that serves both providers; without keys it accepts every key."""
    faults = FaultQueue()
    cache = PromptCache(time.monotonic)
    openai = OpenAIChat(api_keys, cache)
    anthropic = AnthropicMessages(api_keys, cache)
    openai_models = ModelsEndpoint(openai, record, OPENAI, LISTED_OPENAI)
    anthropic_models = ModelsEndpoint(anthropic, record, ANTHROPIC, LISTED_ANTHROPIC)

    return Starlette(
        routes=[
            Route("/openai/v1/chat/completions", CompletionEndpoint(openai, faults, record), methods=["POST"]),
            Route("/openai/v1/models", openai_models, methods=["GET"]),
            Route("/openai/v1/models/{model}", openai_models, methods=["GET"]),
            Route("/anthropic/v1/messages", CompletionEndpoint(anthropic, faults, record), methods=["POST"]),
            Route("/anthropic/v1/messages/count_tokens", CountTokensEndpoint(anthropic, record), methods=["POST"]),
            Route("/anthropic/v1/models", anthropic_models, methods=["GET"]),
            Route("/anthropic/v1/models/{model}", anthropic_models, methods=["GET"]),
            Mount("/_control", routes=Control(faults, record, cache).routes()),
            Mount("/anthropic", NoSuchRoute(anthropic, record)),
            Mount("/", NoSuchRoute(openai, record)),
        ],
    )
