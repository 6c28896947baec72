"""Measures what the triggers of a sync add to a write, beside what a user would do instead.

``python -m benchmarks.sync_triggers --url URL [--shape cinder] [--rounds 5]``, in an empty database: the
table ``volumes`` is replaced. ``size_gb`` becomes ``size_bytes``; the writes are those of the old version.
Each contender runs the same statements on a table of its own, in alternating rounds. The time is that of the
statements without COMMIT, whose wait for the disk would hide the triggers.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.engine import Connection, Engine

from benchmarks.shape import SHAPES, rows, volumes
from online_migrate.runtime import sync_operations

GIB = 1024**3
ROWS = 1_000
"""Rows of the statements that write many; also the number of statements that write one."""
WRITES = (
    "INSERT of one row",
    "UPDATE of one row",
    f"INSERT of {ROWS:,} rows",
    f"UPDATE of {ROWS:,} rows",
)
SHIFT = 10_000_000
"""Added to the key of a row that one statement inserts (shape ``lean``)."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """A way to write. *both*: the application writes both columns. *in_step*: both have their value then."""

    name: str
    prepare: Callable[[Connection, str], None]
    both: bool = False
    in_step: bool = True


def contenders(engine: Engine) -> list[Contender]:
    """Returns the contenders for a server."""
    found = [
        Contender("one column, no trigger", lambda *_: None, in_step=False),
        Contender("the application writes both columns", lambda *_: None, both=True),
        Contender("op.create_sync", _create_sync),
    ]
    if engine.dialect.name == "postgresql":
        found.append(Contender("triggers like pgroll's", _create_like_pgroll))
    return found


def _create_sync(connection: Connection, shape: str) -> None:
    if connection.dialect.name == "postgresql":
        # The trigger was dropped with the table of the round before, and its function was not.
        connection.execute(sa.text("DROP FUNCTION IF EXISTS online_migrate_sync_volume_size()"))
    sync_operations.CreateSync.create_sync(
        Operations(MigrationContext.configure(connection)),
        "volume_size",
        "volumes",
        forward={"size_bytes": sa.cast(sa.column("size_gb"), sa.BigInteger) * GIB},
        backward={
            "size_gb": {
                "postgresql": f"size_bytes / {GIB}",
                "sqlite": f"size_bytes / {GIB}",
                "mysql": f"size_bytes DIV {GIB}",
            }
        },
    )


def _create_like_pgroll(connection: Connection, shape: str) -> None:
    """Creates two triggers with the work of pgroll's: one for each direction.

    Each copies every column into a variable for use in the expression, compares the search path of the
    session with the name of the new version's schema, and marks the row as filled.
    Source: pgroll, pkg/backfill/templates.
    """
    copies = " ".join(
        f'"{c.name}" volumes."{c.name}"%TYPE := NEW."{c.name}";' for c in volumes(shape).columns
    )
    directions = {
        "up": ("<>", f"NEW.size_bytes := size_gb * CAST({GIB} AS BIGINT)"),
        "down": ("=", f"NEW.size_gb := size_bytes / {GIB}"),
    }
    statements = ["ALTER TABLE volumes ADD COLUMN unfilled boolean DEFAULT true"]
    for name, (operator, assignment) in directions.items():
        statements += [
            f"""CREATE OR REPLACE FUNCTION volumes_{name}() RETURNS trigger LANGUAGE plpgsql AS $$
            DECLARE {copies} path text;
            BEGIN
                SELECT current_setting INTO path FROM current_setting('search_path');
                IF path {operator} 'the_new_version' THEN
                    {assignment};
                    NEW.unfilled := false;
                END IF;
                RETURN NEW;
            END $$""",
            f"CREATE TRIGGER volumes_{name} BEFORE INSERT OR UPDATE ON volumes "
            f"FOR EACH ROW EXECUTE FUNCTION volumes_{name}()",
        ]
    for statement in statements:
        connection.execution_options(no_parameters=True).exec_driver_sql(statement)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures every contender, and prints a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sync_triggers", description=__doc__)
    parser.add_argument("--url", required=True, help="an empty database; its table volumes is replaced")
    parser.add_argument("--shape", choices=list(SHAPES), default="cinder", help="the columns of the table")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    engine = sa.create_engine(options.url)
    measured: dict[str, list[Mapping[str, float]]] = {}
    for _ in range(options.rounds):
        for one in contenders(engine):
            measured.setdefault(one.name, []).append(measure(engine, options.shape, one))
    medians = {
        name: {write: statistics.median(found[write] for found in runs) for write in WRITES}
        for name, runs in measured.items()
    }
    print(report(engine, options.shape, medians))
    engine.dispose()
    return 0


def report(engine: Engine, shape: str, medians: Mapping[str, Mapping[str, float]]) -> str:
    """Returns the Markdown table: milliseconds of a statement, and the ratio to the first contender."""
    version = "sqlite_version" if engine.dialect.name == "sqlite" else "version"
    with engine.connect() as connection:
        name = str(connection.scalar(sa.text(f"SELECT {version}()"))).split(" on ")[0]
    lines = [f"{engine.dialect.name} {name}, shape {shape}", "", f"| | {' | '.join(WRITES)} |"]
    lines.append("| --- |" + " --- |" * len(WRITES))
    alone = next(iter(medians.values()))
    for contender, found in medians.items():
        cells = (f"{found[write] * 1000:.2f} ({found[write] / alone[write]:.2f})" for write in WRITES)
        lines.append(f"| {contender} | {' | '.join(cells)} |")
    return "\n".join(lines)


def measure(engine: Engine, shape: str, contender: Contender) -> Mapping[str, float]:
    """Returns the seconds of one statement of each kind of write."""
    table, source = volumes(shape), volumes(shape, "volumes_source")
    some = list(rows(shape, ROWS))
    for one in (table, source):
        one.drop(engine, checkfirst=True)
    source.indexes.clear()
    for one in (table, source):
        one.create(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(source), some)
        contender.prepare(connection, shape)
    found = {}
    for write, statements in _statements(table, source, some, both=contender.both):
        with engine.begin() as connection:
            start = time.perf_counter()
            for statement, parameters in statements:
                connection.execute(statement, parameters)
            found[write] = (time.perf_counter() - start) / len(statements)
    _check(engine, contender)
    return found


Statements = Sequence[tuple[sa.Executable, Mapping[str, object]]]


def _statements(
    table: sa.Table, source: sa.Table, some: Sequence[Mapping[str, object]], *, both: bool
) -> Iterator[tuple[str, Statements]]:
    """Yields each kind of write with its statements. The last ones find the rows of the ones before."""
    grown: list[tuple[sa.Column[Any], Any]] = [(table.c.size_gb, table.c.size_gb + 1)]
    if both:
        # First: MySQL and MariaDB assign from left to right, and read what they have assigned.
        size_bytes = (sa.cast(table.c.size_gb, sa.BigInteger) + 1) * GIB
        grown.insert(0, (table.c.size_bytes, size_bytes))
    insert, update = sa.insert(table), sa.update(table).ordered_values(*grown)
    inserted = [{**row, "size_bytes": int(str(row["size_gb"])) * GIB} if both else row for row in some]
    yield WRITES[0], [(insert, row) for row in inserted]
    by_key = update.where(table.c.id == sa.bindparam("key"))
    yield WRITES[1], [(by_key, {"key": row["id"]}) for row in some]
    names = ["id", *(name for name in some[0] if name != "id")]
    columns: list[sa.ColumnElement[Any]] = [source.c[name] for name in names[1:]]
    if both:
        columns.append((sa.cast(source.c.size_gb, sa.BigInteger) * GIB).label("size_bytes"))
        names.append("size_bytes")
    other: sa.ColumnElement[object] = source.c.id + SHIFT
    is_other: sa.ColumnElement[bool] = table.c.id > SHIFT
    if isinstance(source.c.id.type, sa.String):
        other, is_other = sa.func.replace(source.c.id, "-", ""), sa.func.length(table.c.id) == 32
    yield WRITES[2], [(insert.from_select(names, sa.select(other, *columns)), {})]
    yield WRITES[3], [(update.where(is_other), {})]


def _check(engine: Engine, contender: Contender) -> None:
    """Raises an AssertionError unless each row has both values, or none of them where nothing keeps both."""
    table = sa.table("volumes", sa.column("size_gb", sa.Integer), sa.column("size_bytes", sa.BigInteger))
    right = table.c.size_bytes == sa.cast(table.c.size_gb, sa.BigInteger) * GIB
    wrong = sa.select(sa.func.count()).where(sa.or_(table.c.size_bytes.is_(None), sa.not_(right)))
    with engine.connect() as connection:
        found = connection.scalar(wrong)
    assert found == (0 if contender.in_step else ROWS * 2), (contender.name, found)


if __name__ == "__main__":
    sys.exit(main())
