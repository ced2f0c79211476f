"""
Schema migrations: `core/postgres/schema/NNNN_title.sql`, applied in order, each in one transaction, under one
advisory lock.

Any number of processes may call `migrate` at once: one works, the others wait and find nothing left to do. A file
that was applied is never changed again; a differing checksum stops the start with the file's name.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources

import asyncpg

from core.postgres.connections import connect_postgres
from core.process.settings import Secret

__all__ = ["ChangedMigration", "Migration", "migrate", "migrations", "pending_migrations", "unknown_migrations"]

LOCK = 0x504F_494E_4445_5854  # "POINDEXT": the advisory lock that all migrating processes share.


class ChangedMigration(Exception):
    """A file that this database has already applied reads differently now."""


@dataclass(frozen=True, slots=True)
class Migration:
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Every migration of this version, oldest first."""
    files = sorted(resources.files("core.postgres").joinpath("schema").iterdir(), key=lambda file: file.name)
    return [Migration(file.name.removesuffix(".sql"), file.read_text()) for file in files if file.name.endswith(".sql")]


async def migrate(url: Secret) -> list[str]:
    """Apply what is missing and return the names. Raises ChangedMigration; leaves no half-applied file behind."""
    connection = await connect_postgres(url, application="poindexter-migrate")
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations"
            " (name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        waiting = await pending_migrations(connection)
        for migration in waiting:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)", migration.name, migration.checksum
                )
        return [migration.name for migration in waiting]
    finally:
        await connection.close()  # Ends the session and with it the lock.


async def unknown_migrations(connection: asyncpg.Connection) -> list[str]:
    """What a newer version has applied to this database, oldest first. We can work with it, and must not undo it."""
    known = {migration.name for migration in migrations()}
    rows = await connection.fetch("SELECT name FROM schema_migrations ORDER BY name")
    return [row["name"] for row in rows if row["name"] not in known]


async def pending_migrations(connection: asyncpg.Connection) -> list[Migration]:
    """What this database lacks, oldest first. Raises ChangedMigration."""
    rows = await connection.fetch("SELECT name, checksum FROM schema_migrations")
    applied = {row["name"]: row["checksum"] for row in rows}
    for migration in migrations():
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise ChangedMigration(f"{migration.name} was applied with other contents; add a new file instead")
    return [migration for migration in migrations() if migration.name not in applied]
