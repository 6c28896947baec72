"""Rows that a data migration could not migrate."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.state.tables import failure, now
from online_migrate.state.told import storable


def key_hash(encoded_key: str) -> str:
    """What a key is found by: a key can be longer than any index entry."""
    return hashlib.sha256(encoded_key.encode()).hexdigest()


def record_failures(connection: Connection, name: str, run: str, failures: Mapping[str, str]) -> None:
    """Records rows (encoded key: error) as failed in this *run*, in the transaction of their chunk."""
    if not failures:
        return
    forget_failures(connection, name, failures)
    connection.execute(
        sa.insert(failure),
        [
            {
                "name": name,
                "key_hash": key_hash(key),
                "row_key": key,
                "error": storable(connection, error),
                "run": run,
                "failed_at": now(),
            }
            for key, error in failures.items()
        ],
    )


def untry_failures(connection: Connection, name: str) -> None:
    """The rows that failed are tried again, by whoever is at *name*: they belong to no run any more."""
    connection.execute(sa.update(failure).where(failure.c.name == name).values(run=""))


def forget_failures(connection: Connection, name: str, encoded_keys: Iterable[str]) -> None:
    """Takes rows out of the list of failed ones: they are migrated, or gone."""
    hashes = [key_hash(key) for key in encoded_keys]
    for start in range(0, len(hashes), 500):
        connection.execute(
            sa.delete(failure).where(
                failure.c.name == name, failure.c.key_hash.in_(hashes[start : start + 500])
            )
        )


def failed_keys(connection: Connection, name: str, *, run: str | None = None) -> list[tuple[str, str, str]]:
    """(encoded key, error, run) of the rows recorded as failed, only those of *run* if given."""
    query = sa.select(failure.c.row_key, failure.c.error, failure.c.run).where(failure.c.name == name)
    if run is not None:
        query = query.where(failure.c.run == run)
    return [(row.row_key, row.error, row.run) for row in connection.execute(query)]
