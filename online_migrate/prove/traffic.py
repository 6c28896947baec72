"""The traffic of one version: its mapped classes insert, select, update, delete and load relationships."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event, orm

from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.exceptions import OnlineMigrateError
from online_migrate.prove.inserts import Inserts, settable
from online_migrate.prove.models import Version, table_name
from online_migrate.prove.rows import Values
from online_migrate.prove.sync_checks import HINTS
from online_migrate.prove.written import Key, WrittenRow, WrittenRows, columns_of, key_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

_LOADED_AT_MOST = 200
_NOT_LOADED_BY_OPTION = ("dynamic", "write_only", "noload", "raise", "raise_on_sql")


@dataclasses.dataclass(frozen=True)
class Broken:
    """An operation of a version that failed, or a value that was not read as written."""

    check: str
    version: str
    class_name: str
    table: str
    operation: str
    reason: str
    statement: str = ""
    hint: str = ""


class Traffic:
    """Runs the operations of one version. *values*: shared by the versions."""

    def __init__(self, engine: Engine, version: Version, values: Values) -> None:
        self.version = version
        self.operations = 0
        """The number of operations that were run."""
        self._engine = engine
        self._values = values
        self._inserts = Inserts(version, values)
        self._statement = ""
        event.listen(engine, "before_cursor_execute", self._remember)

    def close(self) -> None:
        """Stops listening to the engine."""
        event.remove(self._engine, "before_cursor_execute", self._remember)

    def _remember(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self._statement = statement

    # --- operations ------------------------------------------------------------------------------

    def write(self, written: WrittenRows) -> Iterator[Broken]:
        """Inserts rows of each class."""
        for mapper in self._writable():
            for variant in self._inserts.variants(mapper):
                yield from self._run(
                    mapper,
                    variant.operation,
                    functools.partial(self._inserts.insert, mapper=mapper, variant=variant, written=written),
                )
                yield from self._in_step(mapper, variant.operation, written)

    def read(self, written: WrittenRows) -> Iterator[Broken]:
        """Selects the rows of each class, compares what was written, and loads each relationship."""
        for mapper in self.version.mappers:
            seen: list[Broken] = []
            yield from self._run(
                mapper,
                "select",
                functools.partial(self._select, mapper=mapper, written=written, differing=seen),
            )
            yield from {found.operation: found for found in seen}.values()
            for relationship in mapper.relationships:
                for name, load in _loads(relationship):
                    yield from self._run(
                        mapper,
                        f"load {relationship.key} ({name})",
                        functools.partial(load, mapper=mapper),
                    )

    def update(self, written: WrittenRows) -> Iterator[Broken]:
        """Updates a row of each version in each table."""
        for mapper in self._writable():
            for key in _one_of_each_version(written.of(mapper)):
                yield from self._run(
                    mapper, "update", functools.partial(self._update, mapper=mapper, key=key, written=written)
                )
                yield from self._in_step(mapper, "update", written)

    def delete(self, written: WrittenRows) -> Iterator[Broken]:
        """Deletes a row of each version in each table, to which no mapped row refers."""
        for mapper in reversed(self._writable()):
            rows = written.of(mapper)
            tables = self.version.table_names
            free = {key: row for key, row in rows.items() if not row.referenced_by & tables}
            referenced = {key: row for key, row in free.items() if row.referenced_by}
            lone = {key: row for key, row in free.items() if not row.referenced_by}
            for key in [*_one_of_each_version(lone), *_one_of_each_version(referenced)]:
                yield from self._run(
                    mapper, "delete", functools.partial(self._delete, mapper=mapper, key=key, written=written)
                )

    # --- one operation ---------------------------------------------------------------------------

    def _writable(self) -> list[orm.Mapper[Any]]:
        """Returns the mappers of classes that have rows of their own."""
        abstract = [m for m in self.version.mappers if m.polymorphic_on is not None]
        without = {m for m in abstract if m.polymorphic_identity is None}
        return [mapper for mapper in self.version.mappers if mapper not in without]

    def _run(
        self, mapper: orm.Mapper[Any], operation: str, function: Callable[[orm.Session], object]
    ) -> Iterator[Broken]:
        """Runs an operation in a transaction, and yields its failure."""
        self.operations += 1
        self._statement = ""
        try:
            with orm.Session(self._engine, autoflush=False) as session, session.begin():
                function(session)
        except OnlineMigrateError:
            raise
        except Exception as error:  # noqa: BLE001 - code of the application may raise anything
            statement = getattr(error, "statement", None) or self._statement
            yield self._broken(
                "statement-breaks", mapper, operation, _said(error), " ".join(statement.split())
            )

    def _in_step(self, mapper: orm.Mapper[Any], operation: str, written: WrittenRows) -> Iterator[Broken]:
        """Yields the syncs whose two shapes do not agree in the rows that an operation has written."""
        with self._engine.connect() as connection:
            for check, sync, reason in written.not_in_step(connection):
                broken = self._broken(check, mapper, f"{operation}, sync {sync}", reason)
                yield dataclasses.replace(broken, hint=HINTS[check])

    def _broken(
        self, check: str, mapper: orm.Mapper[Any], operation: str, reason: str, statement: str = ""
    ) -> Broken:
        return Broken(
            check,
            self.version.name,
            mapper.class_.__name__,
            table_name(mapper.local_table),
            operation,
            reason,
            statement,
        )

    def _select(
        self, session: orm.Session, mapper: orm.Mapper[Any], written: WrittenRows, differing: list[Broken]
    ) -> None:
        """Selects the last rows, and adds those values to *differing* that are not as written."""
        order = [column.desc() for column in mapper.primary_key]
        query = sa.select(mapper.class_).order_by(*order).limit(_LOADED_AT_MOST)
        for loaded in session.scalars(query).unique():
            for column, wrote, read in written.differing(mapper, loaded):
                row = written.of(mapper)[key_of(mapper, loaded)]
                reason = f"{row.version} wrote {wrote!r} to {column}, {self.version.name} reads {read!r}"
                differing.append(self._broken("value-differs", mapper, f"read {column}", reason))

    def _update(self, session: orm.Session, mapper: orm.Mapper[Any], key: Key, written: WrittenRows) -> None:
        loaded = _find(session, mapper, key)
        if loaded is None:
            return
        number, columns = self._values.next(), dict(settable(mapper))
        row = {column.name: self._values.value(column, number, number) for column in columns.values()}
        changed = self._values.change(table_name(mapper.local_table), row)
        if changed is None:
            return
        for attribute, column in columns.items():
            if column.name in changed:
                setattr(loaded, attribute, changed[column.name])
        state = orm.attributes.instance_state(loaded)
        sent = [
            column
            for attribute, column in columns_of(mapper)
            if column.onupdate is not None or state.attrs[attribute].history.has_changes()
        ]
        session.flush()
        written.updated(mapper, loaded, key, changed, sent)

    def _delete(self, session: orm.Session, mapper: orm.Mapper[Any], key: Key, written: WrittenRows) -> None:
        loaded = _find(session, mapper, key)
        if loaded is not None:
            session.delete(loaded)
            session.flush()
        del written.of(mapper)[key]


def _find(session: orm.Session, mapper: orm.Mapper[Any], key: Key) -> object | None:
    """Returns the object with *key*, whose parts are texts; None: the version does not see the row."""
    for loaded in session.scalars(sa.select(mapper.class_)).unique():
        if key_of(mapper, loaded) == key:
            found: object = loaded
            return found
    return None


def _one_of_each_version(rows: dict[Key, WrittenRow]) -> list[Key]:
    return list({row.version: key for key, row in rows.items()}.values())


def _loads(
    relationship: orm.RelationshipProperty[Any],
) -> Iterator[tuple[str, Callable[..., object]]]:
    """Yields the ways to load a relationship."""
    name = relationship.key

    def by_attribute(session: orm.Session, mapper: orm.Mapper[Any]) -> None:
        for loaded in session.scalars(sa.select(mapper.class_).limit(5)).unique():
            held = getattr(loaded, name)
            if relationship.lazy == "write_only":
                session.scalars(held.select()).all()
            elif relationship.uselist:
                list(held)

    def by(option: Callable[[Any], Any]) -> Callable[..., object]:
        def load(session: orm.Session, mapper: orm.Mapper[Any]) -> None:
            attribute = getattr(mapper.class_, name)
            session.scalars(sa.select(mapper.class_).options(option(attribute))).unique().all()

        return load

    if relationship.lazy in ("dynamic", "write_only"):
        yield "attribute", by_attribute
        return
    if relationship.lazy not in _NOT_LOADED_BY_OPTION:
        yield "attribute", by_attribute
    yield "select", by(orm.selectinload)
    yield "joined", by(orm.joinedload)


def _said(error: Exception) -> str:
    """Returns the error of the server, or of the application's code, on one line."""
    if isinstance(error, DATABASE_ERRORS):
        return error_message(error)
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}"
