import pytest

from core.accounts.api_key import ApiKey
from deploy.local.operator_environment import without_demo

PORTS = {"postgres": 54320, "valkey": 63790}
OURS = {
    "OPENAI_BASE_URL": "http://127.0.0.1:8080/v1",
    "DATABASE_URL": "postgresql://poindexter:secret@127.0.0.1:54320/postgres?sslmode=disable",
    "REDIS_URL": "redis://:secret@127.0.0.1:63790/0",
}


def test_what_a_shell_has_read_from_demo_env_is_not_asked_for_by_the_operator() -> None:
    assert without_demo({**OURS, "PATH": "/bin"}, OURS, PORTS) == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "value",
    [
        "postgresql://poindexter:secret@db.example.com:54320/ledger",
        "postgresql://poindexter:secret@127.0.0.1:5432/ledger",
        "postgresql://poindexter:secret@127.0.0.1:none/ledger",
    ],
)
def test_a_database_elsewhere_is_used_again_although_demo_env_repeats_it(value: str) -> None:
    environment = {"DATABASE_URL": value}

    assert without_demo(environment, environment, PORTS) == environment


def test_no_key_of_ours_is_taken_for_one_of_openai() -> None:
    """It would be sent to OpenAI; a shell may have read the demo.env of another installation."""
    environment = {"OPENAI_API_KEY": ApiKey.generate().text}

    assert without_demo(environment, {}, PORTS) == {}


def test_a_key_of_openai_stays() -> None:
    environment = {"OPENAI_API_KEY": "sk-real", "ANTHROPIC_API_KEY": "sk-ant-real"}

    assert without_demo(environment, OURS, PORTS) == environment
