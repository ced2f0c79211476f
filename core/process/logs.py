"""
Logs: one JSON object per line on standard output, secrets replaced before they are written.

    {"time": "2026-11-20T09:00:00.000Z", "level": "warning", "logger": "metering.ingest.stream", "message": "…", …}
"""

import logging
import re
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from core.process.line_output import LineOutput, standard_output

__all__ = ["JsonFormatter", "LogOutput", "configure_logs", "log_level", "redact"]

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

SECRET_NAMES = re.compile(
    r"pass(word)?$|token$|secret$|^authorization$|cookie$|api[-_]?key$|^x-auth-zapmail$|^x-workspace-key$|^captcha$|^pin$"
    r"|^admindetails$|^stripe-signature$|pepper",
    re.IGNORECASE,
)
SECRET_VALUES = re.compile(
    r"pk_(?:live|test)_\w+|sk_(?:live|test)_\w+|rk_(?:live|test)_\w+|whsec_\w+|sk-[\w-]{12,}|KEY[0-9A-F]{16,}|wf_live_\w+"
    r"|ApiKey_\w+|eyJ[\w-]+\.[\w-]+\.[\w-]+|-----BEGIN [A-Z ]+-----[\s\S]*?-----END [A-Z ]+-----"
    r"|(?<=://)[^/@\s:]*:[^/@\s]+(?=@)"
)
SECRET_PARAMETERS = re.compile(
    r"([?&][\w-]*(?:key|pin|token|password|secret)=|\bbearer )[^&\s\"']+",
    re.IGNORECASE,
)
HIDDEN = "[hidden]"

PATIENCE_SECONDS = 0.05

STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def log_level(text: str) -> str:
    """The name of a level, in upper or lower case. Raises ValueError."""
    if text.upper() not in LEVELS:
        raise ValueError(f"must be one of {', '.join(LEVELS)}")
    return text.upper()


def redact(value: Any) -> Any:
    """The value as JSON can hold it, with every secret replaced: by the name of its field, or by the form of the text.

    Whatever is no plain value becomes its text first: an exception or a set may hold a secret as well."""
    if isinstance(value, dict):
        return {_text(name): HIDDEN if SECRET_NAMES.search(str(name)) else redact(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact(item) for item in value]
    if value is None or isinstance(value, (bool, float)) or (type(value) is int and abs(value) < 2**63):
        return value
    return _text(value)


def _text(value: object) -> str:
    """Never fails: a lone surrogate would keep the whole line from being written."""
    text = SECRET_VALUES.sub(HIDDEN, SECRET_PARAMETERS.sub(rf"\1{HIDDEN}", str(value)))
    return text.encode(errors="backslashreplace").decode()


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        extra = {name: value for name, value in vars(record).items() if name not in STANDARD_FIELDS}
        line = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _text(record.getMessage()),
            **redact(extra),
        }
        if record.exc_info:
            line["traceback"] = _text("".join(traceback.format_exception(*record.exc_info)))
        return orjson.dumps(line).decode()


class LogOutput(logging.Handler):
    """Lines that can't be written are counted; the first one that can is preceded by one that says how many."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.on_lost: Callable[[int], None] = lambda count: None
        """Told each time: a process's metrics."""
        self._output = LineOutput(descriptor)
        self._lost = 0
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        lines = [self.format(record)]
        if self._lost:
            extra = {"lines": self._lost}
            notice = logging.makeLogRecord(
                {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", **extra}
            )
            notice.msg = "log lines were lost"
            lines.insert(0, self.format(notice))
        # A reader that is only late gets its time once; a loop that logs must not wait for one that has stopped.
        patience = 0.0 if self._lost else PATIENCE_SECONDS
        if self._output.write([("\n".join(lines) + "\n").encode()], patience_seconds=patience):
            self._lost += 1
            self.on_lost(1)
        else:
            self._lost = 0


def configure_logs(level: str = "INFO", descriptor: int | None = None) -> LogOutput:
    """Send every logger of the process through the JSON formatter. Called once, by a process's `__main__`."""
    handler = LogOutput(standard_output() if descriptor is None else descriptor)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)  # Their debug output holds headers.
    return handler
