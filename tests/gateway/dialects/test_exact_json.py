"""C11 = E11, E18, E8: numbers keep their digits, and half an emoji does not make JSON unreadable."""

import orjson
import pytest

from gateway.dialects.exact_json import load, load_exactly, load_request

LONG = [
    "1234567890123456789012",
    "-9223372036854775809",
    "18446744073709551616",
    "1000000000000000000000",
    "0.12345678901234567890123",
    "123456789.123456789123",
    "1.00000000000000000001e5",
]


@pytest.mark.parametrize("number", LONG)
def test_a_long_number_is_written_as_it_was_read(number: str) -> None:
    document = b'{"a":[{"b":%b}],"c":1,"d":0.5}' % number.encode()

    assert orjson.dumps(load_exactly(document)) == document


@pytest.mark.parametrize("text", ["{}", "[1,2.5,-3,1e5]", '{"id":"12345678901234567890","n":null}', '"\\u00e9"'])
def test_everything_else_is_read_as_always(text: str) -> None:
    assert load_exactly(text.encode()) == orjson.loads(text) == load(text.encode())


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (r'"a \ud83d b"', "a \ufffd b"),
        (r'"\ude00"', "\ufffd"),
        (r'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600"),
        (r'"\\ud83d \"\ud83d"', '\\ud83d "\ufffd'),
        (r'"\uD83D\uDE00"', "\U0001f600"),
        (r'{"a":["\ud83d",1]}', {"a": ["\ufffd", 1]}),
    ],
)
def test_e8_a_lone_surrogate_becomes_a_replacement_character(text: str, read: object) -> None:
    assert load(text.encode()) == load_exactly(text.encode()) == read


def test_a_lone_surrogate_and_a_long_number_in_one_document() -> None:
    document = load_exactly(b'{"a":"\\ud83d","b":1234567890123456789012}')

    assert orjson.dumps(document).decode() == '{"a":"\ufffd","b":1234567890123456789012}'


@pytest.mark.parametrize(
    "text", ["", "{", '{"a":}', "NaN", '{"a":12345678901234567890,}', r'"\ud83"', "1234567890123456x"]
)
def test_what_is_no_json_is_refused(text: str) -> None:
    for read in (load, load_exactly):
        with pytest.raises(orjson.JSONDecodeError):
            read(text.encode())


def test_a_document_too_deep_for_the_exact_parser_is_still_read() -> None:
    deep = b"[" * 1000 + b"1234567890123456789012" + b"]" * 1000

    assert isinstance(load_exactly(deep), list)


@pytest.mark.parametrize(
    "number", ["1234567890123456789012", "-9223372036854775809", "18446744073709551616", "9" * 300]
)
def test_a_request_keeps_the_digits_of_whole_numbers_beyond_64_bits(number: str) -> None:
    document = b'{"a":[{"b":%b}],"c":1,"d":0.5}' % number.encode()

    assert orjson.dumps(load_request(document)) == document


@pytest.mark.parametrize("number", ["18446744073709551615", "-9223372036854775808", "0.7000000000000000123", "1e30"])
def test_other_numbers_of_a_request_stay_numbers(number: str) -> None:
    assert load_request(number.encode()) == orjson.loads(number)


def test_a_request_is_read_with_half_an_emoji_and_with_any_depth() -> None:
    deep = b"[" * 1000 + b"1234567890123456789012" + b"]" * 1000

    assert load_request(rb'["\ud83d", 1234567890123456789012]')[0] == "\ufffd"
    assert isinstance(load_request(deep), list)
