"""Writes different values into many rows with one statement.

The statement contains a table of new values, which is joined to the target table by its key. Each server has
a different fastest form of this statement. The plain form, one UPDATE for each row, is correct on every
server. It is used wherever a faster form could change the stored value, because the type does not survive
the conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from online_migrate.values.carried import Carried, plain
from online_migrate.values.exact import Exact, column_of, exact_type
from online_migrate.writers.write import Versions, Write, WriteOfZeroDates

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

Rows = Sequence[tuple[Any, ...]]


class BulkWriter:
    """Writes rows of one table, found by their key, with one prepared UPDATE executed for each row.

    *key*: the key expressions with which keys are read and compared.
    *constant*: columns that are set to themselves, so that the server does not change them automatically.
    """

    most_rows: ClassVar[int] = 10_000
    """The largest number of rows in a statement."""

    def __init__(
        self, table: sa.Table, key: Sequence[sa.ColumnElement[Any]], constant: Sequence[str] = ()
    ) -> None:
        self.table = table
        self.key = tuple(key)
        self.constant = {name: table.c[name] for name in constant}
        self._ours = our_prefix(table)

    def writes(
        self,
        connection: Connection,
        columns: Sequence[str],
        rows: Rows,
        versions: Versions | None = None,
    ) -> list[Write]:
        """Returns the writes that set *columns* of each row; sends nothing.

        *connection*: any connection to the same server.
        *rows*: each row is its key followed by its values; the rows are in the order of the key, as the
        server sorts it.
        *versions*: a row that is no longer at its version is not written.
        """
        writes: list[Write] = []
        for start in range(0, len(rows), self.most_rows):
            part = slice(start, start + self.most_rows)
            at = None if versions is None else Versions(versions.expression, versions.expected[part])
            writes += self._writes(connection, columns, rows[part], at)
        return writes

    def _writes(
        self, connection: Connection, columns: Sequence[str], rows: Rows, versions: Versions | None
    ) -> Iterable[Write]:
        return self._one_by_one(connection, columns, rows, versions)

    def _one_by_one(
        self, connection: Connection, columns: Sequence[str], rows: Rows, versions: Versions | None
    ) -> Iterable[Write]:
        parts = len(self.key)
        by_key = [
            part == sa.bindparam(f"{self._ours}key_{i}", type_=part.type) for i, part in enumerate(self.key)
        ]
        values = {
            name: sa.bindparam(f"{self._ours}value_{i}", type_=exact_type(self.table.c[name]))
            for i, name in enumerate(columns)
        }
        rows = self._plain(columns, rows)
        update = sa.update(self.table).where(*by_key).values(self._untouched(columns) | values)
        names = [f"{self._ours}key_{i}" for i in range(parts)] + [
            f"{self._ours}value_{i}" for i in range(len(columns))
        ]
        if versions is not None:
            name = plain_name(connection, self.table.schema, self.table.name)
            version: sa.ColumnElement[str] = sa.literal_column(versions.expression(name), sa.Text())
            update = update.where(version == sa.bindparam(f"{self._ours}version", type_=sa.Text()))
            names.append(f"{self._ours}version")
            rows = [(*row, at) for row, at in zip(rows, versions.expected, strict=True)]
        yield Write(update, [dict(zip(names, row, strict=True)) for row in rows])

    def _plain(self, columns: Sequence[str], rows: Rows) -> Rows:
        """Returns *rows* with plain values in the columns whose type is not exact.

        A value that carries its stored form and is written to a column of another type is written as a plain
        value.
        """
        parts = len(self.key)
        exact = [isinstance(exact_type(self.table.c[name]), Exact) for name in columns]
        if not any(
            isinstance(value, Carried)
            for row in rows
            for value, is_exact in zip(row[parts:], exact, strict=True)
            if not is_exact
        ):
            return rows
        return [
            (
                *row[:parts],
                *(value if e else plain(value) for value, e in zip(row[parts:], exact, strict=True)),
            )
            for row in rows
        ]

    def _untouched(self, columns: Sequence[str]) -> dict[str, Any]:
        return {name: column for name, column in self.constant.items() if name not in columns}

    @property
    def _key_names(self) -> list[str]:
        """The names of the key columns that are compared without a conversion in SQL."""
        columns = [column_of(part) for part in self.key]
        return [str(column.name) for column in columns if column is not None]

    # --- for the subclasses ----------------------------------------------------------------------

    def _processed(self, connection: Connection, columns: Sequence[str], rows: Rows) -> list[Sequence[Any]]:
        """Returns the values column by column, as SQLAlchemy's bind processors pass them to the driver."""
        types = [*(part.type for part in self.key), *(exact_type(self.table.c[name]) for name in columns)]
        rows = self._plain(columns, rows)
        processors = [_processor(type_, connection) for type_ in types]
        return [
            values if process is None else [process(value) for value in values]
            for process, values in zip(processors, zip(*rows, strict=True), strict=True)
        ]

    def _set(
        self, connection: Connection, columns: Sequence[str], values: str, table: str
    ) -> list[tuple[str, str]]:
        """Returns the assignments of the SET clause: (quoted column, expression).

        *values*, *table*: the aliases of the table of new values and of the target table.
        """
        parts = len(self.key)
        own = [(self.table.c[name], f"{values}.c{parts + i}") for i, name in enumerate(columns)]
        own += [
            (column, f"{table}.{plain_name(connection, column.name)}")
            for column in self._untouched(columns).values()
        ]
        return [(plain_name(connection, column.name), value) for column, value in own]


