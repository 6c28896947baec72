"""An effect of a DDL statement: an object of the catalog that is there afterwards, or is gone. Pure.

Effects are data: the journal stores them before a statement is sent, with what the catalog said of each.
After an interruption the catalog is read again, and :func:`judge` compares.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from online_migrate.sql.parse import READERS


@dataclasses.dataclass(frozen=True)
class Effect:
    """One object, as it is after the statement."""

    object: str
    """``table``, ``view``, ``column``, ``index``, ``constraint``, ``foreign key``, ``check``,
    ``primary key``, ``trigger``, ``routine``, ``sequence``, ``type``, ``enum value``."""
    name: str
    """Empty where the server chooses the name."""
    table: str | None = None
    schema: str | None = None
    present: bool = True
    changed: bool = False
    """It was there before; *facts* say what changes."""
    guarded: bool = False
    """IF EXISTS or IF NOT EXISTS: where the effect holds, the statement does nothing."""
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What is known of the object; only values that JSON has."""

    def __str__(self) -> str:
        place = f" of {self.table}" if self.table and self.object != "table" else ""
        return f"{self.object}{' ' + self.name if self.name else ''}{place}"


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a statement does to the catalog, as far as it is read."""

    effects: tuple[Effect, ...] = ()
    atomic: bool = False
    """A server that answers with an error has done nothing of it."""
    repeatable: bool = False
    """Sending it twice is the same as sending it once."""

    def to_data(self) -> dict[str, Any]:
        """For the journal."""
        return dataclasses.asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Expected:
        """What :meth:`to_data` gave."""
        effects = tuple(Effect(**effect) for effect in data["effects"])
        return cls(effects, bool(data["atomic"]), bool(data["repeatable"]))


class Verdict(enum.Enum):
    """What the catalog shows of a statement that was begun."""

    DONE = "done"
    NOT_DONE = "not done"
    UNDECIDED = "undecided"


def judge(before: Sequence[bool | None], now: Sequence[bool | None]) -> Verdict:
    """The verdict on a statement whose effects held as *before* when it was sent, and hold as *now*.

    None: could not be read. Only effects that did not hold before prove anything. A statement is applied
    whole or not at all, so they must agree.
    """
    proofs = {after for earlier, after in zip(before, now, strict=True) if earlier is False}
    if proofs == {True}:
        return Verdict.DONE
    return Verdict.NOT_DONE if proofs == {False} else Verdict.UNDECIDED


def holds(effect: Effect, found: Mapping[str, Any] | None, server: str) -> bool | None:
    """True if the object that was *found* (None: there is none) is as *effect* says; None: undecidable."""
    if not effect.present:
        return found is None
    if found is None:
        return None if effect.changed else False
    if found.get("valid") is False:
        return False
    answers = [_same(name, wanted, found, server) for name, wanted in effect.facts.items()]
    if effect.changed:
        if False in answers:
            return False
        return True if True in answers else None
    # A new object that looks otherwise was made by something else.
    return None if False in answers else True


def _same(name: str, wanted: Any, found: Mapping[str, Any], server: str) -> bool | None:
    if name not in found:
        return None
    value = found[name]
    if name == "type":
        return same_type(wanted, value, server)
    if name == "default":
        return same_default(wanted, value, found.get("type"), server)
    if name == "columns":
        return _same_columns(wanted, value)
    if name == "includes":
        return {column.lower() for column in wanted} <= {column.lower() for column in value}
    if name == "nullable" and wanted and found.get("primary"):
        return None
    if name == "charset" and str(wanted).lower() == "utf8":
        return None
    if isinstance(wanted, str) and isinstance(value, str) and name != "comment":
        return wanted.lower() == value.lower()
    return bool(wanted == value)


def _same_columns(wanted: Sequence[Any], found: Sequence[Any]) -> bool | None:
    """Columns of a key: a name, or a name and the length of its prefix; None is an expression."""
    if len(wanted) != len(found):
        return False
    for one, other in zip(wanted, found, strict=True):
        if one[0] is None or other[0] is None:
            continue
        if one[0].lower() != other[0].lower() or (one[1] is not None and one[1] != other[1]):
            return False
    return True


# --- types ---------------------------------------------------------------------------------------

_INTEGERS = frozenset({"TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT"})
_UNSIGNED = frozenset({"UTINYINT", "USMALLINT", "UMEDIUMINT", "UINT", "UBIGINT"})
_PLAIN = frozenset(
    {"DATE", "DOUBLE", "TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT", "TINYBLOB", "BLOB", "MEDIUMBLOB"}
    | {"LONGBLOB", "JSON", "JSONB", "UUID", "BOOLEAN"}
)
_WITH_LENGTH = {"CHAR": "1", "BINARY": "1", "BIT": "1", "DATETIME": "0", "TIME": "0", "VARCHAR": ""}
_WITH_LENGTH |= {"TIMESTAMP": "0", "TIMESTAMPTZ": "0", "VARBINARY": ""}
_LISTS = frozenset({"ENUM", "SET"})
_TEXTS = frozenset({"CHAR", "VARCHAR", "ENUM", "TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT"})


def same_type(wanted: str, found: str, server: str) -> bool | None:
    """True if both are names of one type; None where that is not known."""
    one, other = _plain_type(wanted, server), _plain_type(found, server)
    if one is None or other is None:
        return None
    return one == other


def _plain_type(text: str, server: str) -> tuple[str, ...] | None:
    """A type without what its name may leave out: ``int(11)`` is ``integer``."""
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        kind = exp.DataType.build(text, dialect=READERS[server])
    except (SqlglotError, ValueError):
        return None
    # Older versions of sqlglot call the class of its names otherwise; the names are the same.
    name = str(getattr(kind.this, "name", kind.this))
    parameters = tuple(str(parameter.name) for parameter in kind.expressions)
    return _shortest(name, parameters, server)


def _shortest(name: str, parameters: tuple[str, ...], server: str) -> tuple[str, ...] | None:
    if READERS[server] == "mysql":
        name = {"BOOLEAN": "TINYINT"}.get(name, name)
    if server == "mariadb":
        name = {"JSON": "LONGTEXT"}.get(name, name)
    if name in _INTEGERS | _UNSIGNED:
        return (name,)
    if name == "DECIMAL":
        if READERS[server] != "mysql" and not parameters:
            return (name,)
        return (name, *parameters, *("10", "0")[len(parameters) :])
    if name in _LISTS or (name in _PLAIN and not parameters):
        return (name, *parameters)
    if name in _WITH_LENGTH and len(parameters) < 2:
        default = _WITH_LENGTH[name] if READERS[server] == "mysql" or name in ("CHAR", "BIT") else ""
        return (name, *(parameters or (default,)))
    return None


# --- defaults ------------------------------------------------------------------------------------

_CAST = re.compile(r"^(.*)::[\w .\"]+(\(\d+\))?$", re.DOTALL)
_NOW = frozenset({"CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP()", "NOW()"})


def same_default(wanted: str | None, found: str | None, column_type: str | None, server: str) -> bool | None:
    """True if both are texts of one default; None where that is not known."""
    one, other = _plain_default(wanted), _plain_default(found)
    if one == other:
        return True
    kind = _plain_type(column_type, server) if column_type else None
    if one is None or other is None:
        # Some servers give a TIMESTAMP a default that its definition does not say.
        return None if kind is None or kind[0] in ("TIMESTAMPTZ", "TIMESTAMP") else False
    both_numbers = isinstance(one, Decimal) and isinstance(other, Decimal)
    return False if both_numbers or (kind is not None and kind[0] in _TEXTS) else None


def _plain_default(text: str | None) -> str | Decimal | None:
    if text is None or text.strip().upper() == "NULL":
        return None
    plain = text.strip()
    cast = _CAST.match(plain)
    plain = cast[1] if cast else plain
    if plain.upper() in _NOW:
        return "CURRENT_TIMESTAMP"
    if len(plain) > 1 and plain[0] == plain[-1] == "'":
        plain = plain[1:-1].replace("''", "'")
    if plain.lower() in ("true", "false"):
        return Decimal(plain.lower() == "true")
    try:
        return Decimal(plain).normalize()
    except InvalidOperation:
        return plain
