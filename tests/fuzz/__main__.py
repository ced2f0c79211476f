"""
`make fuzz`: damaged input for each parser, as long as one likes. The tests run the same fuzzers for a moment.

The seed is printed: `--only` and `--seed` find again what was found.
"""

import argparse
import random
import sys

from tests.fuzz import fuzz_request_parser, fuzz_response_parser, fuzz_sse, fuzz_translators, fuzz_usage_event

RUNS = {
    "request_parser": fuzz_request_parser.FUZZER.run,
    "response_parser": fuzz_response_parser.run,
    "sse": fuzz_sse.FUZZER.run,
    "translators": fuzz_translators.FUZZER.run,
    "usage_event": fuzz_usage_event.FUZZER.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.splitlines()[1])
    parser.add_argument("--only", choices=RUNS, action="append", help="may be repeated; all of them without it")
    parser.add_argument("--seconds", type=float, default=120.0, help="for each")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    for name in options.only or RUNS:
        sys.stdout.write(f"{name}, seed {options.seed}: ")
        sys.stdout.flush()
        tried = RUNS[name](seconds=options.seconds, seed=options.seed)
        sys.stdout.write(f"{tried} cases, no contradiction\n")


if __name__ == "__main__":
    main()
