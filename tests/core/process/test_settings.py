from dataclasses import dataclass, field
from pathlib import Path

import pytest

from core.process.logs import log_level
from core.process.settings import Secret, SettingsError, load, setting, unknown_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    database_url: Secret
    batch_size: int = setting(1000, minimum=1, maximum=10_000)
    idle_seconds: float = setting(2.5, minimum=0.1)
    verbose: bool = False
    directory: Path = Path("/var")
    label: str | None = None
    tags: list[str] = field(default_factory=list)


def problems(environment: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(Example, environment)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_what_is_not_set_has_its_default() -> None:
    settings = load(Example, {"DATABASE_URL": "postgresql://x"})

    assert settings == Example(database_url=Secret("postgresql://x"))


def test_every_type_is_read_from_its_text() -> None:
    settings = load(
        Example,
        {
            "DATABASE_URL": "postgresql://x",
            "BATCH_SIZE": "7",
            "IDLE_SECONDS": "0.5",
            "VERBOSE": "Yes",
            "DIRECTORY": "/tmp/x",
            "LABEL": "a",
        },
    )

    assert settings == Example(
        database_url=Secret("postgresql://x"),
        batch_size=7,
        idle_seconds=0.5,
        verbose=True,
        directory=Path("/tmp/x"),
        label="a",
    )


def test_every_problem_is_reported_at_once() -> None:
    found = problems({"BATCH_SIZE": "0", "IDLE_SECONDS": "soon", "VERBOSE": "maybe", "DIRECTORY_FILE": "/no/such/file"})

    assert found == [
        "DATABASE_URL is missing",
        "BATCH_SIZE is not valid: must be at least 1",
        "IDLE_SECONDS is not valid: must be a number",
        "VERBOSE is not valid: must be true or false",
        "DIRECTORY is not valid: No such file or directory: /no/such/file",
    ]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("BATCH_SIZE", "1.5", "must be a whole number"),
        ("BATCH_SIZE", "10001", "must be at most 10000"),
        ("BATCH_SIZE", "-3", "must be at least 1"),
        ("IDLE_SECONDS", "0", "must be at least 0.1"),
        ("IDLE_SECONDS", "nan", "must be a number"),
        ("IDLE_SECONDS", "inf", "must be a number"),
        ("VERBOSE", "2", "must be true or false"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_the_bound(name: str, text: str, reason: str) -> None:
    assert problems({"DATABASE_URL": "x", name: text}) == [f"{name} is not valid: {reason}"]


@pytest.mark.parametrize("text", ["true", "TRUE", "1", "yes", "false", "0", "No"])
def test_switches_have_the_usual_words(text: str) -> None:
    settings = load(Example, {"DATABASE_URL": "x", "VERBOSE": text})

    assert settings.verbose is (text.lower() in ("true", "1", "yes"))


def test_an_empty_variable_counts_as_absent() -> None:
    assert load(Example, {"DATABASE_URL": "x", "BATCH_SIZE": "", "LABEL": ""}) == Example(database_url=Secret("x"))
    assert problems({"DATABASE_URL": ""}) == ["DATABASE_URL is missing"]


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("postgresql://from-a-file\n")

    settings = load(Example, {"DATABASE_URL_FILE": str(file)})

    assert settings.database_url.reveal() == "postgresql://from-a-file"


def test_two_sources_for_one_setting_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("x")

    found = problems({"DATABASE_URL": "x", "DATABASE_URL_FILE": str(file)})

    assert found == ["DATABASE_URL is not valid: both DATABASE_URL and DATABASE_URL_FILE are set; keep one"]


def test_a_file_that_holds_no_text_is_a_problem_and_not_a_crash(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"\xff\xfe\x00")

    [problem] = problems({"DATABASE_URL_FILE": str(file)})

    assert problem.startswith("DATABASE_URL is not valid:")


def test_an_empty_file_is_a_missing_setting(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("\n")

    assert problems({"DATABASE_URL_FILE": str(file)}) == ["DATABASE_URL is missing"]


def test_a_secret_shows_nowhere() -> None:
    settings = load(Example, {"DATABASE_URL": "postgresql://canary"})

    assert "canary" not in f"{settings} {settings!r} {settings.database_url} {settings.database_url!r}"
    assert settings.database_url.reveal() == "postgresql://canary"


def test_variables_of_others_are_ignored() -> None:
    assert load(Example, {"DATABASE_URL": "x", "PATH": "/bin", "BATCH": "y"}) == Example(database_url=Secret("x"))


def test_a_parser_of_its_own_reads_a_field_and_its_reason_is_reported() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Parsed:
        level: str = setting("INFO", parse=log_level)

    with pytest.raises(SettingsError) as caught:
        load(Parsed, {"LEVEL": "loud"})

    assert load(Parsed, {"LEVEL": "warning"}) == Parsed(level="WARNING")
    assert caught.value.problems == ["LEVEL is not valid: must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL"]


def test_misspelt_variables_are_named_with_the_closest_setting() -> None:
    """S17: they were ignored in silence."""
    environment = {"BATCH_SIZ": "1", "BATCH_SIZE": "1", "BATCH_SIZE_FILE": "x", "BATCH_ZZZZZZZZZZZZ": "1", "HOME": "/"}

    assert unknown_names(Example, environment, "BATCH_") == {"BATCH_SIZ": "BATCH_SIZE", "BATCH_ZZZZZZZZZZZZ": ""}
