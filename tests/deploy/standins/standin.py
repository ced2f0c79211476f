"""
A process that behaves towards the launcher as one of ours does: ready over HTTP, ends on SIGTERM, keeps a journal.

Takes the place of the real module because PYTHONPATH names this directory. What it does beside that
is in the variable STANDIN_<NAME>: `die` (at once), `linger` (ignores SIGTERM),
`give-up-later` (its second life finds that its settings are wrong), `also <port>` (takes another one's port first).
"""

import os
import signal
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def main(environment: Mapping[str, str], name: str, *port_variables: str) -> None:
    conduct = environment.get(f"STANDIN_{name.upper()}", "")
    journal = Path(environment["STANDIN_JOURNAL"])
    note(journal, f"{name} started")
    if conduct == "give-up-later" and journal.read_text().count(f"{name} started") > 1:
        sys.exit(78)
    if conduct == "die":
        sys.exit(f"{name} has no upstream to talk to")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if conduct == "linger" else lambda *_: stop.set())
    others = [int(conduct.removeprefix("also "))] if conduct.startswith("also ") else []
    for port in [*others, *(int(environment[variable]) for variable in port_variables)]:
        server = ThreadingHTTPServer(("127.0.0.1", port), Answers)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    while not stop.wait(0.1):
        pass
    note(journal, f"{name} stopped")


def note(journal: Path, event: str) -> None:
    with journal.open("a") as opened:
        opened.write(f"{event} {os.getpid()}\n")


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass
