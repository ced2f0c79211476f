"""`python -m gateway`: reads the settings, opens the ports, and serves with as many processes as GATEWAY_WORKERS."""

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
from core.process.exit_codes import FAILED, OK
from core.process.failpoints import Failpoints
from core.process.listener import CannotListen, open_listener
from core.process.logs import LogOutput, configure_logs
from core.process.settings import SettingsError
from core.process.startup import refuse, warn_of_unknown_names
from gateway.settings import GatewaySettings

NAME = "The gateway"
MEMORY = "/dev/shm"  # noqa: S108  # A fresh directory of our own below it.


def main() -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # It waits until there is a models file to read again.
    try:
        settings = GatewaySettings.load(os.environ)
        failpoints = Failpoints(os.environ.get("POINDEXTER_FAILPOINT", ""))
    except SettingsError as error:
        return refuse(NAME, error.problems)
    except ValueError as error:
        return refuse(NAME, [str(error)])
    output = configure_logs(settings.log_level)
    warn_of_unknown_names(GatewaySettings, os.environ, "GATEWAY_")
    if sys.argv[1:2] == ["--worker"]:
        public, admin, parent = (int(argument) for argument in sys.argv[2:5])
        listeners = socket.socket(fileno=public), socket.socket(fileno=admin)
        return _serve(settings, output, failpoints, listeners, parent)
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # Ours to set: for several workers, each time a new directory.
    return _start(settings, output, failpoints)


def _start(settings: GatewaySettings, output: LogOutput, failpoints: Failpoints) -> int:
    from gateway.process.workers import Workers

    try:
        public = open_listener(settings.gateway_host, settings.gateway_port, setting="GATEWAY")
        admin = open_listener(settings.gateway_admin_host, settings.gateway_admin_port, setting="GATEWAY_ADMIN")
    except CannotListen as error:
        sys.stderr.write(f"The gateway {error}\n")
        return FAILED
    if settings.gateway_workers == 1:
        return _serve(settings, output, failpoints, (public, admin), None)
    # The workers map these files: a disk that has no room for one more page of theirs would end them by SIGBUS.
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="poindexter-metrics-", dir=memory) as directory:
        workers = Workers(settings.gateway_workers, (public, admin), os.environ, multiprocess_directory=Path(directory))
        return workers.run()


def _serve(
    settings: GatewaySettings,
    output: LogOutput,
    failpoints: Failpoints,
    listeners: tuple[socket.socket, socket.socket],
    parent: int | None,
) -> int:
    # After PROMETHEUS_MULTIPROC_DIR is known: prometheus_client reads it on import.
    from gateway.process.worker import serve
    from gateway.records import metrics
    from gateway.spool.spool import SpoolUnusable

    output.on_lost = metrics.LOG_LINES_DROPPED.inc
    try:
        work = serve(
            settings, os.environ, *listeners, failpoints=failpoints, parent=parent, version=version("poindexter")
        )
        uvloop.run(work)
    except WrongInstallation as error:
        return refuse(NAME, [str(error)])
    except SpoolUnusable as error:
        return refuse(NAME, [f"GATEWAY_SPOOL_DIRECTORY can't be written to: {error}"])
    except ModelsFileError as error:
        return refuse(NAME, [f"the models file {settings.gateway_models_file} is refused:", *error.problems])
    except OSError as error:
        if error.filename == str(settings.gateway_models_file):
            return refuse(NAME, [f"{error.strerror}: {error.filename}. Set GATEWAY_MODELS_FILE to a models file."])
        sys.stderr.write(f"The gateway can't go on: {error}\n")
        return FAILED
    return OK


if __name__ == "__main__":
    sys.exit(main())