def our_prefix(table: sa.Table) -> str:
    """Returns the prefix of the engine's parameter names: SQLAlchemy refuses names that are column names."""
    ours = "online_migrate_"
    while any(column.key.startswith(ours) for column in table.c):
        ours += "_"
    return ours


def plain_name(connection: Connection, *parts: str | None) -> str:
    """Returns a quoted name as the server reads it, without the percent signs doubled for the driver."""
    preparer = connection.dialect.identifier_preparer
    name = ".".join(preparer.quote(part) for part in parts if part)
    return name.replace("%%", "%") if preparer._double_percents else name


def _escaped(text: str) -> str:
    """Returns *text* with colons escaped, so that ``sa.text`` finds no parameter in it."""
    return text.replace(":", r"\:")


def _processor(type_: sa.types.TypeEngine[Any], connection: Connection) -> Callable[[Any], Any] | None:
    return type_.dialect_impl(connection.dialect).bind_processor(connection.dialect)


_QUOTED = str.maketrans({'"': r"\"", "\\": r"\\"})


def _array(values: Sequence[Any]) -> object:
    """Returns an array parameter for PostgreSQL.

    If all values are texts, integers or NULL, it is one array literal, which the server parses much faster
    than an expression for each element; otherwise it is a list for the driver.
    """
    parts: list[str] = []
    for value in values:
        if type(value) is str:
            plain = '"' not in value and "\\" not in value
            parts.append(f'"{value}"' if plain else f'"{value.translate(_QUOTED)}"')
        elif type(value) is int:
            parts.append(str(value))
        elif value is None:
            parts.append("NULL")
        else:
            return list(values)
    return f"{{{','.join(parts)}}}"


class ArrayWriter(BulkWriter):
    """PostgreSQL: one array parameter for each column; the arrays are unnested in parallel.

    *types*: column -> its type without a length, to which the array is cast. A cast to ``varchar(3)`` would
    truncate a value that is too long, while an assignment refuses it. A column that is missing in *types* has
    a type whose arrays cannot be unnested row by row, such as an array type.
    """

    def __init__(
        self,
        table: sa.Table,
        key: Sequence[sa.ColumnElement[Any]],
        constant: Sequence[str],
        types: dict[str, str],
    ) -> None:
        super().__init__(table, key, constant)
        self._types = types

    def _writes(
        self, connection: Connection, columns: Sequence[str], rows: Rows, versions: Versions | None
    ) -> Iterable[Write]:
        names = self._key_names
        written = [self.table.c[name].name for name in columns]
        if len(names) < len(self.key) or not self._types.keys() >= {*names, *written}:
            return self._one_by_one(connection, columns, rows, versions)
        arrays = self._processed(connection, columns, rows)
        if any(isinstance(value, list | tuple) for values in arrays for value in values):
            # unnest() would flatten it, so every row after it would get the value of another row.
            return self._one_by_one(connection, columns, rows, versions)
        types = [self._types[name] for name in (*names, *written)]
        where = [f"t.{plain_name(connection, name)} = v.c{i}" for i, name in enumerate(names)]
        if versions is not None:
            where.append(f"{versions.expression('t')} = v.c{len(types)}")
            arrays, types = [*arrays, versions.expected], [*types, "text"]
        changes = self._set(connection, columns, "v", "t")
        table = plain_name(connection, self.table.schema, self.table.name)
        sets = ", ".join(f"{column} = {value}" for column, value in changes)
        unnested = ", ".join(f"CAST(:a{i} AS {_escaped(type_)}[])" for i, type_ in enumerate(types))
        fields = ", ".join(f"c{i}" for i in range(len(types)))
        within, ends = self._within(connection, names, arrays)
        statement = sa.text(
            _escaped(f"UPDATE {table} AS t SET {sets} FROM ")
            + f"unnest({unnested}) "
            + _escaped(f"AS v({fields}) WHERE {' AND '.join(where)} AND ")
            + within
        )
        parameters = {f"a{i}": _array(values) for i, values in enumerate(arrays)}
        return [Write(statement, parameters | ends)]

    def _within(
        self, connection: Connection, names: Sequence[str], arrays: Sequence[Sequence[Any]]
    ) -> tuple[str, dict[str, Any]]:
        """Returns a condition on the key range of the rows, and its parameters.

        Without this condition the planner hashes the whole table to find thousands of rows.
        """
        key = _escaped(", ".join(f"t.{plain_name(connection, name)}" for name in names))
        ends = {
            f"{end}{i}": arrays[i][at] for end, at in (("low", 0), ("high", -1)) for i in range(len(names))
        }
        casts = [
            ", ".join(f"CAST(:{end}{i} AS {_escaped(self._types[name])})" for i, name in enumerate(names))
            for end in ("low", "high")
        ]
        return f"({key}) >= ({casts[0]}) AND ({key}) <= ({casts[1]})", ends


