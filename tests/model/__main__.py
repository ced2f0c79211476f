"""
`make model`: explore the settlement protocol exhaustively. Ends with 1 and a counterexample if there is one.

`python -m tests.model --without GUARD`: the same without one of the guards of `protocol.py`: what is it good for?
"""

import argparse
import sys
import time
from dataclasses import fields, replace

from tests.model.explorer import explore
from tests.model.protocol import Protocol
from tests.model.scopes import FULL, SHORT
from tests.model.trace import lines


def main() -> int:
    arguments = _arguments()
    protocol = Protocol().without(*arguments.without)
    for name, scope in (SHORT if arguments.short else FULL).items():
        started = time.monotonic()
        _say(f"{name}:")
        result = explore(replace(scope, protocol=protocol), lambda line: _say(f"  {line}"))
        seconds = time.monotonic() - started
        _say(f"  {result.states:,} states, {result.transitions:,} transitions, {seconds:.0f} s")
        if result.counterexample is not None:
            _say("\n".join(lines(result.counterexample)))
            return 1
    _say("No order of steps and faults breaks a promise.")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make model", description="Explore the settlement protocol.")
    parser.add_argument("--short", action="store_true", help="what every test run explores")
    guards = [guard.name for guard in fields(Protocol)]
    parser.add_argument(
        "--without", action="append", default=[], choices=guards, metavar="GUARD", help=", ".join(guards)
    )
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
