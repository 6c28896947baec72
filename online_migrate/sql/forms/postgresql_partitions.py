"""The steps on a partitioned table of PostgreSQL, which accepts no CONCURRENTLY itself. Pure.

The index or key of the partitioned table is created without its partitions. It becomes valid when an index
of each partition, built concurrently, has been attached to it.
"""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.sql.forms.constraints import ConstraintText
from online_migrate.sql.forms.form import Partition, Step, Table
from online_migrate.sql.forms.index import IndexText
from online_migrate.sql.forms.names import as_sql, chosen


def index_steps(index: IndexText, table: Table) -> Iterator[Step]:
    """Yields the steps of a CREATE INDEX."""
    taken = set(table.taken)
    name = index.name or _free(table.plain_name, index.columns, "idx", taken)
    names = {table.name: _in_schema_of(table.name, name)}
    guard = " IF NOT EXISTS" if index.guarded else ""
    yield Step(
        f"{index.head}{guard} {name} ON ONLY {index.table}{index.tail}",
        undo=f"DROP INDEX IF EXISTS {names[table.name]}",
    )
    for partition in table.partitions:
        own = _free(_last(partition.name), index.columns, "idx", taken)
        names[partition.name] = _in_schema_of(partition.name, own)
        if partition.leaf:
            yield index.concurrent_step(own, partition.name)
        else:
            yield Step(
                f"{index.head}{guard} {own} ON ONLY {partition.name}{index.tail}",
                undo=f"DROP INDEX IF EXISTS {names[partition.name]}",
            )
        yield _attach(names, partition)


def key_steps(constraint: ConstraintText, given: str, name: str, table: Table) -> Iterator[Step]:
    """Yields the steps of a UNIQUE or a PRIMARY KEY."""
    taken = {*table.taken, given}
    names = {table.name: _in_schema_of(table.name, given)}
    yield _only(constraint, given, name)
    for partition in table.partitions:
        primary = constraint.kind == "PRIMARY"
        columns = () if primary else constraint.name_columns
        own = _free(_last(partition.name), columns, "pkey" if primary else "key", taken)
        names[partition.name] = _in_schema_of(partition.name, own)
        if partition.leaf:
            yield from key_on_index(constraint, own, partition.name)
        else:
            yield _only(constraint, own, partition.name)
        yield _attach(names, partition)


def key_on_index(constraint: ConstraintText, given: str, name: str) -> Iterator[Step]:
    """Yields the steps that build the index of a key concurrently, and make it a constraint."""
    yield Step(
        f"CREATE UNIQUE INDEX CONCURRENTLY {given} ON {name}{constraint.index}",
        concurrent=True,
        undo=f"DROP INDEX CONCURRENTLY IF EXISTS {_in_schema_of(name, given)}",
    )
    kind = "PRIMARY KEY" if constraint.kind == "PRIMARY" else "UNIQUE"
    yield Step(
        f"ALTER TABLE {name} ADD CONSTRAINT {given} {kind} USING INDEX {given}{constraint.deferral}",
        undo=f"ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {given}",
    )


def foreign_key_steps(add: str, given: str, name: str, table: Table) -> Iterator[Step]:
    """Yields the steps of a foreign key: the table adopts the validated keys of its partitions."""
    for partition in table.partitions:
        if partition.leaf:
            yield Step(
                f"ALTER TABLE {partition.name} {add} NOT VALID",
                undo=f"ALTER TABLE {partition.name} DROP CONSTRAINT IF EXISTS {given}",
            )
            yield Step(f"ALTER TABLE {partition.name} VALIDATE CONSTRAINT {given}")
    yield Step(f"ALTER TABLE {name} {add}")


def _only(constraint: ConstraintText, given: str, name: str) -> Step:
    return Step(
        f"ALTER TABLE ONLY {name} ADD CONSTRAINT {given} {constraint.definition}",
        undo=f"ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {given}",
    )


def _attach(names: dict[str, str], partition: Partition) -> Step:
    return Step(f"ALTER INDEX {names[partition.parent]} ATTACH PARTITION {names[partition.name]}")


def _free(table: str, columns: tuple[str, ...], label: str, taken: set[str]) -> str:
    name = chosen(table, columns, label, taken)
    taken.add(name)
    return as_sql(name)


def _in_schema_of(table: str, name: str) -> str:
    schema, dot, _table = table.rpartition(".")
    return f"{schema}{dot}{name}"


def _last(name: str) -> str:
    last = name.rpartition(".")[2]
    return last[1:-1].replace('""', '"') if last.startswith('"') else last
