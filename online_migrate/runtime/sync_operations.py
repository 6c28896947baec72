"""``op.create_sync`` and ``op.drop_sync``, operations of Alembic for scripts.

While a revision is applied, what the operations change is recorded when its script has ended, in the
transaction that writes the version row: under the lock of a contract revision no other table can be written.
A revision that was killed is run again from its first operation, so nothing is forgotten.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alembic.operations import MigrateOperation, Operations

from online_migrate import exceptions, state
from online_migrate.ddl.script_access import own_access
from online_migrate.dialects import Dialect, dialect_of
from online_migrate.dialects.base import OWN_STATEMENT, dialect_named
from online_migrate.dialects.facets.sync_triggers import SyncShape
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.phases.known import KnownSchema, Server
from online_migrate.phases.schema import VirtualSchema
from online_migrate.phases.script import read
from online_migrate.phases.sync_statements import remember
from online_migrate.runtime.catalog_schema import CatalogSchema
from online_migrate.sql.operations.operation import Unrecognized
from online_migrate.sql.operations.parts import Name
from online_migrate.state import RecordedSync
from online_migrate.sync.definition import SyncDefinition
from online_migrate.sync.expressions import Expression
from online_migrate.sync.recorded import as_recorded, record
from online_migrate.sync.refusals import refuse_unsuitable

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass
class SyncScope:
    """What the operations of one revision know, and what they change.

    *recorded*: the syncs before the revision. *known*: what is known of the schema before it, where a script
    is only rendered. *server*: the product; None: that of Alembic's dialect. *rendered*: the statements so
    far. *changes*: the syncs that were created, None for one that was dropped.
    """

    recorded: Mapping[str, RecordedSync] = dataclasses.field(default_factory=dict)
    known: KnownSchema | None = None
    server: str | None = None
    rendered: Callable[[], Iterable[str]] = tuple
    changes: dict[str, SyncShape | None] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, connection: Connection) -> SyncScope:
        """Returns the scope for a database."""
        recorded = {sync.name: sync for sync in state.recorded_syncs(connection)}
        return cls(recorded, CatalogSchema(connection), dialect_of(connection).name)

    def schema(self, server: Server) -> KnownSchema:
        """Returns the schema after the statements so far."""
        schema = VirtualSchema(self.known)
        for text in self.rendered():
            for operation in read(text, server) or (Unrecognized(what=text),):
                schema.apply(operation)
        return schema

    def record(self, connection: Connection, revision: str) -> None:
        """Records the changes, after the script of *revision*."""
        for name, shape in self.changes.items():
            if shape is None:
                state.remove_sync(connection, name)
            else:
                record(connection, shape, revision)


_scope: contextvars.ContextVar[SyncScope | None] = contextvars.ContextVar("sync_scope", default=None)
_tables: dict[str, tuple[str, str | None, str | None]] = {}
"""The table, the schema and the other table of each sync that was created or rendered in this process."""


@contextlib.contextmanager
def sync_scope(scope: SyncScope) -> Iterator[SyncScope]:
    """The operations inside the block use *scope*."""
    token = _scope.set(scope)
    try:
        yield scope
    finally:
        _scope.reset(token)


@Operations.register_operation("create_sync")
class CreateSync(MigrateOperation):
    """Creates the triggers that keep two shapes of a table in step."""

    def __init__(self, definition: SyncDefinition) -> None:
        self.definition = definition

    @classmethod
    def create_sync(
        cls,
        operations: Operations,
        name: str,
        table: str,
        *,
        forward: Mapping[str, Expression],
        backward: Mapping[str, Expression],
        to: str | None = None,
        key: Mapping[str, str] | None = None,
        schema: str | None = None,
    ) -> None:
        """Creates sync *name* on *table*.

        *forward*: by column of the new shape, its value from columns of the old shape. *backward*: by column
        of the old shape, its value from columns of the new one. A value is an expression of SQLAlchemy, a
        text, or a dictionary of texts by server (postgresql, mysql, mariadb, sqlite). *to*: the table of the
        new shape, if it is another one. *key*: by column of its key, the column of *table*.
        """
        definition = SyncDefinition(name, Name(table, schema), forward, backward, to, key or {})
        operations.invoke(cls(definition))


@Operations.register_operation("drop_sync")
class DropSync(MigrateOperation):
    """Drops the triggers of a sync."""

    def __init__(self, name: str, table: str | None, to: str | None, schema: str | None) -> None:
        self.name = name
        self.table = table
        self.to = to
        self.schema = schema

    @classmethod
    def drop_sync(
        cls,
        operations: Operations,
        name: str,
        table: str | None = None,
        *,
        to: str | None = None,
        schema: str | None = None,
    ) -> None:
        """Drops sync *name*. *table*, *to*, *schema*: needed only if the sync is not recorded."""
        operations.invoke(cls(name, table, to, schema))


@Operations.implementation_for(CreateSync)
def _create(operations: Operations, operation: CreateSync) -> None:
    definition = operation.definition
    connection = operations.get_bind() if not operations.get_context().as_sql else None
    scope = _scope.get() or SyncScope()
    dialect = _dialect(operations, scope)
    if connection is None:
        with own_access():
            schema = scope.schema(Server(dialect.name))
            shape = definition.shape(dialect.name, schema.column)
    else:
        with _own_statements(connection):
            shape = _checked(definition, dialect, connection, scope)
    statements = dialect.sync_statements(shape)
    remember(statements, definition)
    _tables[shape.name] = (shape.table, shape.schema, shape.target)
    _send(operations, connection, statements, definition)
    scope.changes[shape.name] = shape
    if connection is not None and _scope.get() is None and state.has_sync_table(connection):
        record(connection, shape, None)


def _checked(
    definition: SyncDefinition, dialect: Dialect, connection: Connection, scope: SyncScope
) -> SyncShape:
    """Returns the sync for the database. Raises :class:`~online_migrate.sync.definition.SyncRefused`."""
    catalog = CatalogSchema(connection)
    shape = definition.shape(dialect.name, catalog.column)
    others = {name: sync for name, sync in scope.recorded.items() if name not in scope.changes}
    for name, change in scope.changes.items():
        if change is not None:
            others[name] = as_recorded(connection, change, None)
    refuse_unsuitable(definition, shape, connection, others.values())
    return dataclasses.replace(shape, row_key=dialect.sync_row_key(connection, shape.table, shape.schema))


@Operations.implementation_for(DropSync)
def _drop(operations: Operations, operation: DropSync) -> None:
    connection = operations.get_bind() if not operations.get_context().as_sql else None
    scope = _scope.get() or SyncScope()
    dialect = _dialect(operations, scope)
    table, schema, target = _table_of(operation, scope)
    for statement in dialect.drop_sync_statements(operation.name, table, schema, target):
        _execute(operations, connection, statement)
    scope.changes[operation.name] = None
    if connection is not None and _scope.get() is None and state.has_sync_table(connection):
        state.remove_sync(connection, operation.name)


def _table_of(operation: DropSync, scope: SyncScope) -> tuple[str, str | None, str | None]:
    """Returns the table, the schema and the other table of a sync."""
    if operation.table is not None:
        return operation.table, operation.schema, operation.to
    sync = scope.recorded.get(operation.name)
    if sync is not None:
        other = None if sync.target is None else str(sync.target["table"])
        return sync.table_name, sync.table_schema, other
    if operation.name in _tables:
        return _tables[operation.name]
    raise exceptions.Refused(
        reason=f"sync {operation.name!r} is not recorded, so its table is not known",
        hint=f'give it: op.drop_sync("{operation.name}", "TABLE")',
    )


def _dialect(operations: Operations, scope: SyncScope) -> Dialect:
    context = operations.get_context()
    if not context.as_sql:
        return dialect_of(operations.get_bind())
    return dialect_named(scope.server or context.dialect.name)


@contextlib.contextmanager
def _own_statements(connection: Connection) -> Iterator[None]:
    """The queries inside the block are the engine's, not those of the script."""
    connection.info[OWN_STATEMENT] = True
    try:
        yield
    finally:
        connection.info.pop(OWN_STATEMENT, None)


def _send(
    operations: Operations,
    connection: Connection | None,
    statements: Sequence[str],
    definition: SyncDefinition,
) -> None:
    for statement in statements:
        try:
            _execute(operations, connection, statement)
        except DATABASE_ERRORS as error:
            needed = None
            if connection is not None:
                needed = dialect_of(connection).sync_privilege(connection, error, str(definition.table))
            if needed is None:
                raise
            raise definition.refused(
                f"this account may not create its triggers ({error_message(error)})", needed
            ) from error


def _execute(operations: Operations, connection: Connection | None, statement: str) -> None:
    """Sends a statement as it is: a colon is no parameter, a percent sign no placeholder."""
    if connection is None:
        impl: Any = operations.get_context().impl
        impl.static_output(statement + impl.command_terminator)
        return
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
