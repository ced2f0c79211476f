import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.errors import StateError
from deploy.local.state import StateDirectory

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only for root Postgres runs as another user")


@pytest.fixture
def state(server_directory: Path) -> Iterator[StateDirectory]:
    state = StateDirectory(server_directory / "state")
    state.open()
    yield state
    state.close()


@pytest.fixture
def state_in_a_closed_place(server_directory: Path) -> Iterator[StateDirectory]:
    (server_directory / "home").mkdir(mode=0o700)
    state = StateDirectory(server_directory / "home" / "state", roots_server_data=server_directory / "lib")
    state.open()
    yield state
    state.close()


def test_it_can_be_open_once(state: StateDirectory) -> None:
    with pytest.raises(StateError, match=f"running here already \\(process {os.getpid()}\\)"):
        StateDirectory(state.path).open()

    state.close()
    successor = StateDirectory(state.path)
    successor.open()
    successor.close()


def test_the_pepper_is_made_once_and_is_private(state: StateDirectory) -> None:
    pepper = state.pepper()

    assert state.pepper() == pepper
    assert pepper.startswith("1:")
    assert len(bytes.fromhex(pepper.partition(":")[2])) == 32
    assert (state.path / "pepper").stat().st_mode & 0o777 == 0o600


def test_ports_are_remembered_and_a_damaged_file_is_forgotten(state: StateDirectory) -> None:
    state.remember_ports({"gateway": 8081})

    remembered = state.remembered_ports()
    (state.path / "ports.json").write_text("{")

    assert remembered == {"gateway": 8081}
    assert state.remembered_ports() == {}


def test_a_place_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StateError, match=r"cannot be written: Not a directory.*--state-directory"):
        StateDirectory(tmp_path / "file" / "state").open()


def test_a_lost_pepper_is_not_replaced_in_silence(state: StateDirectory) -> None:
    """S23: a new one was made, and every existing key stopped working."""
    state.pepper()
    state.demo_environment.write_text("OPENAI_API_KEY=pk_live_x\n")
    (state.path / "pepper").unlink()

    with pytest.raises(StateError, match="Every API key of this installation was made with it"):
        state.pepper()

    state.demo_environment.unlink()
    assert state.pepper().startswith("1:")


@pytest.mark.parametrize("content", [b"OPENAI_API_KEY=\xff\xfe\n", b"OPENAI_API_KEY='unfinished\n"])
def test_a_damaged_file_for_clients_is_named(state: StateDirectory, content: bytes) -> None:
    """S23: it was a traceback."""
    state.demo_environment.write_bytes(content)

    with pytest.raises(StateError, match=r"demo.env is damaged .*Remove it"):
        state.demo_settings()


def test_before_the_first_start_there_is_nothing_to_tell_clients(state: StateDirectory) -> None:
    assert state.demo_settings() == {}


def test_postgres_keeps_its_data_inside_when_it_may(state: StateDirectory) -> None:
    assert state.postgres_data == state.path / "postgres"


@needs_root
def test_in_a_closed_place_root_keeps_postgres_elsewhere(
    state_in_a_closed_place: StateDirectory, server_directory: Path
) -> None:
    state = state_in_a_closed_place

    data = state.postgres_data
    data.mkdir()

    assert data.is_relative_to(server_directory / "lib")
    assert state.postgres_data == data
    assert (state.path / "postgres").resolve() == data


@needs_root
def test_removing_it_removes_what_is_elsewhere_too(
    state_in_a_closed_place: StateDirectory, server_directory: Path
) -> None:
    state_in_a_closed_place.postgres_data.mkdir()
    state_in_a_closed_place.close()

    state_in_a_closed_place.remove()

    assert not state_in_a_closed_place.path.exists()
    assert list((server_directory / "lib").iterdir()) == []