class UnionWriter(BulkWriter):
    """MySQL: a UNION ALL of one SELECT for each row, joined to the table.

    *collations*: text column -> (character set, collation), because both sides of a comparison must agree.
    *hint*: the index hint that makes the server use the index of the key.
    """

    most_rows = 1_000
    most_bytes: ClassVar[int] = 1_000_000
    """The largest total length of texts and bytes in a statement; servers refuse packets that are too big."""
    safe_keys: ClassVar[tuple[type[sa.types.TypeEngine[Any]], ...]] = (
        sa.Integer,
        sa.Numeric,
        sa.String,
        sa.LargeBinary,
        sa.types._Binary,
    )
    """Types that are compared as they are stored; a date is compared as text, without the key's index."""
    safe: ClassVar[tuple[type[sa.types.TypeEngine[Any]], ...]] = (
        sa.Integer,
        sa.Numeric,
        sa.Float,
        sa.String,
        sa.LargeBinary,
        sa.types._Binary,
        sa.Date,
        sa.DateTime,
        sa.Time,
        sa.Boolean,
        sa.JSON,
    )

    def __init__(
        self,
        table: sa.Table,
        key: Sequence[sa.ColumnElement[Any]],
        constant: Sequence[str],
        collations: dict[str, tuple[str, str]],
        hint: str = "",
    ) -> None:
        super().__init__(table, key, constant)
        self._collations = collations
        self._hint = hint.replace("%", "%%")

    def writes(
        self,
        connection: Connection,
        columns: Sequence[str],
        rows: Rows,
        versions: Versions | None = None,
    ) -> list[Write]:
        found = super().writes(connection, columns, rows, versions)
        return [WriteOfZeroDates(write.statement, write.parameters) for write in found]

    def _writes(
        self, connection: Connection, columns: Sequence[str], rows: Rows, versions: Versions | None
    ) -> Iterable[Write]:
        names = self._key_names
        found_by_index = all(
            isinstance(part.type, self.safe_keys) and not isinstance(part.type, sa.Float) for part in self.key
        )
        safe = all(isinstance(self.table.c[name].type, self.safe) for name in columns)
        if len(names) < len(self.key) or not (found_by_index and safe):
            return self._one_by_one(connection, columns, rows, versions)
        values = list(zip(*self._processed(connection, columns, rows), strict=True))
        version = None if versions is None else versions.expression("t")
        if versions is not None:
            values = [(*row, at) for row, at in zip(values, versions.expected, strict=True)]
        return [self._united(connection, names, columns, part, version) for part in self._by_size(values)]

    def _united(
        self,
        connection: Connection,
        names: Sequence[str],
        columns: Sequence[str],
        rows: Rows,
        version: str | None,
    ) -> Write:
        preparer = connection.dialect.identifier_preparer
        width = len(names) + len(columns)
        if version is not None:
            width += 1
        first = ", ".join(f"%s AS c{i}" for i in range(width))
        others = self._others(", ".join(["%s"] * width), len(rows) - 1)
        # The driver parses this text for its placeholders, so every other % is doubled.
        on = " AND ".join(
            f"t.{preparer.quote(name)} = {self._compared(name, f'v.c{i}')}" for i, name in enumerate(names)
        )
        if version is not None:
            on += f" AND {version.replace('%', '%%')} = v.c{width - 1}"
        changes = self._set(connection, columns, "v", "t")
        sets = ", ".join(f"t.{column} = {value}" for column, value in changes).replace("%", "%%")
        # STRAIGHT_JOIN reads the new values first and finds each row by its key: with outdated statistics
        # MySQL would scan the whole table and look up each of its rows in the new values.
        statement = (
            f"UPDATE (SELECT {first}{others}) AS v "
            f"STRAIGHT_JOIN {preparer.format_table(self.table)} AS t {self._hint} ON {on} SET {sets}"
        )
        return Write(statement, tuple(value for row in rows for value in row))

    def _others(self, row: str, count: int) -> str:
        """Returns the SQL of the rows after the first row; the first row names the columns."""
        return f" UNION ALL SELECT {row}" * count

    def _compared(self, name: str, value: str) -> str:
        if name not in self._collations:
            return value
        charset, collation = self._collations[name]
        return f"CONVERT({value} USING {charset}) COLLATE {collation}"

    def _by_size(self, rows: Rows) -> list[Rows]:
        parts: list[Rows] = []
        begin = size = 0
        for i, row in enumerate(rows):
            more = sum(len(value) for value in row if isinstance(value, str | bytes | bytearray))
            if i > begin and size + more > self.most_bytes:
                parts.append(rows[begin:i])
                begin, size = i, 0
            size += more
        return [*parts, rows[begin:]]


class ValuesWriter(UnionWriter):
    """MariaDB: the rows after the first are one VALUES list, which is parsed faster than many SELECTs."""

    most_rows = 4_000

    def _others(self, row: str, count: int) -> str:
        return f" UNION ALL VALUES {', '.join([f'({row})'] * count)}" if count else ""
