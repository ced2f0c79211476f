"""S17, B14: a wrong setting ends the start with one line about it and status 78, which no supervisor tries again."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from core.postgres.connections import open_pool
from core.postgres.installation import agree_on_shards
from core.process.settings import Secret
from tests.harness.ports import free_port

SECRET = "SecretPart"  # Made up: it must not be repeated.
REFUSED = [
    ({"POINDEXTER_FAILPOINT": "after_admission:soon"}, "after the colon stands a number, from 1"),
    ({"POINDEXTER_FAILPOINT": "after_admission:0"}, "after the colon stands a number, from 1"),
    ({"LOG_LEVEL": "loud"}, "LOG_LEVEL is not valid: must be one of DEBUG"),
    ({"DATABASE_URL": "foo"}, "DATABASE_URL is not valid: must begin with postgresql://"),
    (
        {"DATABASE_URL": f"postgresql://u:{SECRET}/x@h/db"},
        "DATABASE_URL is not valid: the user or the password holds a /",
    ),
    ({"DATABASE_URL": f"postgresql://u:{SECRET}@h:abc/db"}, "DATABASE_URL is not valid: the port must be a number"),
    ({"REDIS_URL": "foo"}, "REDIS_URL is not valid"),
    ({"REDIS_URL": "http://localhost:6379"}, "REDIS_URL is not valid"),
    ({"REDIS_URL": f"redis://:{SECRET}@h:99999"}, "REDIS_URL is not valid"),
    ({"REDIS_URL": f"redis://:{SECRET}@h:abc"}, "REDIS_URL is not valid"),
    ({"REDIS_URL": f"redis://:{SECRET}/rest@h:6379"}, "REDIS_URL is not valid"),
    ({"REDIS_URL": f"redis://:{SECRET}@a..b"}, "REDIS_URL is not valid: no host is called so"),
    ({"DATABASE_URL": f"postgresql://u:{SECRET}@a..b/db"}, "DATABASE_URL is not valid: no host is called so"),
]
GATEWAY_ONLY = [
    ({"GATEWAY_OFFLINE_EXPOSURE_USD": "abc"}, "GATEWAY_OFFLINE_EXPOSURE_USD is not valid"),
    ({"GATEWAY_OFFLINE_EXPOSURE_USD": "-1"}, "GATEWAY_OFFLINE_EXPOSURE_USD is not valid"),
    ({"GATEWAY_ON_DISCONNECT": "wait"}, "GATEWAY_ON_DISCONNECT is not valid"),
    ({"API_KEY_PEPPER": "1:abc"}, "API_KEY_PEPPER is not valid"),
    ({"API_KEY_PEPPER": "99999999999:" + "0" * 64}, "API_KEY_PEPPER is not valid"),
    ({"GATEWAY_HOST": "a..b"}, "GATEWAY_HOST is not valid: no host is called so"),
    ({"GATEWAY_ADMIN_HOST": "ü..b"}, "GATEWAY_ADMIN_HOST is not valid: no host is called so"),
    ({"GATEWAY_CORS_ORIGINS": "https://*.example.com"}, "GATEWAY_CORS_ORIGINS is not valid: each origin must be"),
]
METERING_ONLY = [
    ({"METERING_SHARDS": "0-99999999999"}, "METERING_SHARDS=0-99999999999: the shards are 0 to 15"),
    ({"METERING_ADMIN_HOST": "a..b"}, "METERING_ADMIN_HOST is not valid: no host is called so"),
    ({"METERING_PAST_DAYS": "999999999"}, "METERING_PAST_DAYS is not valid: must be at most 36500"),
    ({"METERING_FUTURE_DAYS": "999999999"}, "METERING_FUTURE_DAYS is not valid: must be at most 36500"),
    ({"METERING_CLAIM_IDLE_SECONDS": "1e308"}, "METERING_CLAIM_IDLE_SECONDS is not valid: must be at most 86400"),
]


def ended(module: str, directory: Path, changes: Mapping[str, str]) -> tuple[int, str]:
    """Exit status and everything that was printed."""
    environment = {
        "PATH": os.environ["PATH"],  # noqa: TID251
        "DATABASE_URL": "postgresql://127.0.0.1:1/nowhere",
        "REDIS_URL": "redis://127.0.0.1:1",
        "API_KEY_PEPPER": "1:" + "0" * 64,
        "GATEWAY_MODELS_FILE": str(directory / "models.toml"),
        "GATEWAY_SPOOL_DIRECTORY": str(directory / "spool"),
        "GATEWAY_PORT": str(free_port()),
        "GATEWAY_ADMIN_PORT": str(free_port()),
        "METERING_ADMIN_PORT": str(free_port()),
        **changes,
    }
    result = subprocess.run(  # Our own module.
        [sys.executable, "-m", module], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize("module", ["gateway", "metering"])
@pytest.mark.parametrize(("changes", "problem"), REFUSED)
def test_a_wrong_setting_is_refused_at_start_and_repeats_no_secret(
    module: str, changes: dict[str, str], problem: str, tmp_path: Path
) -> None:
    status, printed = ended(module, tmp_path, changes)

    assert status == os.EX_CONFIG
    assert problem in printed
    assert "Traceback" not in printed
    assert SECRET not in printed


@pytest.mark.parametrize(
    ("module", "changes", "problem"),
    [*(("gateway", *case) for case in GATEWAY_ONLY), *(("metering", *case) for case in METERING_ONLY)],
)
def test_a_wrong_setting_of_one_process_is_refused_at_its_start(
    module: str, changes: dict[str, str], problem: str, tmp_path: Path
) -> None:
    status, printed = ended(module, tmp_path, changes)

    assert status == os.EX_CONFIG
    assert problem in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("module", ["gateway", "metering"])
def test_a_process_with_another_number_of_shards_is_refused(module: str, database_url: str, tmp_path: Path) -> None:
    """S9: it would keep caps of its own and write usage where nobody reads."""
    (tmp_path / "models.toml").write_bytes(Path("deploy/models.toml").read_bytes())
    asyncio.run(_agreed_on(database_url, 16))
    keys = {"ANTHROPIC_API_KEY": "x", "OPENAI_API_KEY": "x"}

    status, printed = ended(module, tmp_path, {**keys, "DATABASE_URL": database_url, "REDIS_SHARDS": "64"})

    assert status == os.EX_CONFIG
    assert "REDIS_SHARDS is 64, but this installation was created with 16: set REDIS_SHARDS=16" in printed
    assert "Traceback" not in printed


async def _agreed_on(database_url: str, shard_count: int) -> None:
    pool = await open_pool(Secret(database_url), max_connections=1, application="test")
    await agree_on_shards(pool, shard_count)
    await pool.close()


def test_a_pipe_as_models_file_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "models.toml")

    status, printed = ended("gateway", tmp_path, {})

    assert status == os.EX_CONFIG
    assert "it is not a regular file" in printed


@pytest.mark.parametrize("workers", ["1", "3"])
def test_several_workers_do_not_try_wrong_settings_again(workers: str, tmp_path: Path) -> None:
    status, printed = ended("gateway", tmp_path, {"GATEWAY_WORKERS": workers, "GATEWAY_MODELS_FILE": "/no/such/file"})

    assert status != 0
    assert printed.count("/no/such/file") <= int(workers)
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("changes", "problem"),
    [case for case in REFUSED if "DATABASE_URL" in case[0]],
)
def test_the_migration_refuses_a_wrong_address_without_repeating_it(
    changes: dict[str, str], problem: str, tmp_path: Path
) -> None:
    command = Path(sys.executable).with_name("poindexter")
    result = subprocess.run(  # Our own command.
        [command, "migrate"],
        env={"PATH": os.environ["PATH"], **changes},  # noqa: TID251
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=tmp_path,
    )

    assert result.returncode == os.EX_CONFIG
    assert problem in result.stderr
    assert "Traceback" not in result.stderr
    assert SECRET not in result.stderr
