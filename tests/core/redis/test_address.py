"""B22: one reading of REDIS_URL for every client; what clients would read differently is refused, secret untold."""

import pytest
from redis.asyncio.connection import SSLConnection

from core.process.settings import Secret
from core.redis.address import RedisAddress
from core.redis.connections import connect_redis

SECRET = "canary"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", ("h", 6379, 0, False, "", "")),
        ("redis://h/", ("h", 6379, 0, False, "", "")),
        ("redis://h:7000/3", ("h", 7000, 3, False, "", "")),
        ("redis://h:7000/3/", ("h", 7000, 3, False, "", "")),
        ("redis://h:6379?db=2", ("h", 6379, 2, False, "", "")),
        ("redis://h:6379/2?db=2", ("h", 6379, 2, False, "", "")),
        ("rediss://h.example.com", ("h.example.com", 6379, 0, True, "", "")),
        ("redis://:p@h", ("h", 6379, 0, False, "", "p")),
        ("redis://u:p@h", ("h", 6379, 0, False, "u", "p")),
        ("redis://u%40x:p%2Fq%3F%23%25%3A@h", ("h", 6379, 0, False, "u@x", "p/q?#%:")),
        ("redis://:a:b@c@h", ("h", 6379, 0, False, "", "a:b@c")),
        ("redis://[::1]", ("::1", 6379, 0, False, "", "")),
        ("redis://[fe80::1]:7000/1", ("fe80::1", 7000, 1, False, "", "")),
        ("redis://10.0.0.7:1", ("10.0.0.7", 1, 0, False, "", "")),
    ],
)
def test_a_url_means_one_server_and_one_database(url: str, expected: tuple[object, ...]) -> None:
    address = RedisAddress.parse(url)

    found = (address.host, address.port, address.database, address.tls, address.username, address.password)
    assert found == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        f"{SECRET}",
        f"http://:{SECRET}@h",
        f"unix://:{SECRET}@/tmp/redis.sock",
        f"redis:h:{SECRET}",
        f"redis://:{SECRET}@",
        f"redis://:{SECRET}@:6379",
        f"redis://:{SECRET}/rest@h:6379/0",
        f"redis://:{SECRET}?rest@h:6379/0",
        f"redis://:{SECRET}#rest@h:6379/0",
        f"redis://:{SECRET}[rest@h:6379/0",
        f"redis://:{SECRET}@[::1:6379",
        f"redis://:{SECRET}@[::1]x",
        f"redis://:{SECRET}@[h]:6379",
        f"redis://:{SECRET}@h:port",
        f"redis://:{SECRET}@h:",
        f"redis://:{SECRET}@h:0",
        f"redis://:{SECRET}@h:65536",
        f"redis://:{SECRET}@h:-1",
        f"redis://:{SECRET}@h:99999999999999999999",
        f"redis://:{SECRET}@h:²",
        f"redis://:{SECRET}@h/one",
        f"redis://:{SECRET}@h/-1",
        f"redis://:{SECRET}@h/0/1",
        f"redis://:{SECRET}@h/1?db=2",
        f"redis://:{SECRET}@h?db=",
        f"redis://:{SECRET}@h?db=one",
        f"redis://:{SECRET}@h?ssl_cert_reqs=none",
        f"redis://:{SECRET}@h?socket_timeout=3",
        f"redis://:{SECRET}@h#0",
        f"redis://:{SECRET}@h o",
        f"redis://:{SECRET}@h\n",
        f"redis://:{SECRET}@h1,h2",
        f"redis://:{SECRET}@a..b",
        f"redis://:{SECRET}@{'a' * 64}:6379",
        f"redis://{SECRET}@h",
        f"redis://{SECRET}:@h",
    ],
)
def test_what_two_clients_would_read_differently_is_refused_without_the_secret(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        RedisAddress.parse(url)

    assert SECRET not in str(caught.value)
    assert "rest" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_address_never_shows_its_password() -> None:
    assert SECRET not in repr(RedisAddress.parse(f"redis://u:{SECRET}@h"))


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_the_client_for_everything_but_the_data_path_is_given_the_same(scheme: str) -> None:
    pool = connect_redis(Secret(f"{scheme}://u:p%2F@h:7000?db=2")).connection_pool

    given = {name: pool.connection_kwargs[name] for name in ("host", "port", "db", "username", "password")}
    assert given == {"host": "h", "port": 7000, "db": 2, "username": "u", "password": "p/"}
    assert issubclass(pool.connection_class, SSLConnection) is (scheme == "rediss")
