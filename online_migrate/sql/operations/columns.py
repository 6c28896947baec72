"""Reads the definition of a column, by an allow-list of its clauses. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from online_migrate.sql.lexer import MYSQL
from online_migrate.sql.operations.constraints import read_check, read_reference, take_attributes
from online_migrate.sql.operations.cursor import Cursor
from online_migrate.sql.operations.expressions import expression, take_default
from online_migrate.sql.operations.parts import Column, Constraint, ConstraintKind, Expression, SqlType
from online_migrate.sql.operations.types import NO_TYPE_IN_SQLITE, read_type


@dataclasses.dataclass
class Draft:
    """A column while its definition is read."""

    name: str
    type: SqlType | None = None
    nullable: bool = True
    default: Expression | None = None
    on_update: bool = False
    generated: Expression | None = None
    stored: bool = False
    identity: bool = False
    collation: str | None = None
    comment: str | None = None
    invisible: bool = False
    constraints: list[Constraint] = dataclasses.field(default_factory=list)
    constraint_name: str | None = None
    """The name that the next constraint of the column gets."""

    def column(self) -> Column:
        """Returns the column."""
        facts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del facts["constraint_name"]
        return Column(**facts | {"constraints": tuple(self.constraints)})

    def add(self, kind: ConstraintKind, cursor: Cursor) -> None:
        """Adds a constraint of this column, whose attributes come next."""
        found = take_attributes(cursor)
        self.append(
            Constraint(
                kind=kind,
                columns=(self.name,),
                not_valid=found.not_valid,
                not_enforced=found.not_enforced,
                included=found.included,
            )
        )

    def append(self, constraint: Constraint) -> None:
        """Adds a constraint under the name that was given before it."""
        self.constraints.append(dataclasses.replace(constraint, name=self.constraint_name))
        self.constraint_name = None


def read_column(cursor: Cursor) -> Column:
    """Consumes the definition of a column, up to a word with which no clause begins."""
    draft = Draft(cursor.name())
    if _has_type(cursor):
        declared = read_type(cursor)
        draft.type = declared.type
        if declared.serial:
            draft.identity, draft.nullable = True, False
            if cursor.server in MYSQL:
                draft.append(Constraint(kind=ConstraintKind.UNIQUE, columns=(draft.name,)))
    take_clauses(cursor, draft)
    return draft.column()


def _has_type(cursor: Cursor) -> bool:
    if cursor.server == "sqlite":
        return cursor.names and cursor.next not in NO_TYPE_IN_SQLITE
    return not (cursor.server == "postgresql" and cursor.take("WITH", "OPTIONS"))


def take_clauses(cursor: Cursor, draft: Draft) -> None:
    """Consumes the clauses of a column, up to a word with which no clause begins."""
    clauses = _CLAUSES[cursor.server]
    while cursor.next in clauses:
        clauses[cursor.next](cursor, draft)


# --- clauses of every server ----------------------------------------------------------------------


def _constraint(cursor: Cursor, draft: Draft) -> None:
    cursor.expect("CONSTRAINT")
    if cursor.server in MYSQL and cursor.next == "CHECK":
        return
    draft.constraint_name = cursor.name()


def _not(cursor: Cursor, draft: Draft) -> None:
    cursor.expect("NOT", "NULL")
    draft.nullable, draft.constraint_name = False, None
    take_attributes(cursor)


def _null(cursor: Cursor, draft: Draft) -> None:
    cursor.expect("NULL")
    draft.constraint_name = None
    take_attributes(cursor)


def _default(cursor: Cursor, draft: Draft) -> None:
    cursor.expect("DEFAULT")
    draft.default, draft.constraint_name = take_default(cursor), None


def _primary(cursor: Cursor, draft: Draft) -> None:
    cursor.expect("PRIMARY", "KEY")
    _key(cursor, draft)


def _key(cursor: Cursor, draft: Draft) -> None:
    """Consumes what follows PRIMARY KEY; MySQL and MariaDB: KEY alone has the same meaning."""
    cursor.take("KEY")
    cursor.any_of("ASC", "DESC")
    draft.nullable = False
    draft.add(ConstraintKind.PRIMARY_KEY, cursor)
    draft.identity |= cursor.take("AUTOINCREMENT")


def _unique(cursor: Cursor, draft: Draft) -> None:
    cursor.expect("UNIQUE")
    if cursor.server in MYSQL:
        cursor.take("KEY")
    if cursor.take("NULLS"):
        cursor.take("NOT")
        cursor.expect("DISTINCT")
    draft.add(ConstraintKind.UNIQUE, cursor)


def _check(cursor: Cursor, draft: Draft) -> None:
    cursor.expect("CHECK")
    found = read_check(cursor, None)
    draft.append(dataclasses.replace(found, columns=(draft.name,)))


def _references(cursor: Cursor, draft: Draft) -> None:
    cursor.expect("REFERENCES")
    referred = read_reference(cursor)
    draft.add(ConstraintKind.FOREIGN_KEY, cursor)
    draft.constraints[-1] = dataclasses.replace(draft.constraints[-1], referred=referred)


def _collate(cursor: Cursor, draft: Draft) -> None:
    cursor.expect("COLLATE")
    cursor.take("=")
    draft.collation = cursor.path().name if cursor.names else cursor.text()


def _generated(cursor: Cursor, draft: Draft) -> None:
    if cursor.take("GENERATED"):
        if cursor.take("BY", "DEFAULT"):
            cursor.take("ON", "NULL")
        else:
            cursor.expect("ALWAYS")
    cursor.expect("AS")
    if cursor.take("IDENTITY"):
        draft.identity, draft.nullable = True, False
        if cursor.next == "(":
            cursor.group()
        return
    draft.generated = expression(cursor.group().tokens, cursor.server)
    draft.stored = bool(cursor.any_of("STORED", "PERSISTENT"))
    if not draft.stored:
        cursor.take("VIRTUAL")


# --- clauses of one server ------------------------------------------------------------------------


def _storage(cursor: Cursor, draft: Draft) -> None:
    """Consumes a clause of one word and a value: where and how the values are stored."""
    cursor.token()
    cursor.take("=")
    cursor.value()


def _auto_increment(cursor: Cursor, draft: Draft) -> None:
    cursor.expect("AUTO_INCREMENT")
    draft.identity, draft.nullable = True, False


def _comment(cursor: Cursor, draft: Draft) -> None:
    cursor.expect("COMMENT")
    draft.comment = cursor.text()


def _on_update(cursor: Cursor, draft: Draft) -> None:
    cursor.expect("ON", "UPDATE")
    cursor.token()
    if cursor.next == "(":
        cursor.group()
    draft.on_update = True


def _visibility(cursor: Cursor, draft: Draft) -> None:
    draft.invisible = cursor.token().word == "INVISIBLE"


def _character_set(cursor: Cursor, draft: Draft) -> None:
    if not cursor.take("CHARSET"):
        cursor.expect("CHARACTER", "SET")
    charset = cursor.value().strip("'\"`").lower()
    if draft.type is None:
        raise cursor.fail()
    draft.type = dataclasses.replace(draft.type, charset=charset)


Clause = Callable[[Cursor, Draft], None]
_SHARED: Mapping[str, Clause] = {
    "CONSTRAINT": _constraint,
    "NOT": _not,
    "NULL": _null,
    "DEFAULT": _default,
    "PRIMARY": _primary,
    "UNIQUE": _unique,
    "CHECK": _check,
    "REFERENCES": _references,
    "COLLATE": _collate,
    "GENERATED": _generated,
}
_MYSQL: Mapping[str, Clause] = {
    **_SHARED,
    "AS": _generated,
    "KEY": _key,
    "AUTO_INCREMENT": _auto_increment,
    "COMMENT": _comment,
    "ON": _on_update,
    "VISIBLE": _visibility,
    "INVISIBLE": _visibility,
    "CHARACTER": _character_set,
    "CHARSET": _character_set,
    "SRID": _storage,
    "REF_SYSTEM_ID": _storage,
    "STORAGE": _storage,
    "COLUMN_FORMAT": _storage,
    "ENGINE_ATTRIBUTE": _storage,
    "SECONDARY_ENGINE_ATTRIBUTE": _storage,
}
_CLAUSES: Mapping[str, Mapping[str, Clause]] = {
    "postgresql": {**_SHARED, "STORAGE": _storage, "COMPRESSION": _storage},
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    "sqlite": {**_SHARED, "AS": _generated},
}
