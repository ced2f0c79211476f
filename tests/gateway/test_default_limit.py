"""C10: a limit that the client did not ask for makes no prompt too long that fits the model's window."""

from collections.abc import Iterator

import httpx
import pytest

from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway
from tests.harness.simulated_upstream import SimulatedUpstream

MODELS = """
[providers.openai]
schema = "openai"
base_url = "{url}"
api_key = "sk-sim-openai"
max_tokens_parameter = "max_tokens"

[models.small]
context_tokens = 16_385
max_output_tokens = 4_096
price = {{ input = "1.00", output = "1.00" }}
tokenizer = "openai"
targets = [{{ provider = "openai", model = "gpt-3.5-turbo" }}]
"""


@pytest.fixture(scope="module")
def small(shared: Installation, upstream: SimulatedUpstream) -> Iterator[RunningGateway]:
    gateway = shared.start_gateway(models=MODELS.format(url=upstream.openai_url))
    yield gateway
    gateway.stop()


@pytest.mark.parametrize("tokens", [100, 8_000, 12_500, 14_500])
def test_a_long_prompt_is_answered_although_the_model_adds_the_limit_to_it(
    small: RunningGateway, customer: Customer, tokens: int
) -> None:
    text = "[[sim words=3]]" + "word" * tokens
    body = {"model": "small", "messages": [{"role": "user", "content": text}]}

    answer = httpx.post(f"{small.openai_url}/chat/completions", json=body, headers=customer.headers, timeout=30)

    assert answer.status_code == 200, answer.text
