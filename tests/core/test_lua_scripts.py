from importlib import resources

import pytest

from core.lua_scripts import load_script
from tests.services import valkey

NAMES = sorted(
    file.name.removesuffix(".lua") for file in resources.files("core").joinpath("lua").iterdir() if file.is_file()
)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_opens_with_what_it_takes_and_what_it_returns(name: str) -> None:
    lines = load_script(name).text.splitlines()
    header = "\n".join(lines[: next(number for number, line in enumerate(lines) if not line.startswith("--"))])

    assert "KEYS" in header
    assert "ARGV" in header
    assert "Returns" in header


@pytest.mark.parametrize("name", NAMES)
async def test_the_server_keeps_a_script_under_the_name_we_call_it_by(name: str, redis_url: str) -> None:
    script = load_script(name)

    async with valkey(redis_url) as client:
        stored = await client.script_load(script.text)

    assert stored == script.sha


def test_an_unknown_script_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        load_script("no_such_script")
