"""
The models file of the gateway's tests, made for one simulated upstream.

* `gpt-4o-mini`, `gpt-5-mini`, `claude-haiku-4-5`: the model behind its own name.
* `openai-3`, `anthropic-3`, …: the same upstream models behind targets that nobody else uses, so that a test may
  break them (`FreshModels`): a circuit it opens is its own.
* `both-3`: OpenAI first, then Anthropic. `dead-3`: an address where nobody listens, then OpenAI.
* `hurried-3`, `hurried-claude-3`: time-outs of a fraction of a second.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import count

FRESH = 60

PROVIDERS = """
[providers.openai]
schema = "openai"
base_url = "{openai}"
api_key = "sk-sim-openai"

[providers.anthropic]
schema = "anthropic"
base_url = "{anthropic}"
api_key = "sk-sim-anthropic"
betas = ["context-management-2025-06-27"]

[providers.dead]
schema = "openai"
base_url = "http://127.0.0.1:1/v1"
api_key = "sk-sim-dead"
"""

OPENAI_TERMS = """
context_tokens = 128_000
max_output_tokens = 16_384
tokenizer = "openai-mini"
price = { input = "0.15", cache_read = "0.075", output = "0.60" }
"""

ANTHROPIC_TERMS = """
context_tokens = 200_000
max_output_tokens = 64_000
tokenizer = "claude-4"
price = { input = "1.00", cache_read = "0.10", cache_write_5m = "1.25", cache_write_1h = "2.00", output = "5.00" }
"""

HURRY = "first_byte_seconds = 0.4, idle_seconds = 0.4, total_seconds = 1.2"


class FreshModels:
    """Hands out the numbered models, each once."""

    def __init__(self) -> None:
        self._numbers: defaultdict[str, Iterator[int]] = defaultdict(count)

    def take(self, kind: str) -> str:
        number = next(self._numbers[kind])
        assert number < FRESH, "raise FRESH in tests/harness/models_text.py"
        return f"{kind}-{number}"


def models_text(openai_url: str, anthropic_url: str) -> str:
    parts = [PROVIDERS.format(openai=openai_url, anthropic=anthropic_url)]
    parts += [
        _model("gpt-4o-mini", OPENAI_TERMS, _openai(1)),
        _model("gpt-5-mini", OPENAI_TERMS, _target("openai", "gpt-5-mini", 1)),
        _model("claude-haiku-4-5", ANTHROPIC_TERMS, _anthropic(1)),
    ]
    for number in range(FRESH):
        weight = number + 2
        parts += [
            _model(f"openai-{number}", OPENAI_TERMS, _openai(weight)),
            _model(f"anthropic-{number}", ANTHROPIC_TERMS, _anthropic(weight)),
            _model(f"both-{number}", ANTHROPIC_TERMS, _openai(weight + FRESH), _anthropic(weight, "priority = 1")),
            _model(f"dead-{number}", OPENAI_TERMS, _target("dead", "x", weight), _openai(weight, "priority = 1")),
            _model(f"hurried-{number}", OPENAI_TERMS, _openai(weight, HURRY)),
            _model(f"hurried-claude-{number}", ANTHROPIC_TERMS, _anthropic(weight, HURRY)),
        ]
    return "\n".join(parts)


def _model(name: str, terms: str, *targets: str) -> str:
    return f'[models."{name}"]{terms}targets = [{", ".join(targets)}]\n'


def _openai(weight: int, more: str = "") -> str:
    return _target("openai", "gpt-4o-mini", weight, more)


def _anthropic(weight: int, more: str = "") -> str:
    return _target("anthropic", "claude-haiku-4-5", weight, more)


def _target(provider: str, model: str, weight: int, more: str = "") -> str:
    rest = f", {more}" if more else ""
    return f'{{ provider = "{provider}", model = "{model}", weight = {weight}{rest} }}'
