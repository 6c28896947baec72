"""Session settings of the server, the role, the database or the URL do not change any value."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate.dialects import create_engine, dialect_of
from online_migrate.migrate.status import Outcome
from tests.servers import Database
from tests.servers.access import administration
from tests.support.project import Project, declared, execute, rows, scalar

pytestmark = pytest.mark.each_product

ON_MYSQL_FAMILY = pytest.mark.needs("lock_tables")
"""The servers of the MySQL family."""
ON_POSTGRESQL = pytest.mark.needs("transactional_ddl", "row_locks")
UTC = datetime.UTC
ELEPHANT = "\U0001f418"

BACKFILL = """
fill = Backfill(
    table="items", values=lambda t: {"copy": t.c.value, "done": 1}, pending=lambda t: t.c.done.is_(None)
)
"""
ROWS = """
@row_migration(table="items", pending=lambda t: t.c.done.is_(None))
def fill(row):
    return {"copy": row.value, "done": 1}
"""
KINDS = pytest.mark.parametrize("source", [BACKFILL, ROWS], ids=["backfill", "rows"])


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url) as project:
        yield project


def url_with(database: Database, **query: str) -> str:
    """Returns the URL of *database* with additional query options."""
    return sa.make_url(database.url).update_query_dict(query).render_as_string(hide_password=False)


def times_around_dst_changes(url_with_zone: datetime.tzinfo = UTC) -> list[datetime.datetime]:
    """Returns times around each DST change, in Europe and in America; some share one local time."""
    days = ((3, 10), (3, 31), (10, 27), (11, 3))
    return [
        datetime.datetime(2024, month, day, tzinfo=UTC).astimezone(url_with_zone)
        + datetime.timedelta(minutes=10 * i)
        for month, day in days
        for i in range(-12, 54)
    ]


# --- time ----------------------------------------------------------------------------------------


@ON_MYSQL_FAMILY
@KINDS
def test_session_timestamps_around_dst_changes_as_keys_and_values(
    source: str, database: Database, project: Project
) -> None:
    moments = times_around_dst_changes()
    execute(
        database.engine,
        "CREATE TABLE items (at TIMESTAMP(6) NOT NULL PRIMARY KEY, "
        "value TIMESTAMP NULL, copy TIMESTAMP NULL, done INTEGER)",
    )
    with database.engine.begin() as connection:
        connection.exec_driver_sql("SET time_zone = '+00:00'")
        connection.execute(
            sa.text("INSERT INTO items (at, value) VALUES (:at, :at)"),
            [{"at": moment.replace(tzinfo=None)} for moment in moments],
        )
        connection.exec_driver_sql("SET time_zone = DEFAULT")
    project.data("m", source)
    result = project.migrate(batch_size=7)["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, len(moments)), result
    versions = rows(
        database.engine, "SELECT UNIX_TIMESTAMP(at), UNIX_TIMESTAMP(value), UNIX_TIMESTAMP(copy) FROM items"
    )
    assert sorted(versions) == sorted((moment.timestamp(),) * 3 for moment in moments)


@ON_POSTGRESQL
@KINDS
@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_session_timestamps_in_any_time_zone_of_the_database(
    driver: str, source: str, database: Database, tmp_path: Path
) -> None:
    moments = times_around_dst_changes()
    moments += [
        datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime.datetime(1, 1, 1, tzinfo=UTC),
    ]
    execute(
        database.engine,
        f"ALTER DATABASE {database.name} SET TimeZone = 'America/New_York'",
        f"ALTER DATABASE {database.name} SET DateStyle = 'SQL, DMY'",
        "CREATE TABLE items (at timestamptz NOT NULL PRIMARY KEY, value timestamptz, copy timestamptz, "
        "done integer)",
    )
    with database.engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO items (at, value) VALUES (:at, :at)"), [{"at": moment} for moment in moments]
        )
    url = sa.make_url(database.url).set(drivername=f"postgresql+{driver}")
    with Project.create(tmp_path / driver, url.render_as_string(hide_password=False)) as project:
        project.data("m", source)
        result = project.migrate(batch_size=7)["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, len(moments)), result
    assert scalar(database.engine, "SELECT count(*) FROM items WHERE copy = value AND value = at") == len(
        moments
    )


@pytest.mark.needs("many_writers")
def test_session_settings_are_applied_again_after_a_reconnect(database: Database) -> None:
    query = {
        "postgresql": "SELECT current_setting('TimeZone'), current_setting('client_encoding')",
    }.get(database.server.product, "SELECT @@time_zone, @@character_set_client")
    engine = create_engine(database.url)
    try:
        versions = []
        for _ in range(3):
            with engine.connect() as connection:
                versions.append(tuple(connection.execute(sa.text(query)).one()))
                connection.invalidate()
    finally:
        engine.dispose()
    assert (
        versions == [{"postgresql": ("UTC", "UTF8")}.get(database.server.product, ("+00:00", "utf8mb4"))] * 3
    )


def url_with_zone(database: Database, zone: str) -> str:
    """Returns the URL of *database* for sessions with the initial time zone *zone*, such as ``-05:00``."""
    if database.server.product == "postgresql":
        # POSIX inverts the sign of the offset.
        return url_with(database, options=f"-c TimeZone=<{zone[:3]}>{-int(zone[:3])}")
    return url_with(database, init_command=f"SET time_zone = '{zone}'")


LATE = datetime.datetime(2024, 6, 30, 23, 30)
"""A UTC time that falls on the next day in the east."""


@pytest.mark.needs("many_writers")
def test_script_runs_in_the_zone_of_the_application_and_rows_are_checked_in_utc(
    database: Database, tmp_path: Path
) -> None:
    """The check under the lock uses the same session settings as the run and the gate."""
    zoned = {"postgresql": "timestamptz"}.get(database.server.product, "TIMESTAMP NULL")
    with Project.create(tmp_path / "project", url_with_zone(database, "+05:00")) as project:
        project.expand(
            f"op.execute('CREATE TABLE items (id INTEGER PRIMARY KEY, at {zoned}, day DATE, old INTEGER)')"
        )
        moment = {"postgresql": f"'{LATE}+00'"}.get(
            database.server.product, f"CONVERT_TZ('{LATE}', '+00:00', @@time_zone)"
        )
        project.expand(f'op.execute("INSERT INTO items (id, at) VALUES (1, {moment})")')
        project.expand("op.execute('CREATE TABLE days (day DATE)')")
        project.expand("op.execute('INSERT INTO days SELECT CAST(at AS DATE) FROM items')")
        project.data(
            "m",
            """
            fill = Backfill(
                table="items",
                values=lambda t: {"day": sa.cast(t.c.at, sa.Date)},
                pending=lambda t: t.c.day.is_distinct_from(sa.cast(t.c.at, sa.Date)),
            )
            """,
        )
        project.contract("op.drop_column('items', 'old')", requires=("fill",))
        assert project.run("expand").code == 0
        assert rows(database.engine, "SELECT day FROM days") == [(datetime.date(2024, 7, 1),)]
        assert project.migrate()["fill"].outcome is Outcome.COMPLETE
        assert rows(database.engine, "SELECT day FROM items") == [(datetime.date(2024, 6, 30),)]
        ran = project.run("contract")
        assert ran.code == 0, ran.err


TO_LOCAL = {
    "postgresql": ("timestamptz", "timestamp", """sa.func.timezone("Europe/Berlin", t.c.value)"""),
    "mysql": ("TIMESTAMP NULL", "DATETIME", """sa.func.convert_tz(t.c.value, "+00:00", "SYSTEM")"""),
}


@pytest.mark.needs("many_writers")
def test_local_time_is_computed_as_documented(database: Database, project: Project) -> None:
    """The application, with sessions in the server's time zone, would have written the same values."""
    zoned, plain, expression = TO_LOCAL.get(database.server.product, TO_LOCAL["mysql"])
    execute(
        database.engine,
        f"CREATE TABLE items (id INTEGER PRIMARY KEY, value {zoned}, copy {plain}, done INTEGER)",
    )
    moments = [moment for moment in times_around_dst_changes() if moment.minute == 30]
    engine = create_engine(database.url)
    with engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO items (id, value) VALUES (:id, :at)"),
            [{"id": i, "at": moment} for i, moment in enumerate(moments)],
        )
    engine.dispose()
    project.data("m", BACKFILL.replace("t.c.value", expression))
    assert project.migrate()["fill"].outcome is Outcome.COMPLETE
    with database.engine.connect() as connection:
        if database.server.product == "postgresql":
            connection.exec_driver_sql("SET TimeZone = 'Europe/Berlin'")
        wrong = connection.execute(
            sa.text(f"SELECT id FROM items WHERE CAST(value AS {plain}) <> copy")
        ).all()
        count = connection.scalar(sa.text("SELECT count(*) FROM items WHERE copy IS NOT NULL"))
    assert (wrong, count) == ([], len(moments))


