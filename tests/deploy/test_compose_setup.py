"""What `compose/setup.sh` makes on a server, and Valkey as compose.yaml starts it."""

import re
import stat
import subprocess
from pathlib import Path

import pytest
import redis

from core.accounts.api_key import Pepper
from core.models.models_file import ModelsFile, ModelsFileError
from deploy.local.servers.ports import free_port
from deploy.local.servers.programs import find_valkey
from tests.deploy.composed import compose, run_setup, set_up
from tests.harness.waiting import eventually

PASSWORDS = ("postgres_password", "valkey_auth", "api_key_pepper", "grafana_password")


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    return set_up(tmp_path)


def secret(deploy: Path, name: str) -> str:
    return (deploy / "compose" / "secrets" / name).read_text().strip()


def test_every_password_is_random_and_where_it_is_needed(
    deploy: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    another = set_up(tmp_path_factory.mktemp("another"))

    made = {name: secret(deploy, name) for name in PASSWORDS}

    assert f":{made['postgres_password']}@postgres:5432/" in secret(deploy, "database_url")
    assert f"redis://:{made['valkey_auth'].removeprefix('requirepass ')}@valkey:6379/" in secret(deploy, "redis_url")
    assert Pepper.parse(made["api_key_pepper"])
    assert all(value != secret(another, name) for name, value in made.items())
    assert all(len(value.split()[-1]) >= 32 for value in made.values())


def test_a_second_run_changes_nothing(deploy: Path) -> None:
    files = [path for path in deploy.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}

    said = run_setup(deploy)

    assert {path: path.read_bytes() for path in deploy.rglob("*") if path.is_file()} == before
    assert "made" not in said


def test_nobody_else_on_the_server_can_read_the_secrets_and_the_containers_can(deploy: Path) -> None:
    directory = deploy / "compose" / "secrets"

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o644}


def test_it_says_what_is_left_to_do_until_it_is_done(deploy: Path) -> None:
    before = run_setup(deploy)
    (deploy / ".env").write_text("DOMAIN=api.example.com\n")
    for name in ("openai_api_key", "anthropic_api_key"):
        (deploy / "compose" / "secrets" / name).write_text("sk-something\n")
    alerting = deploy / "compose" / "secrets" / "alertmanager.yml"
    alerting.write_text(alerting.read_text() + '    webhook_configs: [{ url: "https://alerts.example.com" }]\n')

    after = run_setup(deploy)

    assert all(word in before for word in ("DOMAIN", "openai_api_key", "anthropic_api_key", "alertmanager.yml"))
    assert after == ""


def test_the_models_file_is_refused_until_the_providers_keys_are_there(deploy: Path) -> None:
    text = (deploy / "compose" / "models" / "models.toml").read_text()
    names = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")
    files = {f"{name}_FILE": str(deploy / "compose" / "secrets" / name.lower()) for name in names}

    with pytest.raises(ModelsFileError, match="OPENAI_API_KEY is not set") as caught:
        ModelsFile.parse(text, files)

    assert "ANTHROPIC_API_KEY is not set" in str(caught.value)


def test_valkey_keeps_everything_evicts_nothing_and_wants_its_password(deploy: Path, tmp_path: Path) -> None:
    port = free_port()
    [_, configuration, *options] = compose({"DOMAIN": "x"})["services"]["valkey"]["command"]
    places = {
        "/etc/valkey/valkey.conf": deploy / "compose" / "valkey.conf",
        "/run/secrets/valkey_auth": deploy / "compose" / "secrets" / "valkey_auth",
        "/data": tmp_path,
    }
    command = [str(find_valkey()), *(str(places.get(word, word)) for word in (configuration, *options))]

    process = subprocess.Popen([*command, "--port", str(port), "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL)
    try:
        password = secret(deploy, "valkey_auth").removeprefix("requirepass ")
        with redis.Redis(port=port, password=password, decode_responses=True) as client:
            eventually(client.ping, "an answer of Valkey", not_yet=redis.ConnectionError)
            found = client.config_get("*")
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    finally:
        process.terminate()
        process.wait(10)

    assert (found["appendonly"], found["appendfsync"], found["maxmemory-policy"]) == ("yes", "everysec", "noeviction")
    assert 0 < int(found["maxmemory"]) <= _bytes(compose({"DOMAIN": "x"})["services"]["valkey"]) / 2


def _bytes(service: dict[str, dict[str, dict[str, dict[str, str]]]]) -> int:
    amount, unit = re.findall(r"(\d+)([mg])", service["deploy"]["resources"]["limits"]["memory"])[0]
    return int(amount) * {"m": 2**20, "g": 2**30}[unit]
