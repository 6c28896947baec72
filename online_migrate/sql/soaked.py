"""The columns and tables of a contract revision under the names that they have while they soak. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from online_migrate.sql.classification.alter_table import read_alter_table
from online_migrate.sql.classification.verdict import Words, by_commas
from online_migrate.sql.lexer import MYSQL, Token
from online_migrate.sql.statement import drops_another, identifiers, statements, stored

PREFIX = "online_migrate_soak_"
_LONGEST = 63
"""Bytes of a name on PostgreSQL; MySQL and MariaDB allow 64 characters."""


def soak_name(name: str) -> str:
    """Returns the name of a column or a table while it soaks; a long one is shortened, with a digest."""
    whole = PREFIX + name
    if len(whole.encode()) <= _LONGEST:
        return whole
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    kept = whole.encode()[: _LONGEST - len(digest) - 1].decode(errors="ignore")
    return f"{kept}_{digest}"


@dataclasses.dataclass(frozen=True)
class SoakedObject:
    """A column, or a table if *column* is None, that a contract revision drops.

    *schema*: as the script names it. *restore*: the statement that makes the column NOT NULL again; None: it
    was left as it was.
    """

    table: str
    schema: str | None = None
    column: str | None = None
    restore: str | None = None

    @property
    def name(self) -> str:
        """The name that the rename changes."""
        return self.table if self.column is None else self.column

    @property
    def soaked(self) -> str:
        """The name while it soaks."""
        return soak_name(self.name)

    def __str__(self) -> str:
        table = ".".join(part for part in (self.schema, self.table) if part)
        return f"table {table}" if self.column is None else f"column {table}.{self.column}"

    def is_named(self, table: str, schema: str | None, column: str | None) -> bool:
        """Returns True if a statement that names *table* and *column* means this object."""
        if schema and self.schema and schema.casefold() != self.schema.casefold():
            return False
        return (self.table.casefold(), (self.column or "").casefold()) == (
            table.casefold(),
            (column or "").casefold(),
        )


@dataclasses.dataclass(frozen=True)
class SoakStep:
    """A statement of a soak. *locked*: False: it reads the table, and runs before the tables are locked."""

    sql: str
    locked: bool = True


@dataclasses.dataclass(frozen=True)
class DroppedObject:
    """A trigger that was dropped because it uses an object that soaks.

    *undo*: the statements that create it again.
    """

    statement: str
    undo: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Soaking:
    """What of a contract revision soaks."""

    objects: tuple[SoakedObject, ...] = ()
    dropped: tuple[DroppedObject, ...] = ()

    def as_fact(self) -> dict[str, Any]:
        """Returns the value that the bookkeeping table stores."""
        return dataclasses.asdict(self)

    @classmethod
    def of_fact(cls, fact: dict[str, Any]) -> Soaking:
        """Returns the object from the value that :meth:`as_fact` returned."""
        return cls(
            tuple(SoakedObject(**one) for one in fact["objects"]),
            tuple(DroppedObject(one["statement"], tuple(one["undo"])) for one in fact["dropped"]),
        )

    def translated(self, statement: str, server: str) -> str | None:
        """Returns *statement*, of the contract script, with the names that exist while the objects soak.

        None: it drops what was dropped when the soak began.
        """
        if _plain(statement) in {_plain(one.statement) for one in self.dropped}:
            return None
        replaced = {}
        for named in _names_in(statement, server):
            found = [one for one in self.objects if one.is_named(named.table, named.schema, named.column)]
            if found:
                replaced[named.token.end] = (named.token, found[0].soaked)
        for end, (token, new) in sorted(replaced.items(), reverse=True):
            statement = statement[: end - len(token.written)] + quoted(new, server) + statement[end:]
        return statement

    def uses(self, statement: str, server: str) -> SoakedObject | None:
        """Returns an object that *statement* names, after it was translated."""
        words = {word.casefold() for word in identifiers(statement, server)}
        for one in self.objects:
            if one.name.casefold() in words and one.table.casefold() in words:
                return one
        return None


@dataclasses.dataclass(frozen=True)
class NamedObject:
    """A table or a column that a statement names; *token*: the name itself. *dropped*: it is dropped."""

    table: str
    schema: str | None
    column: str | None
    token: Token
    dropped: bool


def dropped_names(statement: str, server: str) -> list[NamedObject]:
    """Returns the columns and tables that *statement* drops."""
    return [named for named in _names_in(statement, server) if named.dropped]


def quoted(name: str, server: str) -> str:
    """Returns *name* in quotes."""
    quote = "`" if server in MYSQL else '"'
    return quote + name.replace(quote, quote * 2) + quote


def _plain(statement: str) -> str:
    return " ".join(statement.split()).removesuffix(";").strip()


def _names_in(statement: str, server: str) -> Iterator[NamedObject]:
    for tokens in statements(statement, server):
        yield from _tables(tokens, server)
        altered = read_alter_table(tokens, server)
        if altered is None:
            continue
        table, schema = _table_of(altered.path, server)
        yield NamedObject(table, schema, None, altered.path[-1], dropped=False)
        for action in altered.actions:
            words = Words(action)
            if words.take("DROP") and not drops_another(words):
                words.take("COLUMN")
                words.take("IF", "EXISTS")
                path = words.path()
                if path:
                    yield NamedObject(table, schema, stored(path[-1], server), path[-1], dropped=True)


def _tables(tokens: Sequence[Token], server: str) -> Iterator[NamedObject]:
    words = Words(tokens)
    if words.take("DROP", "TABLE") or words.take("DROP", "TABLES"):
        words.take("IF", "EXISTS")
        for part in by_commas(words.rest):
            path = Words(part).path()
            if path:
                yield NamedObject(*_table_of(path, server), None, path[-1], dropped=True)
    elif words.take("DROP", "INDEX"):
        words.take("IF", "EXISTS")
        words.path()
        if words.take("ON"):
            path = words.path()
            if path:
                yield NamedObject(*_table_of(path, server), None, path[-1], dropped=False)


def _table_of(path: Sequence[Token], server: str) -> tuple[str, str | None]:
    names = [stored(token, server) for token in path]
    return names[-1], names[-2] if len(names) > 1 else None
