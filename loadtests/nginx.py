"""nginx as the plainest reverse proxy in front of the mock: the yardstick that every machine has its own of."""

import os
import shutil
import subprocess
import time
from pathlib import Path

from deploy.local.servers.ports import free_port, is_taken
from loadtests.process_usage import processes_below

__all__ = ["Nginx", "NginxMissing"]

START_SECONDS = 5.0
CONFIGURATION = """
daemon off;
{user}
worker_processes {workers};
worker_rlimit_nofile {files};
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections {files}; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream mock {{
        server 127.0.0.1:{upstream};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    server {{
        listen 127.0.0.1:{buffered} backlog=4096;
        location / {{ proxy_pass http://mock; }}
    }}
    server {{
        listen 127.0.0.1:{unbuffered} backlog=4096;
        location / {{ proxy_pass http://mock; proxy_buffering off; }}
    }}
}}
"""


class NginxMissing(Exception):
    """There is no nginx on this machine; the message says how to get one."""


class Nginx:
    """`port` answers as by default, `unbuffered_port` passes every piece on at once."""

    def __init__(self, directory: Path, upstream: int, *, files: int, workers: int = 1) -> None:
        program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:" + os.defpath)
        if program is None:
            raise NginxMissing("no nginx on this machine (apt install nginx-light)")
        self.port, self.unbuffered_port = free_port(), free_port()
        directory.mkdir()
        configuration = directory / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(
                directory=directory,
                user="user root;" if os.geteuid() == 0 else "",
                workers=workers,
                files=files,
                upstream=upstream,
                buffered=self.port,
                unbuffered=self.unbuffered_port,
            )
        )
        self.version = _version(program)
        with (directory / "output.log").open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603  # A program of the machine, our own configuration.
                [program, "-p", str(directory), "-c", str(configuration)], stdout=output, stderr=output
            )
        self._wait()

    @property
    def pids(self) -> list[int]:
        return processes_below(self._process.pid)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not (is_taken(self.port) and is_taken(self.unbuffered_port)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NginxMissing(f"nginx does not start; see {self._process.args!r}")
            time.sleep(0.02)


def _version(program: str) -> str:
    output = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stderr  # noqa: S603
    return output.rpartition("/")[2].strip()
