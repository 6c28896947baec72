"""A case of the corpus: a script for each server, its expected verdicts, and the harm that it does."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

from online_migrate.phases.verdict import Place

PG = "postgresql"
MY = "mysql"
MA = "mariadb"
LITE = "sqlite"
SERVERS = (PG, MY, MA, LITE)


class Effect(enum.Enum):
    """What a refused script does to old code or to its data."""

    BREAKS = "a statement of the old code fails"
    WRONG = "a statement of the old code has another result"
    LOST = "a SELECT of the old code returns fewer rows"
    REWRITE = "the table is copied, and its writers wait for the copy"
    SCANS = "all rows of the table are read while its writers wait (PostgreSQL)"
    BLOCKS = "a statement of the old code times out while the script's session is open"
    FAILS = "the script fails on the existing rows, or the server does not know the statement"


@dataclasses.dataclass(frozen=True)
class Harm:
    """A harm. *what*: the key of the old code's statement, a table, or a part of the server's message."""

    effect: Effect
    what: str


def breaks(statement: str) -> Harm:
    return Harm(Effect.BREAKS, statement)


def wrong(statement: str) -> Harm:
    return Harm(Effect.WRONG, statement)


def lost(statement: str) -> Harm:
    return Harm(Effect.LOST, statement)


def rewrite(table: str) -> Harm:
    return Harm(Effect.REWRITE, table)


def scans(table: str) -> Harm:
    return Harm(Effect.SCANS, table)


def blocks(statement: str) -> Harm:
    return Harm(Effect.BLOCKS, statement)


def fails(message: str) -> Harm:
    return Harm(Effect.FAILS, message)


@dataclasses.dataclass(frozen=True)
class Case:
    """*servers*: a script for each server; *rules*: the rule of each operation of the script, in order.

    *place*: the place of the script: that of its operation with the strictest verdict. *harm*: shown by the
    server, None for a script that expand may execute. *base*: the name of the schema and of its old code.
    """

    id: str
    servers: Mapping[str, str]
    rules: tuple[str, ...]
    place: Place
    harm: Harm | None = None
    base: str = "cinder"

    @property
    def additive(self) -> bool:
        """True if expand may execute the script."""
        return self.place in (Place.ANYWHERE, Place.EXPAND)

    def __str__(self) -> str:
        return self.id


def allowed(
    id: str, servers: Mapping[str, str], *rules: str, place: Place = Place.EXPAND, base: str = "cinder"
) -> Case:
    """Returns a case that expand may execute."""
    return Case(id, servers, rules, place, base=base)


def refused(
    id: str,
    servers: Mapping[str, str],
    *rules: str,
    harm: Harm,
    place: Place = Place.CONTRACT,
    base: str = "cinder",
) -> Case:
    """Returns a case that expand refuses."""
    return Case(id, servers, rules, place, harm, base)


def everywhere(script: str) -> dict[str, str]:
    """Returns the same script for all servers."""
    return dict.fromkeys(SERVERS, script)


def on(script: str, *servers: str) -> dict[str, str]:
    """Returns the same script for *servers*."""
    return dict.fromkeys(servers, script)
