"""
`make image-check`: what the image will hold, built here from the locks (it needs the package index), and run.

The steps are the Dockerfile's: an environment from requirements.lock alone, a wheel from nothing but the copied paths.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.deploy.image import PACKAGES, ROOT, copied
from tests.harness.ports import free_port
from tests.harness.waiting import eventually

EX_CONFIG = 78
IMPORT_EVERYTHING = f"""
import importlib, pkgutil
for package in {PACKAGES!r}:
    found = importlib.import_module(package)
    for module in pkgutil.walk_packages(found.__path__, package + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
from core.redis.lua_scripts import load_script
from core.postgres.migrations import migrations
assert load_script("settle").text and migrations()
"""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of the environment's programs."""
    directory = tmp_path_factory.mktemp("image")
    source, environment = directory / "source", directory / "environment"
    source.mkdir()
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif "/" not in name:
            shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "venv", environment)
    pip = environment / "bin" / "pip"
    run(pip, "install", "-q", "--require-hashes", "--only-binary", ":all:", "-r", source / "requirements.lock")
    wheels = directory / "wheels"
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", wheels, source)
    run(pip, "install", "-q", "--no-deps", "--no-index", *wheels.glob("*.whl"))
    yield environment / "bin"
    shutil.rmtree(directory)


def run(*command: object, status: int = 0, **settings: str) -> str:
    """What it says, on either channel."""
    here = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | settings  # noqa: TID251  Only to find programs.
    inherited = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}  # noqa: TID251
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, env=inherited | here, cwd="/"
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments", ["--help", "--version", "up --help", "accounts create --help", "simulators --help", "migrate --help"]
)
def test_the_command_works_with_the_locked_libraries_alone(programs: Path, arguments: str) -> None:
    assert run(programs / "poindexter", *arguments.split())


@pytest.mark.parametrize(
    ("command", "status", "missing"),
    [
        ("gateway", EX_CONFIG, ("DATABASE_URL", "REDIS_URL", "API_KEY_PEPPER", "GATEWAY_MODELS_FILE")),
        ("metering", 1, ("DATABASE_URL", "REDIS_URL")),
        ("migrate", EX_CONFIG, ("DATABASE_URL",)),
    ],
)
def test_a_process_gets_as_far_as_its_settings(
    programs: Path, command: str, status: int, missing: tuple[str, ...]
) -> None:
    said = run(programs / "poindexter", command, status=status)

    assert [name for name in missing if f"{name} is missing" not in said] == []


def test_every_module_can_be_imported_and_finds_its_files(programs: Path) -> None:
    run(programs / "python", "-c", IMPORT_EVERYTHING)


def test_the_models_file_that_comes_along_is_valid(programs: Path) -> None:
    said = run(programs / "poindexter", "models", "check", OPENAI_API_KEY="sk-a", ANTHROPIC_API_KEY="sk-b")

    assert "claude-sonnet-4-5" in said


def test_the_processes_of_the_image_serve_a_request_and_book_it(
    programs: Path, tmp_path: Path, empty_database_url: str, redis_url: str
) -> None:
    simulators, gateway_port, gateway_admin, metering_admin = (free_port() for _ in range(4))
    secrets = _secrets(tmp_path, DATABASE_URL=empty_database_url, REDIS_URL=redis_url, API_KEY_PEPPER="1:" + "5a" * 32)
    settings = secrets | {
        "OPENAI_API_KEY": "sk-simulated",
        "ANTHROPIC_API_KEY": "sk-simulated",
        "OPENAI_UPSTREAM_URL": f"http://127.0.0.1:{simulators}/openai",
        "GATEWAY_MODELS_FILE": str(ROOT / "deploy" / "models.toml"),
        "GATEWAY_SPOOL_DIRECTORY": str(tmp_path / "spool"),
        "GATEWAY_PORT": str(gateway_port),
        "GATEWAY_ADMIN_PORT": str(gateway_admin),
        "METERING_ADMIN_PORT": str(metering_admin),
    }
    program = programs / "poindexter"

    def command(*words: object) -> str:
        return run(program, *words, status=0, **secrets)

    command("migrate")
    account = json.loads(command("accounts", "create", "ACME", "--json"))["account_id"]
    key = json.loads(command("keys", "create", account, "--json"))["key"]
    with (
        process(program, "simulators", "--port", simulators),
        process(program, "metering", **settings),
        process(program, "gateway", **settings) as gateway,
    ):
        eventually(partial(_ready, gateway_admin), "a gateway that is ready", not_yet=httpx.TransportError)
        eventually(partial(_ready, metering_admin), "metering that is ready", not_yet=httpx.TransportError)
        answer = httpx.post(
            f"http://127.0.0.1:{gateway_port}/v1/chat/completions",
            headers={"authorization": f"Bearer {key}"},
            json={"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]},
        )
        assert answer.status_code == 200
        eventually(lambda: json.loads(command("usage", account, "--json")), "usage in the ledger")
        gateway.terminate()
        assert gateway.wait(15) == 0
    command("reconcile")  # Exits with 1 when anything differs.


def _secrets(directory: Path, **values: str) -> dict[str, str]:
    """As Compose hands them over: NAME_FILE, and the file."""
    for name, value in values.items():
        (directory / name).write_text(value + "\n")
    return {f"{name}_FILE": str(directory / name) for name in values}


def _ready(port: int) -> bool:
    return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200


@contextmanager
def process(*command: object, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, **settings}  # noqa: TID251  The mark of this test run.
    started = subprocess.Popen([str(word) for word in command], env=environment, cwd="/", stdout=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(15)
