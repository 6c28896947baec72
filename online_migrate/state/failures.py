"""Rows that a data migration could not migrate."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.state.tables import failure, now
from online_migrate.state.told import storable


def key_hash(encoded_key: str) -> str:
    """Returns the hash by which a key is found: a key can be longer than an index entry may be."""
    return hashlib.sha256(encoded_key.encode()).hexdigest()


def record_failures(connection: Connection, name: str, run: str, failures: Mapping[str, str]) -> None:
    """Records rows as failed in this *run*, in the transaction of their chunk.

    *failures*: encoded key -> error.
    """
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


def reset_failures(connection: Connection, name: str) -> None:
    """Removes the run from the failed rows of data migration *name*, so that any run of it retries them."""
    connection.execute(sa.update(failure).where(failure.c.name == name).values(run=""))


def forget_failures(connection: Connection, name: str, encoded_keys: Iterable[str]) -> None:
    """Deletes the failure records of rows that have been migrated or no longer exist."""
    hashes = [key_hash(key) for key in encoded_keys]
    for start in range(0, len(hashes), 500):
        connection.execute(
            sa.delete(failure).where(
                failure.c.name == name, failure.c.key_hash.in_(hashes[start : start + 500])
            )
        )


def failed_keys(connection: Connection, name: str, *, run: str | None = None) -> list[tuple[str, str, str]]:
    """Returns (encoded key, error, run) of the rows recorded as failed; only those of *run*, if given."""
    query = sa.select(failure.c.row_key, failure.c.error, failure.c.run).where(failure.c.name == name)
    if run is not None:
        query = query.where(failure.c.run == run)
    return [(row.row_key, row.error, row.run) for row in connection.execute(query)]
