import subprocess
from pathlib import Path

import pytest

from deploy.local.env_file import as_env_file, read_env_file

VARIABLES = {
    "DATABASE_URL": "postgresql://user:pass@127.0.0.1:5432/db?sslmode=disable&x=1",
    "REDIS_URL": "redis://:it's@127.0.0.1/0",
    "EMPTY": "",
}


def test_an_env_file_reads_back_what_was_written() -> None:
    assert read_env_file(as_env_file(VARIABLES)) == VARIABLES


@pytest.mark.parametrize("name", VARIABLES)
def test_a_shell_reads_the_same_values(tmp_path: Path, name: str) -> None:
    file = tmp_path / "demo.env"
    file.write_text(as_env_file(VARIABLES))

    shown = subprocess.run(
        ["/bin/sh", "-c", f'. {file}; printf %s "${name}"'], capture_output=True, text=True, check=True
    )

    assert shown.stdout == VARIABLES[name]
