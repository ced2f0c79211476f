"""Every command that a document names is run here, or as much of it as a test machine can."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.deploy.launched import launched_for_real
from tests.docs.documents import ROOT, Command, commands, fenced

READY = "Ctrl-C stops everything"
README = ROOT / "README.md"
SECONDS = 60

STANDS_FOR = {
    "/etc/poindexter/models/models.toml": str(ROOT / "deploy" / "models.toml"),
    "models.toml": str(ROOT / "deploy" / "models.toml"),
    "ID": "1",
    "FILE": "served.json",
    "TEXT": "text",
    "N": "1",
}
PROCESSES = ("gateway", "metering", "simulators", "up")
"""They run until they are stopped, and have tests of their own."""
GROUPS = (["accounts"], ["keys"], ["dead-letters"], ["counters"])
"""Named as a whole: their help names their commands."""
SHORT = {"bench": ["--seconds", "0.1", "--rounds", "1"]}
"""Makes a long target short: run for real, for a moment."""
PARSED = {"soak": "loadtests.soak", "chaos": "tests.system.chaos", "bench-peers": "loadtests.bench_peers"}
"""Too long for here: their options are read by the module that would run."""
OUTSIDE = {"git", "sh", "curl", "docker"}
"""Need a server, a container engine or a network; `curl` of README is run with its whole block."""

NAMED = commands()


def of(*programs: str) -> list[Command]:
    return [command for command in NAMED if command.words[0] in programs]


@pytest.fixture(scope="module")
def place(_session_directory: Path) -> Iterator[Path]:
    """Where a reader stands after `make run`: the installation and `.venv` are there."""
    directory = _session_directory / "reader"
    directory.mkdir()
    (directory / ".venv").symlink_to(sys.prefix)
    (directory / "served.json").touch()
    with launched_for_real(directory, ".poindexter") as run:
        run.wait_for(READY)
        yield directory


def shell(text: str, place: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # noqa: TID251
    return subprocess.run(  # The documents' own commands.
        ["/bin/sh", "-eu", "-c", text],
        cwd=place,
        env={"PATH": path, "HOME": str(place)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize("block", [text for text in fenced(README, "sh") if "make " not in text])
def test_the_blocks_of_the_readme_do_what_they_show(block: str, place: Path) -> None:
    if "curl" in block and not shutil.which("curl"):
        pytest.skip("curl is not installed")

    result = shell(block, place)

    assert result.returncode == 0, result.stderr
    assert '"error"' not in result.stdout


def test_the_python_of_the_readme_prints_an_answer(place: Path) -> None:
    (text,) = fenced(README, "python")
    settings = dict(
        re.findall(r"^(\w+)='?([^'\n]*)'?$", (place / ".poindexter" / "demo.env").read_text(), re.MULTILINE)
    )
    text = re.sub(r'base_url="[^"]*"', f'base_url="{settings["OPENAI_BASE_URL"]}"', text)
    text = re.sub(r'api_key="[^"]*"', f'api_key="{settings["OPENAI_API_KEY"]}"', text)

    result = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=SECONDS, check=False)

    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


@pytest.mark.parametrize("command", of("poindexter"), ids=str)
def test_a_poindexter_command_exists_with_these_options(command: Command, place: Path) -> None:
    words = [STANDS_FOR.get(word, word) for word in command.words]
    option = words.pop() if words[-1].startswith("--") and len(words) > 3 else ""
    if option or words[1] in PROCESSES or words[1:] in GROUPS:
        words.append("--help")

    result = shell(f". .poindexter/demo.env; export DATABASE_URL; {shlex.join(words)}", place)

    assert result.returncode in (0, 1), result.stderr  # 1: refused with a reason, as for an id that is not there.
    assert "Traceback" not in result.stderr
    assert result.stdout or result.stderr
    assert option in result.stdout


@pytest.mark.parametrize("command", of("make", ".ci/run"), ids=str)
def test_a_make_target_exists_and_takes_these_arguments(command: Command) -> None:
    _, target, *assignments = shlex.split(command.text)
    arguments = shlex.split(assignments[0].removeprefix("ARGS=")) if assignments else []

    assert re.search(rf"^{re.escape(target)}:.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    if target in PARSED and arguments:
        _run(["-c", f"import sys; sys.argv[1:] = {arguments!r}; import {PARSED[target]} as it; it._options()"])
    elif target in SHORT and arguments:
        printed = _run(["-m", f"loadtests.{target}", *arguments, *SHORT[target]])
        assert "requests" in printed or "CPU" in printed


def _run(arguments: list[str]) -> str:
    result = subprocess.run(  # Our own modules.
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("command", [item for item in of("docker") if item.words[1] == "compose"], ids=str)
def test_a_compose_command_names_services_that_exist(command: Command) -> None:
    services = set(yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"])
    likely = re.compile(r"^(gateway|metering|postgres|valkey|prometheus|alertmanager|grafana|caddy|migrate)(-\d+)?$")
    named = {word for word in command.text.split("|")[0].replace("'", " ").split()[2:] if likely.match(word)}

    assert named <= services


@pytest.mark.parametrize("command", of("openssl"), ids=str)
def test_a_command_of_another_program_runs(command: Command, place: Path) -> None:
    if not shutil.which(command.words[0]):
        pytest.skip(f"{command.words[0]} is not installed")

    assert shell(command.text, place).returncode == 0


def test_every_command_is_of_a_program_that_is_looked_at_here() -> None:
    looked_at = {"poindexter", "make", ".ci/run", "openssl", "python"} | OUTSIDE

    assert {command.words[0] for command in NAMED} <= looked_at
    assert len(of("poindexter")) > 10
    assert len(of("make")) > 10


@pytest.mark.parametrize("command", of("python"), ids=str)
def test_a_module_named_to_be_run_exists(command: Command) -> None:
    _, flag, module, *_ = command.words

    assert flag == "-m"
    _run(["-c", f"import importlib.util as found, sys; sys.exit(found.find_spec({module + '.__main__'!r}) is None)"])
