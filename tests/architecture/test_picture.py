"""The picture of the rooms in ARCHITECTURE.md against the contract that `make check` holds."""

import re
import tomllib

from tests.architecture.sources import ROOT


def test_the_picture_of_the_gateway_is_its_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["name"] == "The rooms of the gateway")
    section = (ROOT / "ARCHITECTURE.md").read_text().partition("## The gateway, from the outside in")[2]
    picture = section.split("```")[1].strip().splitlines()

    drawn = [set(re.findall(r"(?:^|\s{4,})(\w+)(?=\s)", line)) | {line.split()[-1]} for line in picture]
    rooms = [set(layer.split(" | ")) for layer in layers if layer != "__main__"]

    assert len(drawn) == len(rooms)
    assert all(layer <= names for layer, names in zip(rooms, drawn, strict=True))
