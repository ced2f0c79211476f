"""`poindexter accounts` and `poindexter keys`."""

import asyncio
from typing import Any

import asyncpg
import pytest
import redis

from core.accounts.api_key import is_well_formed
from portal_api import publication
from tests.deploy.command_line import CommandLine
from tests.harness.servers import postgres, valkey

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def line(database_url: str, redis_url: str) -> CommandLine:
    return CommandLine.of(database_url, redis_url)


def test_a_customer_is_created_given_a_key_and_listed(line: CommandLine) -> None:
    created = line.ok("accounts", "create", "ACME", "--plan", "pro")
    key = line.ok("keys", "create", "1", "--name", "laptop")
    accounts, keys = line.ok("accounts", "list").out, line.ok("keys", "list").out

    assert "$250.00" in created.out
    assert "Next: poindexter keys create 1" in created.out
    assert is_well_formed(key.out.strip())
    assert "can't be shown again" in key.err
    assert accounts.splitlines()[0].split() == ["ID", "NAME", "PLAN", "STATUS", "CAP", "CREATED"]
    assert accounts.splitlines()[1].split()[:5] == ["1", "ACME", "pro", "active", "$250.00"]
    assert keys.splitlines()[1].split()[:5] == ["1", "1", "laptop", key.out[:12] + "…", "active"]


def test_json_is_one_document_with_numbers_as_numbers(line: CommandLine) -> None:
    account = line.json("accounts", "create", "ACME", "--cap", "12.5")
    key = line.json("keys", "create", "1", "--model", "gpt-5", "--model", "dex-default", "--cap", "$3", "--rpm", "7")
    changed = line.json("accounts", "change", "1", "--status", "suspended")
    revoked = line.json("keys", "revoke", "1")

    assert (account["account_id"], account["name"], account["cap_nano_usd"]) == (1, "ACME", 12_500_000_000)
    assert key == {"key_id": 1, "account_id": 1, "key": key["key"]}
    assert changed["status"] == "suspended"
    assert (revoked["status"], revoked["models"], revoked["cap_nano_usd"]) == (
        "revoked",
        ["gpt-5", "dex-default"],
        3_000_000_000,
    )
    assert line.json("accounts", "list") == [changed]
    assert line.json("keys", "list", "1") == [revoked]


def test_an_empty_installation_says_what_to_do_next(line: CommandLine) -> None:
    assert "poindexter accounts create NAME" in line.ok("accounts", "list").out
    assert "poindexter keys create ACCOUNT_ID" in line.ok("keys", "list").out
    assert "Nothing was waiting" in line.ok("keys", "publish").out


def test_an_account_without_keys_and_usage_is_shown_as_such(line: CommandLine) -> None:
    line.ok("accounts", "create", "ACME")

    assert "poindexter keys create ACCOUNT_ID" in line.ok("keys", "list", "1").out
    assert "Nothing used from" in line.ok("usage", "1").out
    assert line.json("keys", "list", "1") == line.json("usage", "1") == []


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("keys", "create", "99"), 1, "There is no account 99."),
        (("keys", "list", "99"), 1, "There is no account 99."),
        (("usage", "99"), 1, "There is no account 99."),
        (("counters", "rebuild", "99"), 1, "There is no account 99."),
        (("keys", "revoke", "99"), 1, "There is no key 99."),
        (("accounts", "change", "99", "--status", "active"), 1, "There is no account 99."),
        (("accounts", "create", " "), 1, "A name has 1 to 200 characters"),
        (("accounts", "create", "x" * 201), 1, "A name has 1 to 200 characters"),
        (("accounts", "create", "bad\udcff"), 1, "A name has 1 to 200 characters"),
        (("accounts", "create", "ACME", "--plan", "gold"), 2, "'basic', 'pro'"),
        (("accounts", "create", "ACME", "--cap", "much"), 2, "'much' is not an amount in US dollars"),
        (("accounts", "create", "ACME", "--cap", "-1"), 2, "is not between 0 and"),
        (("accounts", "change", "1", "--status", "revoked"), 2, "'active', 'suspended'"),
        (("keys", "create", "abc"), 2, "'abc' is not a valid whole number."),
        (("keys", "create", "0"), 2, "not in the range"),
        (("keys", "create", "9" * 30), 2, "not in the range"),
        (("keys", "create", "1", "--rpm", "9999999999"), 2, "not in the range"),
        (("keys", "create", "1", "--expires", "tomorrow"), 2, "does not match the formats"),
        (("keys", "create", "1", "--expires", "2020-01-01"), 2, "2020-01-01 00:00 UTC has passed."),
        (("usage", "1", "--since", "2026-02-01", "--until", "2026-01-01"), 2, "2026-02-01 is after 2026-01-01."),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    line: CommandLine, arguments: tuple[str, ...], status: int, message: str
) -> None:
    answer = line.run(*arguments)

    assert answer.status == status
    assert message in answer.err
    assert answer.out == ""


