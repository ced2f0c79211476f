import math

import pytest

from gateway.outbound.origin import Origin
from gateway.outbound.timeouts import Timeouts


@pytest.mark.parametrize(
    ("url", "origin", "prefix"),
    [
        ("https://api.openai.com/v1", Origin("https", "api.openai.com", 443), "/v1"),
        ("https://api.anthropic.com", Origin("https", "api.anthropic.com", 443), ""),
        ("http://LocalHost:8000/", Origin("http", "localhost", 8000), ""),
        ("http://[::1]:8000/a/b/", Origin("http", "::1", 8000), "/a/b"),
        ("HTTP://10.0.0.1", Origin("http", "10.0.0.1", 80), ""),
    ],
)
def test_a_url_names_an_origin_and_a_path_prefix(url: str, origin: Origin, prefix: str) -> None:
    assert Origin.from_url(url) == (origin, prefix)


@pytest.mark.parametrize(
    ("origin", "authority"),
    [
        (Origin("https", "api.openai.com", 443), "api.openai.com"),
        (Origin("https", "api.openai.com", 8443), "api.openai.com:8443"),
        (Origin("http", "::1", 80), "[::1]"),
        (Origin("http", "::1", 81), "[::1]:81"),
        (Origin("http", "localhost", 443), "localhost:443"),
    ],
)
def test_the_host_header_leaves_out_a_default_port(origin: Origin, authority: str) -> None:
    assert origin.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.openai.com/v1",
        "ftp://host/",
        "https:///v1",
        "https://host:0",
        "https://host:65536",
        "https://host:port",
        "https://user:hunter2@host/",
        "https://host/?key=hunter2",
        "https://host/?",
        "https://host/#x",
        "https://ho st/",
        "https://host/\r\nx: y",
        "https://höst/",
        "https://[::1/",
    ],
)
def test_anything_else_is_refused_without_repeating_its_secrets(url: str) -> None:
    with pytest.raises(ValueError) as refusal:
        Origin.from_url(url)

    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("name", ["connect", "first_byte", "idle", "total"])
@pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan])
def test_a_timeout_that_is_none_is_refused(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=name):
        Timeouts(**{name: seconds})
