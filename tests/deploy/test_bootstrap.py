import ast
import re
from pathlib import Path

import pytest

from deploy.local import bootstrap

ROOT = bootstrap.ROOT
LOCK_FILES = ["requirements.lock", "requirements-local.lock", "requirements-dev.lock"]


@pytest.mark.parametrize("version", [(3, 6), (3, 10)])
def test_an_old_python_is_told_what_is_needed(version: tuple[int, int]) -> None:
    message = bootstrap.obstacle(version, [])

    assert "Python 3.11 or newer is needed" in message
    assert f"this is {version[0]}.{version[1]}" in message
    assert "make run PYTHON=" in message


def test_a_python_without_venv_is_told_which_package_has_it() -> None:
    message = bootstrap.obstacle((3, 12), ["ensurepip"])

    assert message == "This Python lacks ensurepip. On Debian and Ubuntu: apt install python3.12-venv"


def test_a_complete_python_will_do() -> None:
    assert bootstrap.obstacle((3, 11), []) == ""


def test_a_full_disk_is_noticed_before_anything_is_installed() -> None:
    message = bootstrap.lack_of_space(free=100 * bootstrap.MEGABYTE, needed=400 * bootstrap.MEGABYTE)

    assert "needs about 400 MB" in message
    assert "only 100 MB" in message
    assert bootstrap.lack_of_space(free=400, needed=400) == ""


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "not the one that was locked"),
        ("ERROR: No matching distribution found for uvloop==0.23.0", "check PIP_"),
        ("NewConnectionError: Failed to establish a new connection", "check the network"),
        ("something nobody has seen before", "make clean"),
    ],
)
def test_what_pip_says_becomes_advice(output: str, advice: str) -> None:
    assert advice in bootstrap.hint(output)


def test_the_script_is_readable_for_python_3_6() -> None:
    source = Path(bootstrap.__file__).read_text()

    ast.parse(source, feature_version=(3, 6))

    assert "from __future__" not in source


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("pyproject.toml", *LOCK_FILES):
        (tmp_path / name).write_text(f"{name} of this test\n")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(f"#!/bin/sh\necho {tmp_path}/.venv\n")
    python.chmod(0o755)
    return tmp_path


def record_installation(project: Path, variant: str) -> None:
    bootstrap.stamp(project / ".venv", variant).write_text(bootstrap.fingerprint(project, variant))


@pytest.mark.parametrize(
    ("installed", "wanted", "sufficient"),
    [("local", "local", True), ("dev", "dev", True), ("dev", "local", True), ("local", "dev", False)],
)
def test_the_development_environment_serves_both_wishes(
    project: Path, installed: str, wanted: str, sufficient: bool
) -> None:
    record_installation(project, installed)

    assert bootstrap.is_installed(project, wanted) == sufficient


@pytest.mark.parametrize("changed", ["requirements-local.lock", "pyproject.toml"])
def test_a_changed_lock_file_is_installed_again(project: Path, changed: str) -> None:
    record_installation(project, "local")

    (project / changed).write_text("changed")

    assert not bootstrap.is_installed(project, "local")


def test_an_interrupted_installation_is_begun_again(project: Path) -> None:
    record_installation(project, "local")

    (project / ".venv" / "unfinished").touch()

    assert not bootstrap.is_installed(project, "local")


def test_an_environment_that_was_moved_here_is_made_again(project: Path) -> None:
    record_installation(project, "local")

    (project / ".venv" / "bin" / "python").write_text("#!/bin/sh\necho /somewhere/else/.venv\n")

    assert not bootstrap.is_installed(project, "local")


@pytest.mark.parametrize(("pip_says", "half_installed"), [("Collecting uvloop", False), ("Installing collected", True)])
def test_only_a_failure_while_unpacking_spoils_the_environment(
    tmp_path: Path, pip_says: str, half_installed: bool
) -> None:
    with pytest.raises(bootstrap.CannotInstall, match=pip_says):
        bootstrap.run(["/bin/sh", "-c", f"echo {pip_says} packages; exit 1"], tmp_path / "unfinished")

    assert (tmp_path / "unfinished").exists() == half_installed


@pytest.mark.parametrize("name", LOCK_FILES)
def test_no_lock_file_names_a_host(name: str) -> None:
    assert "://" not in (ROOT / name).read_text()


def test_the_larger_lock_files_contain_the_smaller_ones() -> None:
    """Otherwise the order of `make run` and `make test` would decide which version is installed."""
    production, local, development = (
        set(re.findall(r"^\S+==\S+", (ROOT / name).read_text(), re.M)) for name in LOCK_FILES
    )

    assert production < local < development
