"""What a parser would make of a text is told from its bytes, wherever they are cut into slices. Guards against S7."""

import json
import random
from typing import Any

import pytest

from gateway.endpoints import json_size
from gateway.endpoints.json_size import holds_more_values

TEXTS = ["", ",", '"', "\\", '\\"', ",[{", '"],[{"', "\\\\", "a\\", "é,", '[[["'] + [
    "x" * 40 + "\\" * n for n in range(4)
]


def some_document(dice: random.Random, depth: int = 0) -> Any:
    kind = dice.randrange(6 if depth < 4 else 3)
    if kind < 2:
        return "".join(dice.choices(TEXTS, k=dice.randrange(4)))
    if kind == 2:
        return dice.choice([0, -1.5, None, True])
    items = [some_document(dice, depth + 1) for _ in range(dice.randrange(5))]
    return items if kind < 5 else {f"{dice.choice(TEXTS)}{number}": item for number, item in enumerate(items)}


def values(document: Any) -> int:
    """Commas and brackets outside of texts."""
    if not isinstance(document, (dict, list)):
        return 0
    items = list(document.values()) if isinstance(document, dict) else document
    return 1 + max(0, len(items) - 1) + sum(map(values, items))


@pytest.mark.parametrize("slice_bytes", [1, 2, 3, 7, 64, 1 << 18])
def test_values_are_counted_and_what_stands_in_texts_is_not(monkeypatch: pytest.MonkeyPatch, slice_bytes: int) -> None:
    monkeypatch.setattr(json_size, "SLICE_BYTES", slice_bytes)
    dice = random.Random(7)
    for _ in range(300):
        document = some_document(dice)
        for text in (json.dumps(document), json.dumps(document, ensure_ascii=False, indent=1)):
            count = values(document)
            assert holds_more_values(text.encode(), count - 1)
            assert not holds_more_values(text.encode(), count)


def test_a_long_text_full_of_commas_is_one_value() -> None:
    text = json.dumps({"messages": [{"role": "user", "content": 'a,b,"c"\n,[{' * 200_000}]}).encode()

    assert not holds_more_values(text, 10)
