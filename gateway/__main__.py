"""`python -m gateway`: reads the settings, opens the ports, and serves with as many processes as GATEWAY_WORKERS."""

import logging
import os
import signal
import socket
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import uvloop

from core.models.models_file import ModelsFileError
from core.postgres.installation import WrongInstallation
from core.process.listener import CannotListen, open_listener
from core.process.logs import LogOutput, configure_logs
from core.process.settings import SettingsError, unknown_names
from gateway.settings import GatewaySettings

log = logging.getLogger("gateway")

MEMORY = "/dev/shm"  # noqa: S108  # A fresh directory of our own below it.


def main() -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # It waits until there is a models file to read again.
    try:
        settings = GatewaySettings.load(os.environ)
    except SettingsError as error:
        sys.stderr.write("The gateway can't start:\n" + "".join(f"  {problem}\n" for problem in error.problems))
        return os.EX_CONFIG
    output = configure_logs(settings.log_level)
    for name, closest in unknown_names(GatewaySettings, os.environ, "GATEWAY_").items():
        log.warning("a variable sets nothing", extra={"variable": name, "closest": closest})
    if sys.argv[1:2] == ["--worker"]:
        public, admin, parent = (int(argument) for argument in sys.argv[2:5])
        return _serve(settings, output, socket.socket(fileno=public), socket.socket(fileno=admin), parent)
    return _start(settings, output)


def _start(settings: GatewaySettings, output: LogOutput) -> int:
    from gateway.process.workers import Workers

    try:
        public = open_listener(settings.gateway_host, settings.gateway_port, setting="GATEWAY")
        admin = open_listener(settings.gateway_admin_host, settings.gateway_admin_port, setting="GATEWAY_ADMIN")
    except CannotListen as error:
        sys.stderr.write(f"The gateway {error}\n")
        return 1
    if settings.gateway_workers == 1:
        return _serve(settings, output, public, admin, None)
    # The workers map these files: a disk that has no room for one more page of theirs would end them by SIGBUS.
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="poindexter-metrics-", dir=memory) as directory:
        workers = Workers(settings.gateway_workers, (public, admin), os.environ, multiprocess_directory=Path(directory))
        return workers.run()


def _serve(
    settings: GatewaySettings, output: LogOutput, public: socket.socket, admin: socket.socket, parent: int | None
) -> int:
    # After PROMETHEUS_MULTIPROC_DIR is known: prometheus_client reads it on import.
    from gateway.process.worker import serve
    from gateway.records import metrics
    from gateway.spool.spool import SpoolUnusable

    output.on_lost = metrics.LOG_LINES_DROPPED.inc
    try:
        uvloop.run(serve(settings, os.environ, public, admin, parent=parent, version=version("poindexter")))
    except WrongInstallation as error:
        sys.stderr.write(f"The gateway can't run:\n  {error}\n")
        return os.EX_CONFIG
    except SpoolUnusable as error:
        sys.stderr.write(f"The gateway can't write to GATEWAY_SPOOL_DIRECTORY: {error}\n")
        return os.EX_CONFIG
    except ModelsFileError as error:
        sys.stderr.write(f"The models file {settings.gateway_models_file} is refused:\n")
        sys.stderr.write("".join(f"  {problem}\n" for problem in error.problems))
        return os.EX_CONFIG
    except OSError as error:
        if error.filename == str(settings.gateway_models_file):
            sys.stderr.write(f"{error.strerror}: {error.filename}. Set GATEWAY_MODELS_FILE to a models file.\n")
            return os.EX_CONFIG
        sys.stderr.write(f"The gateway can't go on: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
