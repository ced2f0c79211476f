"""S17: a wrong DATABASE_URL is refused at start, in one line that repeats no part of a password."""

import pytest

from core.postgres.url import postgres_url
from core.process.settings import Secret

PASSWORD = "SecretPart"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://localhost",
        "postgres://user:p%2Fw@host:5432/db",
        "postgresql://user:word@[::1]:5433/db?sslmode=disable",
        "postgresql://h1:5432,h2:5433/db?target_session_attrs=read-write",
        "postgresql:///db?host=/var/run/postgresql&port=5432",
    ],
)
def test_what_the_client_library_takes_is_accepted(text: str) -> None:
    assert postgres_url(text) == Secret(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("foo", "must begin with postgresql://"),
        ("mysql://host/db", "must begin with postgresql://"),
        (f"postgresql://user:{PASSWORD}/rest@host/db", "percent-encoded"),
        (f"postgresql://user:{PASSWORD}#rest@host/db", "percent-encoded"),
        (f"postgresql://user:{PASSWORD}@rest@host/db", "percent-encoded"),
        (f"postgresql://user:{PASSWORD}@host:abc/db", "port must be a number"),
        (f"postgresql://user:{PASSWORD}@host:99999/db", "port must be a number"),
        (f"postgresql://user:{PASSWORD}@host:0/db", "port must be a number"),
        (f"postgresql://user:{PASSWORD}@h1:5432,h2:x/db", "port must be a number"),
        (f"postgresql://user:{PASSWORD}@host/db?port=x", "port must be a number"),
        (f"postgresql://user:{PASSWORD}@host/db?sslmode=maybe", "sslmode must be one of"),
        (f"postgresql://user:{PASSWORD}@[::1/db", "is not a URL"),
        (f"postgresql://user:{PASSWORD}@host/db?nonsense", "is not a URL"),
        (f"postgresql://user:{PASSWORD}@a..b/db", "no host is called so"),
        (f"postgresql://user:{PASSWORD}@h1,{'a' * 64}:5432/db", "no host is called so"),
        (f"postgresql://user:{PASSWORD}@/db?host=/var/run,a..b", "no host is called so"),
    ],
)
def test_what_no_server_can_be_reached_by_is_refused_without_its_password(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        postgres_url(text)

    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None
