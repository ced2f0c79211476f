"""The `poindexter` command in this process, pointed at a test's own servers."""

import contextlib
import json
import tempfile
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from deploy.cli import main

__all__ = ["PEPPER", "Answer", "CommandLine"]

PEPPER = "1:" + "5a" * 32


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What `--json` printed: exactly one document."""
        return json.loads(self.out)


class CommandLine:
    def __init__(self, **environment: str) -> None:
        self.environment = environment

    @classmethod
    def of(cls, database_url: str, redis_url: str) -> "CommandLine":
        return cls(DATABASE_URL=database_url, REDIS_URL=redis_url, API_KEY_PEPPER=PEPPER)

    def run(self, *arguments: str) -> Answer:
        """Where no installation is. An exception that reaches the person is a bug: it is raised here."""
        with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
            result = CliRunner().invoke(main, arguments, env=self.environment)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    def ok(self, *arguments: str) -> Answer:
        answer = self.run(*arguments)
        assert answer.status == 0, answer
        return answer

    def json(self, *arguments: str) -> Any:
        return self.ok(*arguments, "--json").document
