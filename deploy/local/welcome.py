"""What a person sees: progress while the system starts, and how to use it once it runs."""

import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from deploy.local.services.processes import UPSTREAMS, Installation

MODEL = "gpt-4o-mini"


def say(text: str) -> None:
    """A terminal that was closed must not keep us from stopping what we started."""
    with suppress(OSError, ValueError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


@contextmanager
def step(name: str, detail: str = "") -> Iterator[None]:
    """One line: what is being done, then how long it took."""
    with suppress(OSError, ValueError):
        sys.stdout.write(f"  {name:<12} {detail:<38} ")
        sys.stdout.flush()
    started = time.monotonic()
    try:
        yield
    except BaseException:
        say("")
        raise
    say(f"ready in {time.monotonic() - started:.1f} s")


def demo_environment(installation: Installation, key: str) -> dict[str, str]:
    """The contents of `demo.env`; the names are those the official clients read."""
    return {
        "OPENAI_BASE_URL": f"{installation.base_url}/v1",
        **({"OPENAI_API_KEY": key} if key else {}),
        "GATEWAY_METRICS_URL": installation.metrics_url,
        "DATABASE_URL": installation.database_url,
        "REDIS_URL": installation.redis_url,
    }


def welcome(installation: Installation, environment: Mapping[str, str], demo_file: str, logs: str, key: str) -> str:
    real = [upstream.name for upstream in UPSTREAMS if upstream.is_real(environment)]
    simulated = [upstream for upstream in UPSTREAMS if not upstream.is_real(environment)]
    lines = ["", "Poindexter is running.", "", f"  Base URL   {installation.base_url}/v1"]
    lines += [f"  API key    {key}"] if key else ["  API key    make one: .venv/bin/poindexter accounts create --help"]
    lines += [f"  Upstreams  {name}: the real one" for name in real]
    lines += [f"  Upstreams  {one.name}: simulated; for the real one set {one.key_variable}" for one in simulated]
    lines += [f"  Metrics    {installation.metrics_url}", f"  Logs       {logs}"]
    if key:
        lines += [f"  For a shell: set -a; . {shlex.quote(demo_file)}; set +a", *_examples(installation, key)]
    return "\n".join([*lines, "", "Ctrl-C stops everything; the data is kept for the next start.", ""])


def _examples(installation: Installation, key: str) -> list[str]:
    return f"""
Try it:

  curl {installation.base_url}/v1/chat/completions \\
    -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
    -d '{{"model": "{MODEL}", "messages": [{{"role": "user", "content": "Say hello."}}]}}'

From Python (pip install openai):

  from openai import OpenAI

  client = OpenAI(base_url="{installation.base_url}/v1", api_key="{key}")
  stream = client.chat.completions.create(
      model="{MODEL}", messages=[{{"role": "user", "content": "Say hello."}}], stream=True
  )
  for chunk in stream:
      print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)""".splitlines()
