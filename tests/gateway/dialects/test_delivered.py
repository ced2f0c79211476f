import pytest

from gateway.dialects.delivered import text_length, text_tokens


@pytest.mark.parametrize(
    ("message", "length"),
    [
        (None, 0),
        ("text", 0),
        ({"content": "abc"}, 3),
        ({"content": "häß"}, 5),
        ({"content": "\ud800"}, 3),
        ({"content": [{"type": "text"}], "refusal": None}, 0),
        ({"content": None, "refusal": "no"}, 2),
        ({"reasoning_content": "abc", "reasoning": "de"}, 5),
        ({"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}, {"function": None}, None]}, 3),
        ({"tool_calls": {}, "function_call": {"name": "f", "arguments": "{}"}}, 3),
    ],
)
def test_text_is_all_that_the_model_wrote(message: object, length: int) -> None:
    assert text_length(message) == length


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2)])
def test_a_token_is_four_bytes_and_a_begun_one_counts(text: str, tokens: int) -> None:
    assert text_tokens({"content": text}) == tokens
