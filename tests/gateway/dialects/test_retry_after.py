import pytest

from gateway.dialects.retry_after import retry_after

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({b"retry-after": b"7"}, 7),
        ({b"retry-after": b" 1.5 "}, 1.5),
        ({b"retry-after": b"0"}, 0),
        ({b"retry-after-ms": b"250"}, 0.25),
        ({b"retry-after-ms": b"250", b"retry-after": b"7"}, 0.25),
        ({b"retry-after-ms": b"soon", b"retry-after": b"7"}, 7),
        ({b"retry-after": b"Tue, 14 Nov 2023 22:13:30 GMT"}, 10),
        ({b"retry-after": b"Tue, 14 Nov 2023 22:13:10 GMT"}, 0),
        ({b"retry-after": b"Tue, 14 Nov 2023 22:13:30"}, None),
        ({b"retry-after": b"-1"}, None),
        ({b"retry-after": b"nan"}, None),
        ({b"retry-after": b"inf"}, None),
        ({b"retry-after": b""}, None),
        ({b"retry-after": b"later"}, None),
        ({b"retry-after": b"\xff"}, None),
        ({b"retry-after": b"Tue, 99 Nov 99999 22:13:30 GMT"}, None),
    ],
)
def test_a_wait_is_seconds_milliseconds_or_a_date(headers: dict[bytes, bytes], seconds: float | None) -> None:
    assert retry_after(headers.get, NOW) == seconds


def test_a_date_means_nothing_without_a_clock() -> None:
    assert retry_after({b"retry-after": b"Tue, 14 Nov 2023 22:13:30 GMT"}.get, None) is None
