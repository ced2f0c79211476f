"""deploy/compose.yaml as Compose reads it: variables filled in, secrets as files, the image's own environment below."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?:(:[-?])([^}]*))?\}")
OWN_IMAGE = "poindexter"
SECRETS = "/run/secrets/"


class MissingVariable(ValueError):
    """Compose would refuse to start."""


def compose_text() -> str:
    return (DEPLOY / "compose.yaml").read_text()


def variables() -> set[str]:
    """What compose.yaml takes from .env."""
    return {name for name, _, _ in VARIABLE.findall(compose_text())}


def read_env(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def compose(settings: Mapping[str, str]) -> dict[str, Any]:
    """The parsed file, its texts filled in. Raises MissingVariable."""
    filled: dict[str, Any] = _filled(yaml.safe_load(compose_text()), settings)
    return filled


def _filled(node: Any, settings: Mapping[str, str]) -> Any:
    def fill(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        value = settings.get(name, "")
        if not value and kind == ":?":
            raise MissingVariable(text)
        return value or text or ""

    if isinstance(node, dict):
        return {name: _filled(value, settings) for name, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, settings) for value in node]
    return VARIABLE.sub(fill, node) if isinstance(node, str) else node


def set_up(directory: Path) -> Path:
    """A copy of what a server has, after `setup.sh`; its deploy directory."""
    deploy = directory / "deploy"
    wanted = ("compose", "prometheus", "grafana", "compose.yaml", ".env.example", "models.toml")
    deploy.mkdir()
    for name in wanted:
        source = DEPLOY / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, deploy / name)
    for made in ("secrets", "models"):
        shutil.rmtree(deploy / "compose" / made, ignore_errors=True)
    run_setup(deploy)
    return deploy


def run_setup(deploy: Path) -> str:
    """What it says."""
    done = subprocess.run(
        ["sh", deploy / "compose" / "setup.sh"], capture_output=True, text=True, check=True, cwd=deploy.parent
    )
    return done.stdout


def image_environment() -> dict[str, str]:
    """The ENV of the final stage of the Dockerfile that concerns our settings."""
    final = (DEPLOY / "Dockerfile").read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    pairs = [pair for line in re.findall(r"^ENV (.+)$", final, flags=re.MULTILINE) for pair in line.split()]
    return {name: value for name, value in (pair.split("=", 1) for pair in pairs) if not name.startswith("P")}


def environment(service: Mapping[str, Any], deploy: Path) -> dict[str, str]:
    """What the process of one of our services finds, secrets at their place under `deploy`."""
    given = {name: str(value) for name, value in service.get("environment", {}).items()}
    files = yaml.safe_load(compose_text())["secrets"]
    for name, value in given.items():
        if value.startswith(SECRETS):
            given[name] = str(deploy / files[value.removeprefix(SECRETS)]["file"])
    return image_environment() | given
