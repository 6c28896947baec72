"""The mistakes of ``--break``, which the ledger has to show."""

from __future__ import annotations

from types import ModuleType

import sqlalchemy as sa
from database import repeated


class NewestPins:
    """The mistake of ``--break pins``: what the own release understands is sent, whatever else runs."""

    def __init__(self, release: ModuleType) -> None:
        self._versions = release.VERSIONS["volume-volume"]

    def pin(self, name: str) -> str:
        """Returns the newest version."""
        return self._versions[name]


def has_pending_rows(engine: sa.Engine) -> bool:
    """Returns True if the old column has a value that the new one lacks."""
    pending = "size_bytes IS NULL OR size_bytes / 1073741824 <> size"
    with engine.connect() as connection:
        return bool(connection.scalar(sa.text(f"SELECT count(*) FROM volumes WHERE {pending}")))


def force_contract(engine: sa.Engine) -> None:
    """The mistake of ``--break contract``: the old column is dropped while an old process runs."""

    def drop() -> None:
        with engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE volumes DROP COLUMN size"))

    repeated(drop)
