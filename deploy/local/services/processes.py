"""
The table of our own processes, in the order of their start; they stop in the opposite order.

The gateway stops first and drains; metering then takes what the gateway's last answers left in the stream; the
simulators outlive both, because an answer that is being drained still comes from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.errors import SettingUnreadable
from deploy.local.servers.ports import LOOPBACK
from deploy.local.services.service import Process

SIMULATED_KEY = "sk-simulated-upstream"
MODELS_FILE = Path(__file__).parents[2] / "models.toml"


def given(environment: Mapping[str, str], name: str) -> str:
    """A setting of the operator, from NAME or from the file that NAME_FILE names; empty when neither is set."""
    file = environment.get(f"{name}_FILE")
    try:
        return Path(file).read_text().strip() if file else environment.get(name, "")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingUnreadable(f"{name}_FILE names {file}, which can't be read: {error}.") from error


@dataclass(frozen=True, slots=True)
class Upstream:
    """A provider of models: real when its key is in the environment, simulated otherwise."""

    name: str
    key_variable: str
    url_variable: str

    def is_real(self, environment: Mapping[str, str]) -> bool:
        return bool(given(environment, self.key_variable))


UPSTREAMS = (
    Upstream("openai", "OPENAI_API_KEY", "OPENAI_UPSTREAM_URL"),
    Upstream("anthropic", "ANTHROPIC_API_KEY", "ANTHROPIC_UPSTREAM_URL"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What the processes need to know of each other."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    pepper: str = field(repr=False)
    ports: Mapping[str, int]
    """By the names of `ports.DEFAULT_PORTS`."""
    gateway_workers: int
    spool: Path

    @property
    def base_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports['gateway']}"

    @property
    def metrics_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports['gateway-admin']}/metrics"


def our_processes(installation: Installation, environment: Mapping[str, str]) -> list[Process]:
    """`environment` is the operator's: what it sets beyond our own names is passed on to every process."""
    own = {
        "DATABASE_URL": installation.database_url,
        "REDIS_URL": installation.redis_url,
        "API_KEY_PEPPER": installation.pepper,
    }
    files = {f"{name}_FILE" for name in own}  # Read by us already; a process refuses both forms at once.
    shared = {name: value for name, value in environment.items() if name not in files} | own
    rows = [_metering(installation, shared), _gateway(installation, shared)]
    if any(not upstream.is_real(environment) for upstream in UPSTREAMS):
        rows.insert(0, _simulators(installation, environment))
    return rows


def _simulators(installation: Installation, environment: Mapping[str, str]) -> Process:
    port = installation.ports["simulators"]
    return Process(
        name="simulators",
        module="simulators",
        arguments=("--host", LOOPBACK, "--port", str(port)),
        environment=environment,
        ready_port=port,
        ready_path="/_control/healthz",
        stop_seconds=5.0,
    )


def _metering(installation: Installation, shared: Mapping[str, str]) -> Process:
    port = installation.ports["metering-admin"]
    return Process(
        name="metering",
        module="metering",
        environment={**shared, "METERING_ADMIN_PORT": str(port)},
        ready_port=port,
        ready_path="/readyz",
        stop_seconds=30.0,
    )


def _gateway(installation: Installation, shared: Mapping[str, str]) -> Process:
    admin_port = installation.ports["gateway-admin"]
    own = {
        "GATEWAY_PORT": str(installation.ports["gateway"]),
        "GATEWAY_ADMIN_PORT": str(admin_port),
        "GATEWAY_WORKERS": str(installation.gateway_workers),
        "GATEWAY_SPOOL_DIRECTORY": str(installation.spool),
    }
    defaults = {"GATEWAY_HOST": LOOPBACK, "GATEWAY_MODELS_FILE": str(MODELS_FILE)}
    return Process(
        name="gateway",
        module="gateway",
        environment={**defaults, **shared, **_simulated_upstreams(installation, shared), **own},
        ready_port=admin_port,
        ready_path="/readyz",
        stop_seconds=75.0,  # Longer than its own limit for running answers, which is 60 s.
    )


def _simulated_upstreams(installation: Installation, environment: Mapping[str, str]) -> dict[str, str]:
    simulators = f"http://{LOOPBACK}:{installation.ports['simulators']}"
    settings = {}
    for upstream in UPSTREAMS:
        if not upstream.is_real(environment):
            settings[upstream.url_variable] = f"{simulators}/{upstream.name}"
            settings[upstream.key_variable] = SIMULATED_KEY
    return settings
