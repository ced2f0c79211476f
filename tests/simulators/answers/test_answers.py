"""Composing answers: pure, counted by hand."""

from typing import Any

import pytest

from simulators.answers.answers import Demand, Tool, compose, json_tokens

CITY = Tool("f", {"type": "object", "properties": {"city": {"const": "Bonn"}}})


@pytest.mark.parametrize("words", [0, 1, 7, 100])
def test_an_answer_has_the_words_that_were_asked_for(words: int) -> None:
    answer = compose(Demand(words=words, most_tokens=1000))

    assert len(answer.text.split()) == words == answer.output_tokens
    assert answer.ended == "end"


def test_the_same_demand_gives_the_same_answer_and_another_seed_another() -> None:
    first, again, other = (compose(Demand(words=9, most_tokens=99, seed=seed)).text for seed in (1, 1, 2))

    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("maximum", "thinking", "words", "ended"),
    [(2, 2, 0, "length"), (3, 3, 0, "length"), (5, 3, 2, "length"), (7, 3, 4, "end"), (9, 3, 4, "end")],
)
def test_thinking_uses_up_the_limit_first(maximum: int, thinking: int, words: int, ended: str) -> None:
    answer = compose(Demand(words=4, most_tokens=maximum, thinking=3))

    assert (len(answer.thinking), len(answer.words), answer.ended) == (thinking, words, ended)


@pytest.mark.parametrize(
    ("stops", "text", "met"),
    [
        ((), "one two three", None),
        (("two",), "one", "two"),
        (("wo th",), "one t", "wo th"),
        (("three", "one"), "", "one"),
        (("four",), "one two three", None),
    ],
)
def test_the_first_stop_sequence_ends_the_text(stops: tuple[str, ...], text: str, met: str | None) -> None:
    answer = compose(Demand(words=0, most_tokens=99, text="one two three", stops=stops))

    assert (answer.text, answer.stop) == (text, met)
    assert answer.output_tokens == len(text.split())


def test_calls_go_round_the_tools_and_their_arguments_count_by_four() -> None:
    answer = compose(Demand(words=0, most_tokens=99, tools=(CITY, Tool("g", {"const": 1})), calls=3))

    assert [(call.tool.name, call.arguments) for call in answer.calls] == [
        ("f", '{"city":"Bonn"}'),
        ("g", "1"),
        ("f", '{"city":"Bonn"}'),
    ]
    assert answer.output_tokens == 4 + 1 + 4
    assert answer.ended == "tools"


def test_arguments_are_cut_at_the_limit() -> None:
    answer = compose(Demand(words=0, most_tokens=6, tools=(CITY,), calls=3))

    assert [call.arguments for call in answer.calls] == ['{"city":"Bonn"}', '{"city":']
    assert answer.ended == "length"


@pytest.mark.parametrize(("value", "count"), [({}, 1), ({"a": 1}, 2), ([1, 2, 3], 2), ("abcdef", 2)])
def test_json_is_counted_by_four_characters(value: Any, count: int) -> None:
    assert len(json_tokens(value)) == count
