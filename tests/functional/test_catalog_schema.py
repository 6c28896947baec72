"""A column is read from the catalog in the form in which the reader reads its definition."""

from __future__ import annotations

import pytest

from online_migrate.runtime.catalog_schema import CatalogSchema, server_of
from online_migrate.sql.operations.operation import CreateTable
from online_migrate.sql.operations.parts import Name, SqlType
from online_migrate.sql.operations.reader import read_operations
from tests.servers import Database

SHARED = """
    INTEGER; BIGINT; SMALLINT; VARCHAR(20); VARCHAR(20) DEFAULT 'a:b' NOT NULL; CHAR(3); NUMERIC(10,2); TEXT;
    DATE;
    REAL; BOOLEAN; INTEGER DEFAULT 5; INTEGER DEFAULT 0 NOT NULL; VARCHAR(9) DEFAULT '5'
"""
MYSQL = """
    DATETIME; DATETIME(6); TIMESTAMP NULL; TINYINT(1); INT UNSIGNED; TINYINT; MEDIUMTEXT; LONGTEXT; BLOB;
    FLOAT; DOUBLE;
    VARBINARY(20); ENUM('a','b'); SET('x','y'); DECIMAL(5,0); BIGINT UNSIGNED NOT NULL
"""
DEFINITIONS = {
    "postgresql": """
        TIMESTAMP; TIMESTAMPTZ; TIMESTAMP(3); JSON; JSONB; UUID; INTEGER[]; BYTEA; INET; TIME; INTERVAL;
        VARCHAR;
        DOUBLE PRECISION; TIMESTAMPTZ DEFAULT now(); BOOLEAN DEFAULT true NOT NULL
    """,
    "mysql": MYSQL + "; JSON; DATETIME DEFAULT CURRENT_TIMESTAMP",
    "mariadb": MYSQL,
    "sqlite": "BLOB; DATETIME",
}


def test_columns_of_the_catalog_are_as_they_were_defined(database: Database) -> None:
    parts = f"{SHARED}; {DEFINITIONS[database.server.product]}".split(";")
    columns = [f"c{number} {part.strip()}" for number, part in enumerate(parts)]
    statement = f"CREATE TABLE t ({', '.join(columns)})"
    [defined] = read_operations(statement, database.server.product)
    assert isinstance(defined, CreateTable)
    with database.engine.connect() as connection:
        connection.exec_driver_sql(statement)
        connection.commit()
        schema = CatalogSchema(connection)
        found = [schema.column(Name("t"), column.name) for column in defined.columns]
        assert schema.table_exists(Name("t"))
        assert not schema.table_exists(Name("u"))
        assert schema.column(Name("t"), "missing") is None
        assert schema.column(Name("u"), "c1") is None
        assert server_of(connection).product == database.server.product
    assert [c and (c.name, c.type, c.nullable, c.default) for c in found] == [
        (c.name, c.type, c.nullable, c.default) for c in defined.columns
    ]


@pytest.mark.needs("transactional_ddl", "row_locks")
def test_search_path_and_types_of_the_catalog(database: Database) -> None:
    """PostgreSQL: a table in a schema that is earlier in the search_path hides one of the same name."""
    with database.engine.connect() as connection:
        for statement in (
            "CREATE SCHEMA front",
            "CREATE TABLE t (id INTEGER)",
            "CREATE TABLE front.u (id INTEGER)",
            "CREATE TYPE mood AS ENUM ('a')",
            "CREATE TYPE pair AS (a TEXT, b TEXT)",
            "SET search_path = front, public",
        ):
            connection.exec_driver_sql(statement)
        schema = CatalogSchema(connection)
        names = (
            Name("t"),
            Name("t", "front"),
            Name("t", "public"),
            Name("u"),
            Name("u", "public"),
            Name("v"),
        )
        assert [bool(schema.hides_table(name)) for name in names] == [True, True, False, False, False, False]
        assert not schema.hides_table(Name("t", "other"))
        assert [schema.type_kind(SqlType(name)) for name in ("mood", "pair", "absent")] == [
            "enum",
            "other",
            None,
        ]
