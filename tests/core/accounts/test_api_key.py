import hashlib
import hmac
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.accounts.api_key import ALPHABET, LENGTH, ApiKey, Pepper, PepperRing, is_well_formed

KEY = ApiKey.generate().text
OLD = Pepper.parse("1:" + "ab" * 32)
NEW = Pepper.parse("2:" + "cd" * 32)


@pytest.mark.parametrize("prefix", ["pk_live_", "pk_test_"])
def test_a_generated_key_is_well_formed(prefix: str) -> None:
    key = ApiKey.generate(prefix)

    assert is_well_formed(key.text)
    assert key.text.startswith(prefix)
    assert len(key.text) == LENGTH == 57


def test_generated_keys_differ_in_what_is_displayed_and_in_the_rest() -> None:
    keys = [ApiKey.generate() for _ in range(200)]

    assert len({key.text for key in keys}) == 200
    assert len({key.display_prefix for key in keys}) > 195
    assert all(len(key.display_prefix) == 12 for key in keys)


@pytest.mark.parametrize("position", range(LENGTH))
def test_every_change_of_a_single_character_is_refused(position: int) -> None:
    others = set(string.printable + "é\u0660\U0001f600") - {KEY[position]}

    changed = [KEY[:position] + character + KEY[position + 1 :] for character in others]

    assert not any(map(is_well_formed, changed))


@pytest.mark.parametrize("position", range(LENGTH - 1))
def test_two_swapped_neighbours_are_refused(position: int) -> None:
    swapped = KEY[:position] + KEY[position + 1] + KEY[position] + KEY[position + 2 :]

    assert swapped == KEY or not is_well_formed(swapped)


@pytest.mark.parametrize("position", range(LENGTH + 1))
def test_a_character_too_many_or_too_few_is_refused(position: int) -> None:
    assert not is_well_formed(KEY[:position] + "A" + KEY[position:])
    assert not is_well_formed(KEY[:position] + KEY[position + 1 :]) or position == LENGTH


@given(st.text(max_size=80))
def test_arbitrary_text_is_refused(text: str) -> None:
    assert not is_well_formed(text)


def test_random_text_of_the_right_form_is_refused() -> None:
    dice = random.Random(7)
    guesses = ["pk_live_" + "".join(dice.choices(ALPHABET, k=LENGTH - 8)) for _ in range(20_000)]

    assert not any(map(is_well_formed, guesses))


@given(st.binary(min_size=32, max_size=32), st.integers(1, 10_000))
def test_a_digest_is_the_hmac_of_the_key_under_the_pepper(secret: bytes, number: int) -> None:
    pepper = Pepper.parse(f"{number}:{secret.hex()}")

    assert pepper.id == number
    assert pepper.digest(KEY) == hmac.new(secret, KEY.encode(), hashlib.sha256).digest()


def test_during_a_rotation_a_key_is_looked_up_under_both_peppers_the_new_one_first() -> None:
    assert PepperRing(NEW, OLD).digests(KEY) == [NEW.digest(KEY), OLD.digest(KEY)]
    assert PepperRing(NEW).digests(KEY) == [NEW.digest(KEY)]
    assert NEW.digest(KEY) != OLD.digest(KEY)


@pytest.mark.parametrize(
    "text",
    ["", "1", ":", "1:", "x:" + "ab" * 32, "1:" + "ab" * 31, "1:" + "ab" * 33, "1:" + "zz" * 32, "0:" + "ab" * 32,
     "-1:" + "ab" * 32, "ab" * 32],
)  # fmt: skip
def test_a_pepper_that_is_none_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="must look like") as caught:
        Pepper.parse(text)

    assert "ab" * 4 not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_no_secret_shows_in_a_repr() -> None:
    shown = repr([ApiKey(KEY), OLD, PepperRing(NEW, OLD)])

    assert KEY[8:] not in shown
    assert "\\xab" not in shown
    assert "\\xcd" not in shown