def test_a_revoked_key_and_a_suspended_account_are_shown_as_such(line: CommandLine) -> None:
    line.ok("accounts", "create", "ACME")
    line.ok("keys", "create", "1")

    assert "revoked" in line.ok("keys", "revoke", "1").out
    assert "suspended" in line.ok("accounts", "change", "1", "--status", "suspended").out
    assert "$7.00" in line.ok("accounts", "change", "1", "--cap", "7").out


async def test_a_key_is_shown_once_and_stored_nowhere(database_url: str, redis_url: str) -> None:
    line = CommandLine.of(database_url, redis_url)
    await _in_thread(line.ok, "accounts", "create", "ACME")

    key = (await _in_thread(line.ok, "keys", "create", "1")).out.strip()

    later = [await _in_thread(line.ok, *command) for command in (("keys", "list"), ("keys", "revoke", "1"))]
    written = [await _everything_in_postgres(database_url), await _everything_in_redis(redis_url)]
    for text in [*written, *(answer.out + answer.err for answer in later)]:
        assert key[:12] in text or text == written[1]
        assert key not in text
        assert key[12:] not in text
        assert key[-12:] not in text


@pytest.fixture
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "PAUSE_SECONDS", 0.001)


@pytest.mark.usefixtures("_short_pauses")
def test_while_redis_is_away_changes_are_saved_and_published_later(database_url: str, redis_url: str) -> None:
    away, back = CommandLine.of(database_url, NOWHERE), CommandLine.of(database_url, redis_url)

    account = away.run("accounts", "create", "ACME", "--json")
    key = away.run("keys", "create", "1", "--json")
    revoked = away.run("keys", "revoke", "1")
    still_away = away.run("keys", "publish")
    published = back.ok("keys", "publish")

    assert [answer.status for answer in (account, key, revoked, still_away)] == [75] * 4
    assert all("keys publish" in answer.err for answer in (account, key, revoked, still_away))
    assert account.document["account_id"] == 1
    assert is_well_formed(key.document["key"])  # Its one chance to be seen.
    assert "revoked" in revoked.out
    assert published.out == "2 changes published.\n"
    with redis.Redis.from_url(redis_url) as client:
        assert {client.hget(name, "status") for name in client.scan_iter("{s*}:key:*")} == {b"revoked"}


def test_listing_needs_no_redis(database_url: str) -> None:
    line = CommandLine.of(database_url, NOWHERE)

    assert line.json("accounts", "list") == []
    assert line.json("keys", "list") == []
    assert line.run("usage", "1").err == "There is no account 1.\n"


async def _in_thread(function: Any, *arguments: str) -> Any:
    """The commands run an event loop of their own."""
    return await asyncio.to_thread(function, *arguments)


async def _everything_in_postgres(url: str) -> str:
    async with postgres(url) as connection:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return "\n".join([await _text_of(connection, row["tablename"]) for row in tables])


async def _text_of(connection: asyncpg.Connection, table: str) -> str:
    return str(await connection.fetchval(f"SELECT string_agg(row::text, ' ') FROM {table} AS row"))  # noqa: S608


async def _everything_in_redis(url: str) -> str:
    async with valkey(url) as client:
        found = []
        async for name in client.scan_iter("*"):
            kind = await client.type(name)
            found.append(name)
            found.append(await (client.get(name) if kind in (b"string", "string") else client.hgetall(name)))
    assert len(found) >= 6
    return repr(found)
