"""The order in which a model's targets are tried."""

import random
from collections import Counter

import pytest

from core.models.models_file import Provider, Target
from core.process.settings import Secret
from gateway.upstreams.routing import order_of_targets

PROVIDER = Provider(name="p", schema="openai", base_url="http://127.0.0.1", api_key=Secret("x"))


def target(name: str, *, weight: int = 1, priority: int = 0) -> Target:
    return Target(provider=PROVIDER, model=name, weight=weight, priority=priority)


def names(targets: list[Target]) -> list[str]:
    return [target.model for target in targets]


def test_a_lower_priority_comes_first_whatever_the_weights_and_the_draw_is() -> None:
    targets = [target("third", priority=7, weight=1000), target("first", priority=-1), target("second", weight=1)]

    orders = {tuple(names(order_of_targets(targets, random.Random(seed).random))) for seed in range(50)}

    assert orders == {("first", "second", "third")}


@pytest.mark.parametrize("draw", [0.0, 0.5, 0.999999])
def test_every_target_is_in_the_order_once_whatever_is_drawn(draw: float) -> None:
    targets = [target(str(number), weight=number + 1) for number in range(5)]

    assert sorted(names(order_of_targets(targets, lambda: draw))) == ["0", "1", "2", "3", "4"]


def test_one_target_needs_no_draw() -> None:
    def undrawn() -> float:
        raise AssertionError("thrown for nothing")

    assert names(order_of_targets([target("only")], undrawn)) == ["only"]


def test_among_equals_the_first_is_drawn_by_weight() -> None:
    targets = [target("one", weight=1), target("three", weight=3), target("six", weight=6)]
    seeded = random.Random(1)

    firsts = Counter(order_of_targets(targets, seeded.random)[0].model for _ in range(20_000))

    assert {name: round(count / 2000, 1) for name, count in firsts.items()} == pytest.approx(
        {"one": 1, "three": 3, "six": 6}, abs=0.2
    )


def test_the_targets_of_the_models_file_are_not_moved() -> None:
    targets = [target("b", priority=1), target("a")]

    order_of_targets(targets, random.Random(1).random)

    assert names(targets) == ["b", "a"]
