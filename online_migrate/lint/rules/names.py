"""Names that a server cuts or refuses."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding, Severity
from online_migrate.sql.operations import operation as ops

_LIMITS = {"postgresql": 63, "mysql": 64, "mariadb": 64}


@script_rule(
    "name-too-long",
    servers={"postgresql": "", "mysql": "", "mariadb": ""},
    reason="{name!r} has {length} {unit}; {product} {does} names after {limit}.",
    replacement="a shorter name",
)
def name_too_long(script: Script) -> Iterator[Finding]:
    product = script.server.product
    limit = _LIMITS[product]
    postgresql = product == "postgresql"
    for step in script.steps:
        for name in _names(step.operation):
            length = len(name.encode()) if postgresql else len(name)
            if length > limit:
                yield step.finding(
                    name,
                    name=name,
                    length=length,
                    unit="bytes" if postgresql else "characters",
                    product=product,
                    does="cuts" if postgresql else "refuses",
                    limit=limit,
                )


def _names(operation: ops.Operation) -> Iterator[str]:
    """Returns the new names of an operation."""
    if isinstance(operation, ops.CreateTable):
        yield operation.table.name
        yield from (column.name for column in operation.columns)
        yield from (constraint.name for constraint in operation.constraints if constraint.name)
        yield from (index.name for index in operation.indexes if index.name)
    elif isinstance(operation, ops.AddColumn):
        yield operation.column.name
    elif isinstance(operation, ops.AddConstraint):
        yield operation.constraint.name or ""
    elif isinstance(operation, ops.CreateIndex):
        yield operation.index.name or ""
    elif isinstance(operation, ops.RenameColumn):
        yield operation.new
    elif isinstance(operation, ops.RenameTable):
        yield operation.new.name


@script_rule(
    "index-exists",
    reason="An index {index} exists in the database: the server refuses another one of this name{where}.",
    replacement="another name; or drop the index first; or, if the script was applied before, record it: "
    "online-migrate stamp",
)
def index_exists(script: Script) -> Iterator[Finding]:
    # Without a database nothing is known of the indexes that no script creates.
    if script.catalog is None:
        return
    for step, operation in script.on_existing(ops.CreateIndex):
        name = operation.index.name
        if name is None or operation.guarded or ("index", name) in step.before.gone:
            continue
        if script.catalog.has_index(name, operation.table):
            where = f" on {operation.table}" if script.server.product in _OF_TABLE else ""
            yield step.finding(name, index=name, where=where)


_OF_TABLE = frozenset({"mysql", "mariadb"})
"""The servers on which the name of an index belongs to its table."""


@script_rule(
    "table-without-schema",
    servers={"postgresql": ""},
    severity=Severity.WARNING,
    default=False,
    reason="In which schema {table} is created depends on search_path of the session.",
    replacement='op.create_table("{table}", ..., schema="public")',
)
def table_without_schema(script: Script) -> Iterator[Finding]:
    for step, operation in script.each(ops.CreateTable):
        if operation.table.schema is None and not operation.temporary:
            yield step.finding(str(operation.table), table=operation.table)