# --- character sets ------------------------------------------------------------------------------

TEXTS = ["ü", "Ж", "漢", ELEPHANT, "'\\%s:x?", "", "a\x01b", "e\u0301", "\ufeff", " trailing "]
URLS: dict[str, dict[str, str]] = {
    "utf8": {"charset": "utf8"},
    "utf8mb3": {"charset": "utf8mb3"},
    "latin1": {"charset": "latin1"},
    "collation": {"charset": "latin1", "collation": "latin1_swedish_ci"},
    "init_command": {"init_command": "SET NAMES latin1"},
    "use_unicode": {"charset": "utf8", "use_unicode": "0"},
}


@ON_MYSQL_FAMILY
@KINDS
@pytest.mark.parametrize("options", URLS.values(), ids=URLS)
def test_charset_options_of_the_url_lose_no_character(
    options: dict[str, str], source: str, database: Database, tmp_path: Path
) -> None:
    assert_texts_are_kept(source, url_with(database, **options), database, tmp_path)


@ON_MYSQL_FAMILY
def test_charset_in_an_option_file_loses_no_character(database: Database, tmp_path: Path) -> None:
    options = tmp_path / "my.cnf"
    options.write_text("[client]\ndefault-character-set = latin1\n")
    assert_texts_are_kept(ROWS, url_with(database, read_default_file=str(options)), database, tmp_path)


