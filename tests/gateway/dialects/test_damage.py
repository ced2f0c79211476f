from tests.fuzz import fuzz_sse, fuzz_translators


def test_damaged_streams_decode_the_same_however_they_are_split() -> None:
    assert fuzz_sse.FUZZER.run(seconds=30, seed=1, most=300) == 300


def test_damaged_requests_answers_and_streams_are_translated_or_refused() -> None:
    assert fuzz_translators.FUZZER.run(seconds=60, seed=1, most=100) == 100
