"""compose.yaml says what is true of the processes it starts, and publishes nothing that must stay inside."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from core.accounts.api_key import Pepper
from core.process.settings import SettingsError, load
from deploy.cli import main
from deploy.commands.processes import MigrationSettings
from gateway.settings import GatewaySettings
from metering.settings import MeteringSettings
from tests.deploy.composed import (
    DEPLOY,
    OWN_IMAGE,
    MissingVariable,
    compose,
    environment,
    image_environment,
    read_env,
    set_up,
    variables,
)

SETTINGS: dict[str, Any] = {
    "gateway": GatewaySettings,
    "metering": MeteringSettings,
    "migrate": MigrationSettings,
}
FILLED_IN = {"DOMAIN": "api.example.com"}
SERVICES: dict[str, dict[str, Any]] = compose(FILLED_IN)["services"]
OWN = {name: service for name, service in SERVICES.items() if service["image"].startswith(OWN_IMAGE)}
GATEWAYS = {name: service for name, service in OWN.items() if service["command"] == ["gateway"]}
OF_THE_MODELS_FILE = set(re.findall(r"\$\{(\w+)", (DEPLOY / "models.toml").read_text()))
GATEWAY_PORT, GATEWAY_ADMIN_PORT, METERING_ADMIN_PORT = 8080, 9090, 9091
OUTSIDE_SHUTDOWN_SECONDS = 10
"""What a gateway may take beside its delay and its running answers: last words, the spool, closing down."""

every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
own_service = pytest.mark.parametrize("service", OWN.values(), ids=OWN)


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return set_up(tmp_path_factory.mktemp("server"))


@own_service
def test_every_setting_is_one_that_its_process_reads(service: dict[str, Any]) -> None:
    known = {field.name.upper() for field in dataclasses.fields(SETTINGS[service["command"][0]])} | OF_THE_MODELS_FILE

    assert {name.removesuffix("_FILE") for name in service["environment"]} <= known


@own_service
def test_a_process_accepts_its_settings_once_the_set_up_has_run(service: dict[str, Any], deploy: Path) -> None:
    found = load(SETTINGS[service["command"][0]], environment(service, deploy))

    assert found.database_url.reveal().startswith("postgresql://poindexter:")


@own_service
def test_a_process_without_its_secrets_refuses_to_start_and_names_each(service: dict[str, Any], tmp_path: Path) -> None:
    needed = {field.name.upper() for field in dataclasses.fields(SETTINGS[service["command"][0]]) if _required(field)}
    secret = {name.removesuffix("_FILE") for name in service["environment"] if name.endswith("_FILE")} & needed

    with pytest.raises(SettingsError) as caught:
        load(SETTINGS[service["command"][0]], environment(service, tmp_path))

    assert {problem.split()[0] for problem in caught.value.problems} >= secret


def test_the_gateway_gets_its_pepper_and_the_ports_that_others_use(deploy: Path) -> None:
    settings = GatewaySettings.load(environment(SERVICES["gateway-1"], deploy))
    metering = load(MeteringSettings, environment(SERVICES["metering"], deploy))

    assert (settings.gateway_port, settings.gateway_admin_port) == (GATEWAY_PORT, GATEWAY_ADMIN_PORT)
    assert metering.metering_admin_port == METERING_ADMIN_PORT
    assert Pepper.parse(settings.api_key_pepper.reveal())
    assert settings.api_key_pepper_previous is None


def test_a_start_without_a_domain_is_refused() -> None:
    with pytest.raises(MissingVariable, match="DOMAIN"):
        compose({})


def test_no_secret_has_a_default_or_stands_in_the_file() -> None:
    wordings = re.compile("PASSWORD|SECRET|PEPPER|API_KEY|_URL")
    plain = [
        f"{service}: {name}"
        for service, fields in SERVICES.items()
        for name in fields.get("environment", {})
        if wordings.search(name) and not name.endswith("_FILE")
    ]

    assert plain == []
    assert [name for name in variables() if wordings.search(name)] == []


def test_the_example_of_the_settings_has_every_variable_and_no_other() -> None:
    assert set(read_env(DEPLOY / ".env.example")) == variables()


@own_service
def test_commands_are_commands_of_ours(service: dict[str, Any]) -> None:
    assert service["command"][0] in main.commands


def test_two_gateways_keep_their_spools_apart() -> None:
    volumes = [volume for service in GATEWAYS.values() for volume in service["volumes"] if "spool" in volume]
    places = {volume.partition(":")[2] for volume in volumes}

    assert len(GATEWAYS) == len(set(volumes)) == 2
    assert places == {image_environment()["GATEWAY_SPOOL_DIRECTORY"]}


@pytest.mark.parametrize("service", GATEWAYS.values(), ids=GATEWAYS)
def test_a_gateway_is_not_killed_while_it_drains(service: dict[str, Any]) -> None:
    given = service["environment"]
    longest = float(given["GATEWAY_SHUTDOWN_DELAY_SECONDS"]) + float(given["GATEWAY_SHUTDOWN_SECONDS"])

    assert _seconds(service["stop_grace_period"]) >= longest + OUTSIDE_SHUTDOWN_SECONDS


def test_the_proxy_waits_for_what_runs_through_it() -> None:
    caddyfile = (DEPLOY / "compose" / "Caddyfile").read_text()
    [patience] = re.findall(r"grace_period (\S+)", caddyfile)
    longest = float(SERVICES["gateway-1"]["environment"]["GATEWAY_SHUTDOWN_SECONDS"])

    assert longest < _seconds(patience) < _seconds(SERVICES["caddy"]["stop_grace_period"])


def test_the_proxy_knows_every_gateway_by_its_port() -> None:
    given = SERVICES["caddy"]["environment"]

    assert given["GATEWAYS"].split() == [f"{name}:{GATEWAY_PORT}" for name in GATEWAYS]
    assert given["GATEWAY_ADMIN_PORT"] == str(GATEWAY_ADMIN_PORT)


def test_only_the_proxy_is_reachable_from_outside() -> None:
    outside = {
        name
        for name, service in SERVICES.items()
        for port in service.get("ports", [])
        if not port.startswith("127.0.0.1:")
    }

    assert outside == {"caddy"}
    assert not any("ports" in service for service in OWN.values())


def test_the_stores_have_no_way_out_and_no_way_in() -> None:
    parsed = compose(FILLED_IN)

    assert parsed["networks"]["stores"] == {"internal": True}
    assert all(SERVICES[name]["networks"] == ["stores"] for name in ("postgres", "valkey"))
    assert "stores" not in SERVICES["caddy"]["networks"]


@own_service
def test_our_processes_have_no_rights_to_spare(service: dict[str, Any]) -> None:
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["tmpfs"] == ["/tmp"]


@every_service
def test_every_service_is_bounded_and_comes_back(service: dict[str, Any]) -> None:
    assert service["restart"] == ("no" if service.get("command") == ["migrate"] else "unless-stopped")
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"]["max-size"]
    assert service.get("command") == ["migrate"] or service["deploy"]["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", ["gateway-1", "gateway-2", "metering"])
def test_the_health_check_asks_the_admin_port_of_its_process(name: str) -> None:
    port = METERING_ADMIN_PORT if name == "metering" else GATEWAY_ADMIN_PORT

    assert f"http://127.0.0.1:{port}/readyz" in SERVICES[name]["healthcheck"]["test"][-1]


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_everything_that_stays_up_says_whether_it_is_well(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", ["gateway-1", "gateway-2", "metering"])
def test_nothing_of_ours_starts_before_the_schema_is_there(name: str) -> None:
    assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


@every_service
def test_every_file_that_is_mounted_exists(service: dict[str, Any], deploy: Path) -> None:
    sources = [volume.partition(":")[0] for volume in service.get("volumes", [])]
    volumes = compose(FILLED_IN)["volumes"]

    assert [source for source in sources if source.startswith(".") and not (deploy / source).exists()] == []
    assert {source for source in sources if not source.startswith(".")} <= set(volumes)


def test_secrets_are_made_by_the_set_up_and_used_by_somebody(deploy: Path) -> None:
    declared = compose(FILLED_IN)["secrets"]
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}

    assert set(declared) == used
    assert {Path(secret["file"]).name for secret in declared.values()} == {
        path.name for path in (deploy / "compose" / "secrets").iterdir()
    }


@every_service
def test_a_secret_is_read_only_where_it_is_granted(service: dict[str, Any]) -> None:
    read = set(re.findall(r"/run/secrets/(\w+)", str(service)))

    assert read == set(service.get("secrets", []))


def _required(field: Any) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _seconds(text: str) -> float:
    return float(text.removesuffix("s"))