@ON_POSTGRESQL
@KINDS
@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
@pytest.mark.parametrize("where", ["url", "options", "environment", "database"])
def test_client_encoding_loses_no_character(
    where: str, driver: str, source: str, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = {}
    if where == "url":
        query = {"client_encoding": "latin1"}
    elif where == "options":
        query = {"options": "-c client_encoding=latin1"}
    elif where == "environment":
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    else:
        execute(database.engine, f"ALTER DATABASE {database.name} SET client_encoding = 'LATIN1'")
    url = sa.make_url(url_with(database, **query)).set(drivername=f"postgresql+{driver}")
    assert_texts_are_kept(source, url.render_as_string(hide_password=False), database, tmp_path)


def assert_texts_are_kept(source: str, url: str, database: Database, tmp_path: Path) -> None:
    """Asserts that a run with *url* preserves each of TEXTS as key and as value."""
    text = {"postgresql": 'VARCHAR(30) COLLATE "C"'}.get(
        database.server.product, "VARCHAR(30) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    )
    engine = create_engine(database.url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TABLE items (id {text} PRIMARY KEY, value {text}, copy {text}, done INTEGER)"
        )
        connection.execute(
            sa.text("INSERT INTO items (id, value) VALUES (:text, :text)"), [{"text": text} for text in TEXTS]
        )
    with Project.create(tmp_path / "kept", url) as project:
        project.data("m", source)
        result = project.migrate(batch_size=2)["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, len(TEXTS)), result
    assert sorted(rows(engine, "SELECT value, copy FROM items")) == sorted((text, text) for text in TEXTS)
    engine.dispose()


FAILS = f"""
@row_migration(table="items", pending=lambda t: t.c.done.is_(None))
def fill(row):
    raise ValueError("Ж{ELEPHANT}\\x00ü\\udc80" + "x" * row.id)
"""


@pytest.mark.needs("many_writers")
@pytest.mark.parametrize("charset", ["own", "latin1"])
def test_failure_with_any_text_is_recorded(charset: str, database: Database, tmp_path: Path) -> None:
    """A character that the database cannot store is written as an escape."""
    with DatabaseWithCharset(database, charset) as url, Project.create(tmp_path / "project", url) as project:
        engine = create_engine(url)
        execute(
            engine,
            "CREATE TABLE items (id INTEGER PRIMARY KEY, done INTEGER)",
            "INSERT INTO items (id) VALUES (1), (100000)",
        )
        project.data("m", FAILS)
        result = project.migrate()["fill"]
        assert (result.outcome, result.failed) == (Outcome.FAILED, 2), result
        [short, long] = sorted(
            rows(engine, "SELECT row_key, error FROM online_migrate_failure"), key=lambda row: len(row[1])
        )
        engine.dispose()
    every = charset == "own" or database.server.product != "postgresql"
    stored = f"Ж{ELEPHANT}" if every else r"\u0416\U0001f418"
    assert short == ("[1]", rf"ValueError: {stored}\x00ü\udc80x")
    assert long[0] == "[100000]"
    assert long[1].endswith("x ...")


class DatabaseWithCharset:
    """The URL of an empty database with the server's default character set, or with another one."""

    def __init__(self, database: Database, charset: str) -> None:
        self._database, self._charset = database, charset
        self._other = f"{database.name}_{charset}".lower()

    def __enter__(self) -> str:
        database = self._database
        if self._charset == "own":
            return database.url
        if database.server.product != "postgresql":
            execute(database.engine, f"ALTER DATABASE {database.name} CHARACTER SET {self._charset}")
            return database.url
        with administration(database.server.url) as connection:
            connection.exec_driver_sql(
                f"CREATE DATABASE {self._other} ENCODING '{self._charset}' LC_COLLATE 'C' LC_CTYPE 'C' "
                "TEMPLATE template0"
            )
        url = sa.make_url(database.url).set(database=self._other)
        return url.render_as_string(hide_password=False)

    def __exit__(self, *_: object) -> None:
        if self._charset != "own" and self._database.server.product == "postgresql":
            with administration(self._database.server.url) as connection:
                connection.exec_driver_sql(f"DROP DATABASE {self._other} WITH (FORCE)")


@ON_POSTGRESQL
def test_backfill_copies_bytes_that_clients_cannot_decode(database: Database, tmp_path: Path) -> None:
    """A database in SQL_ASCII stores any bytes. A Backfill never sends them to the client."""
    with (
        DatabaseWithCharset(database, "SQL_ASCII") as url,
        Project.create(tmp_path / "project", url) as project,
    ):
        engine = create_engine(url)
        execute(
            engine,
            "CREATE TABLE items (id INTEGER PRIMARY KEY, value text, copy text, done integer)",
            "INSERT INTO items (id, value) VALUES (1, E'\\\\xff\\\\xe9'), (2, 'plain'), (3, 'Ж')",
        )
        project.data("m", BACKFILL)
        result = project.migrate(batch_size=1)["fill"]
        assert (result.outcome, result.done) == (Outcome.COMPLETE, 3), result
        assert scalar(engine, "SELECT count(*) FROM items WHERE copy = value AND octet_length(copy) > 0") == 3
        engine.dispose()


def every_charset(database: Database) -> list[str]:
    return [row[0] for row in rows(database.engine, "SHOW CHARACTER SET") if row[0] != "binary"]


@ON_MYSQL_FAMILY
def test_columns_of_every_character_set_in_one_row(database: Database, project: Project) -> None:
    """Their versions are compared as bytes: not all of these character sets have a common superset."""
    charsets = every_charset(database)
    columns = [
        f"value_{c} VARCHAR(20) CHARACTER SET {c}, copy_{c} VARCHAR(20) CHARACTER SET {c}" for c in charsets
    ]
    execute(
        database.engine,
        f"CREATE TABLE items (id INTEGER PRIMARY KEY, {', '.join(columns)}, raw VARBINARY(20), done INTEGER) "
        "CHARACTER SET utf8mb4",
        f"INSERT INTO items (id, raw, {', '.join(f'value_{c}' for c in charsets)}) "
        f"VALUES (1, 'a', {', '.join(repr(c[:5]) for c in charsets)}), "
        f"(2, x'ff00', {', '.join(['NULL'] * len(charsets))})",
    )
    project.data(
        "m",
        f"""
        @row_migration(table="items", pending=lambda t: t.c.done.is_(None))
        def fill(row):
            return {{"done": 1, **{{f"copy_{{c}}": getattr(row, f"value_{{c}}") for c in {charsets!r}}}}}
        """,
    )
    result = project.migrate()["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 2), result
    equal_rows = " AND ".join(f"CAST(value_{c} AS BINARY) <=> CAST(copy_{c} AS BINARY)" for c in charsets)
    assert scalar(database.engine, f"SELECT count(*) FROM items WHERE {equal_rows}") == 2


@ON_MYSQL_FAMILY
@pytest.mark.parametrize("text", ["ucs2", "utf16", "latin1", "greek", "sjis"])
def test_row_version_changes_with_one_character(text: str, database: Database) -> None:
    """Also where a conversion to a common character set would make a question mark of both."""
    execute(
        database.engine,
        f"CREATE TABLE items (id INTEGER PRIMARY KEY, a VARCHAR(9) CHARACTER SET ascii, "
        f"b VARCHAR(9) CHARACTER SET {text}, c VARCHAR(9) CHARACTER SET utf8mb4, d VARBINARY(9)) "
        "CHARACTER SET utf8mb4",
        f"INSERT INTO items VALUES (1, 'a', CONVERT('b' USING {text}), 'c', 'd')",
    )
    engine = create_engine(database.url)
    with engine.begin() as connection:
        table = sa.Table("items", sa.MetaData(), autoload_with=connection)
        version = dialect_of(connection).row_version(connection, table, list(table.c), "items")
        versions = {connection.exec_driver_sql(f"SELECT {version} FROM items").scalar()}
        changes = [f"c = '{c}'" for c in ("Ж", "漢", ELEPHANT, "")] + [
            "d = x'ff'",
            "d = x'fe'",
            "b = NULL",
            "b = ''",
        ]
        for change in changes:
            connection.exec_driver_sql(f"UPDATE items SET {change}")
            versions.add(connection.exec_driver_sql(f"SELECT {version} FROM items").scalar())
    engine.dispose()
    assert len(versions) == len(changes) + 1


@ON_MYSQL_FAMILY
@pytest.mark.parametrize(
    ("charset", "bad"),
    [("cp1251", "98"), ("greek", "a4"), ("sjis", "5c"), ("cp932", "fa54"), ("big5", "a15a")],
)
def test_text_that_a_client_cannot_round_trip_is_copied_or_its_row_fails(
    charset: str, bad: str, database: Database, project: Project
) -> None:
    """It is never read as a question mark or as another code of its character, and then written back."""
    text = f"VARCHAR(9) CHARACTER SET {charset}"
    execute(
        database.engine,
        f"CREATE TABLE items (id INTEGER PRIMARY KEY, value {text}, copy {text}, done INTEGER)",
        f"INSERT INTO items (id, value) VALUES (1, CONVERT(x'{bad}' USING {charset})), (2, 'abc'), (3, NULL)",
    )
    equal_rows = "SELECT id FROM items WHERE CAST(copy AS BINARY) <=> CAST(value AS BINARY) AND done = 1"
    project.data("m", ROWS)
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 2, 1), result
    [(key, error)] = rows(database.engine, "SELECT row_key, error FROM online_migrate_failure")
    assert key == "[1]"
    assert "survive" in error
    assert sorted(rows(database.engine, equal_rows)) == [(2,), (3,)]
    project.data("m", BACKFILL.replace("fill =", "copies ="))
    assert project.migrate("copies")["copies"].outcome is Outcome.COMPLETE
    assert sorted(rows(database.engine, equal_rows)) == [(1,), (2,), (3,)]


@ON_MYSQL_FAMILY
@KINDS
def test_key_that_a_client_cannot_round_trip_is_refused_before_any_change(
    source: str, database: Database, project: Project
) -> None:
    execute(
        database.engine,
        "CREATE TABLE items (id VARCHAR(9) CHARACTER SET cp1251 PRIMARY KEY, value INTEGER, copy INTEGER, "
        "done INTEGER)",
        "INSERT INTO items (id) VALUES ('a'), (CONVERT(x'98' USING cp1251)), ('b')",
    )
    project.data("m", source)
    ran = project.run("migrate")
    assert ran.code != 0
    assert any("survive" in line for line in ran.complaint), ran.err
    assert rows(database.engine, "SELECT count(*) FROM items WHERE done IS NULL") == [(3,)]
    execute(database.engine, "DELETE FROM items WHERE id NOT IN ('a', 'b')")
    assert project.migrate()["fill"].outcome is Outcome.COMPLETE


# --- sql_mode ------------------------------------------------------------------------------------

MODES = [
    "",
    "NO_BACKSLASH_ESCAPES",
    "ANSI_QUOTES",
    "PAD_CHAR_TO_FULL_LENGTH",
    "NO_ZERO_DATE,NO_ZERO_IN_DATE",
    "ALLOW_INVALID_DATES",
    "HIGH_NOT_PRECEDENCE",
    "PIPES_AS_CONCAT",
    "TIME_TRUNCATE_FRACTIONAL",
    "NO_UNSIGNED_SUBTRACTION",
    "STRICT_TRANS_TABLES",
    "TRADITIONAL",
    "ANSI",
    "ORACLE",
    "MSSQL",
    "EMPTY_STRING_IS_NULL",
    "SIMULTANEOUS_ASSIGNMENT",
]


def is_known_mode(database: Database, mode: str) -> bool:
    with database.engine.connect() as connection:
        try:
            connection.exec_driver_sql(f"SET SESSION sql_mode = '{mode}'")
        except sa.exc.DBAPIError:
            return False
        finally:
            connection.invalidate()
    return True


@ON_MYSQL_FAMILY
@KINDS
def test_sql_mode_changes_and_truncates_no_value(source: str, database: Database, tmp_path: Path) -> None:
    modes = [mode for mode in MODES if is_known_mode(database, mode)]
    values = ["", " ", "a\\b", "'", '"', "a  ", "||", "too long for it", "ü", "-1"]
    for number, mode in enumerate(modes):
        execute(
            database.engine,
            "DROP TABLE IF EXISTS items",
            "CREATE TABLE items (id CHAR(30) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY, "
            "value VARCHAR(40), copy VARCHAR(10), done INTEGER) CHARACTER SET utf8mb4",
        )
        with database.engine.begin() as connection:
            connection.execute(
                sa.text("INSERT INTO items (id, value) VALUES (:id, :value)"),
                [{"id": f"{i}\\" if i else "", "value": value} for i, value in enumerate(values)],
            )
        url = url_with(database, init_command=f"SET SESSION sql_mode = '{mode}'")
        with Project.create(tmp_path / f"project-{number}", url) as project:
            project.data(
                "m",
                source.replace("\nfill =", f"\nfill{number} =").replace("def fill(", f"def fill{number}("),
            )
            result = project.migrate(batch_size=2)[f"fill{number}"]
        assert (result.outcome, result.failed) == (Outcome.FAILED, 1), (mode, result)
        assert result.done == len(values) - 1, (mode, result)
        found = rows(database.engine, "SELECT copy FROM items WHERE BINARY copy <=> BINARY value")
        assert len(found) == len(values) - 1, (mode, found)


@ON_MYSQL_FAMILY
def test_trigger_is_created_with_the_sql_mode_of_the_application(database: Database, tmp_path: Path) -> None:
    """In a strict trigger the application's INSERT would fail; an ALTER must not truncate values."""
    with Project.create(
        tmp_path / "project", url_with(database, init_command="SET SESSION sql_mode = ''")
    ) as project:
        project.expand(
            """
            op.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, long_text VARCHAR(20), short VARCHAR(3))")
            op.execute("CREATE TRIGGER cut BEFORE INSERT ON items FOR EACH ROW SET NEW.short = NEW.long_text")
            op.execute("CREATE TABLE texts (value VARCHAR(20))")
            op.execute("INSERT INTO texts VALUES ('too long')")
            """,
        )
        project.expand("op.execute('ALTER TABLE texts MODIFY value VARCHAR(3)')")
        assert project.run("expand").code == 2
    [[mode]] = rows(
        database.engine, "SELECT sql_mode FROM information_schema.triggers WHERE trigger_name = 'cut'"
    )
    assert mode == ""
    assert rows(database.engine, "SELECT value FROM texts") == [("too long",)]


@ON_MYSQL_FAMILY
def test_sql_mode_set_by_a_script_is_kept(database: Database, tmp_path: Path) -> None:
    with Project.create(
        tmp_path / "project", url_with(database, init_command="SET SESSION sql_mode = ''")
    ) as project:
        project.expand(
            """
            op.execute("SET SESSION sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'")
            op.execute('CREATE TABLE "items" (id INTEGER PRIMARY KEY, a VARCHAR(9))')
            op.execute(
                'CREATE TRIGGER t BEFORE INSERT ON "items" FOR EACH ROW SET NEW."a" = \\'b\\' || \\'c\\''
            )
            """,
            additive=declared("unknown-setting sql_mode"),
        )
        assert project.run("expand").code == 0
    [[mode]] = rows(
        database.engine, "SELECT sql_mode FROM information_schema.triggers WHERE trigger_name = 't'"
    )
    assert set(mode.split(",")) == {"ANSI_QUOTES", "PIPES_AS_CONCAT"}


# --- PostgreSQL: settings of a role or a database ------------------------------------------------

SETTINGS = {
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-10",
    "TimeZone": "Asia/Kathmandu",
    "array_nulls": "off",
    "standard_conforming_strings": "off",
    "lc_monetary": "C",
    "client_encoding": "LATIN1",
}
KEYS: dict[str, list[Any]] = {
    "double precision": [0.1 + i * 1e-15 for i in range(9)],
    "interval": [datetime.timedelta(days=-1, seconds=i, microseconds=i) for i in range(9)],
    "bytea": [bytes([0, 92, 255, i]) for i in range(9)],
    "date": [datetime.date(2024, 1 + i, 12 - i) for i in range(9)],
    "timestamp": [datetime.datetime(2024, 1 + i, 12 - i, 3, 4, 5, i) for i in range(9)],
    "text": [f"{i}\\'Ж{ELEPHANT}" for i in range(9)],
    "money": [f"{i}.07" for i in range(9)],
}
COLUMNS: dict[str, list[Any]] = KEYS | {
    "text[]": [["a", None, "NULL", "\\"], [], None],
    "integer[]": [[1, None], [], None],
    "jsonb": ['{"a": "\\\\ Ж"}'],
    "real": [0.1 + i * 1e-7 for i in range(9)],
}


@ON_POSTGRESQL
@KINDS
@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
@pytest.mark.parametrize("key", KEYS)
def test_settings_of_the_database_change_no_key_or_value(
    key: str, driver: str, source: str, database: Database, tmp_path: Path
) -> None:
    quoted = [f"value_{i}" for i in range(len(COLUMNS))]
    columns = ", ".join(f"value_{i} {type_}, copy_{i} {type_}" for i, type_ in enumerate(COLUMNS))
    every = [{"key": key_, **dict.fromkeys(quoted)} for key_ in KEYS[key]]
    for number, row in enumerate(every):
        row |= {
            name: values[number % len(values)] for name, values in zip(quoted, COLUMNS.values(), strict=True)
        }
    casts = ", ".join(f"CAST(:value_{i} AS {type_})" for i, type_ in enumerate(COLUMNS))
    with database.engine.begin() as connection:
        connection.execute(sa.text(f"CREATE TABLE items (id {key} PRIMARY KEY, {columns}, done integer)"))
        connection.execute(
            sa.text(f"INSERT INTO items (id, {', '.join(quoted)}) VALUES (CAST(:key AS {key}), {casts})"),
            every,
        )
    execute(
        database.engine, *(f"ALTER DATABASE {database.name} SET {n} = '{v}'" for n, v in SETTINGS.items())
    )
    database.engine.dispose()
    url = sa.make_url(database.url).set(drivername=f"postgresql+{driver}")
    with Project.create(tmp_path / "project", url.render_as_string(hide_password=False)) as project:
        copies = ", ".join(f"'copy_{i}': {{0}}value_{i}" for i in range(len(COLUMNS)))
        project.data(
            "m",
            source.replace("'", '"')
            .replace('"copy": t.c.value', copies.format("t.c."))
            .replace('"copy": row.value', copies.format("row.")),
        )
        result = project.migrate(batch_size=2)["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, len(every)), result
    reader = create_engine(database.url)
    different = [
        type_
        for i, type_ in enumerate(COLUMNS)
        if rows(
            reader,
            f"SELECT 1 FROM items WHERE CAST(copy_{i} AS text) IS DISTINCT FROM CAST(value_{i} AS text)",
        )
    ]
    reader.dispose()
    assert different == []
