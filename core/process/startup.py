"""What every process says when it can't start, and about variables that set nothing."""

import logging
import sys
from collections.abc import Iterable, Mapping

from core.process.exit_codes import WRONG_SETTINGS
from core.process.settings import unknown_names

__all__ = ["refuse", "warn_of_unknown_names"]

log = logging.getLogger(__name__)


def refuse(process: str, problems: Iterable[str]) -> int:
    """Write on standard error why `process` ("The gateway") can't start, a line for each problem. Returns the code to
    end with."""
    sys.stderr.write(f"{process} can't start:\n" + "".join(f"  {problem}\n" for problem in problems))
    return WRONG_SETTINGS


def warn_of_unknown_names(settings: type, environment: Mapping[str, str], prefix: str) -> None:
    """One line in the log for each variable that begins with `prefix` and sets nothing."""
    for name, closest in unknown_names(settings, environment, prefix).items():
        log.warning("a variable sets nothing", extra={"variable": name, "closest": closest})
