"""A sync between two tables: a column moves from one to the other, and either version writes its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

from online_migrate import command
from online_migrate.dialects import dialect_of
from online_migrate.sync.definition import SyncRefused
from tests.functional.test_sync_writes import connection, create_sync, run
from tests.servers import Database
from tests.support.project import Project, execute

__all__ = ["connection"]

MOVED = """
addresses = sa.table("user_emails", sa.column("user_id"), sa.column("address"))

@row_migration(table="users", pending=lambda t: t.c.email.is_not(None) & ~sa.exists().where(
    addresses.c.user_id == t.c.id, addresses.c.address == t.c.email))
def moved(row):
    return {"email": row.email}
"""
TABLES = (
    "CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR(60), name VARCHAR(60))",
    """CREATE TABLE user_emails (user_id INTEGER PRIMARY KEY, address VARCHAR(60) NOT NULL, note VARCHAR(20),
       FOREIGN KEY (user_id) REFERENCES users (id))""",
)


def email_sync(connection: Connection, **changed: Any) -> None:
    definition = {
        "to": "user_emails",
        "key": {"user_id": "id"},
        "forward": {"address": sa.func.lower(sa.column("email"))},
        "backward": {"email": sa.column("address")},
    }
    create_sync(connection, "email", "users", **definition | changed)


def pairs(connection: Connection) -> list[tuple[Any, ...]]:
    """Returns (id, email, address) of all users."""
    query = "SELECT u.id, email, address FROM users u LEFT JOIN user_emails ON user_id = u.id ORDER BY u.id"
    return [tuple(row) for row in connection.execute(sa.text(query))]


def test_writes_of_either_version(connection: Connection) -> None:
    """INSERT, UPDATE, NULL, DELETE and another key, in either table."""
    run(connection, *TABLES)
    email_sync(connection)
    run(
        connection,
        "INSERT INTO users (id, email) VALUES (1, 'A@x'), (2, NULL), (3, 'c@x')",
        "INSERT INTO users (id, name) VALUES (4, 'new'), (5, 'new')",
        "INSERT INTO user_emails (user_id, address) VALUES (4, 'd@x'), (5, 'e@x')",
    )
    assert pairs(connection) == [
        (1, "A@x", "a@x"),
        (2, None, None),
        (3, "c@x", "c@x"),
        (4, "d@x", "d@x"),
        (5, "e@x", "e@x"),
    ]
    run(
        connection,
        "UPDATE users SET name = 'touched'",
        "UPDATE user_emails SET note = 'touched'",
        "UPDATE users SET email = 'B@x' WHERE id = 2",
        "UPDATE user_emails SET address = 'cc@x' WHERE user_id = 3",
        "UPDATE users SET email = NULL WHERE id = 4",
        "DELETE FROM user_emails WHERE user_id = 5",
    )
    assert pairs(connection) == [
        (1, "A@x", "a@x"),
        (2, "B@x", "b@x"),
        (3, "cc@x", "cc@x"),
        (4, None, None),
        (5, None, None),
    ]
    run(connection, "UPDATE user_emails SET user_id = 4 WHERE user_id = 3", "DELETE FROM users WHERE id = 2")
    assert pairs(connection) == [(1, "A@x", "a@x"), (3, None, None), (4, "cc@x", "cc@x"), (5, None, None)]
    run(connection, "UPDATE users SET id = 9 WHERE id = 5", "DELETE FROM users WHERE id IN (1, 3)")
    assert pairs(connection) == [(4, "cc@x", "cc@x"), (9, None, None)]


def test_key_of_the_first_table_changes(connection: Connection) -> None:
    """Without a foreign key the row of the other table follows."""
    run(connection, TABLES[0], TABLES[1].replace(",\n       FOREIGN KEY (user_id) REFERENCES users (id)", ""))
    email_sync(connection)
    run(
        connection,
        "INSERT INTO users (id, email) VALUES (1, 'a@x'), (2, 'b@x')",
        "UPDATE users SET id = 7 WHERE id = 1",
        "UPDATE users SET id = 8, email = 'c@x' WHERE id = 2",
    )
    assert pairs(connection) == [(7, "a@x", "a@x"), (8, "c@x", "c@x")]
    assert connection.scalar(sa.text("SELECT count(*) FROM user_emails")) == 2


def test_error_in_a_trigger_is_no_lasting_state(connection: Connection) -> None:
    """After a statement that failed inside a trigger the next write is synchronized."""
    run(
        connection,
        TABLES[0],
        "CREATE TABLE user_emails (user_id INTEGER PRIMARY KEY, address VARCHAR(9) CHECK (address <> 'bad'))",
    )
    email_sync(connection)
    with pytest.raises(sa.exc.DBAPIError):
        run(connection, "INSERT INTO users (id, email) VALUES (1, 'bad')")
    connection.rollback()
    run(connection, "INSERT INTO users (id, email) VALUES (2, 'good')")
    assert pairs(connection) == [(2, "good", "good")]


def test_refused(connection: Connection) -> None:
    """A table without the key, a column with a default, a target that cannot be filled, a wrong key."""
    run(
        connection,
        TABLES[0],
        "CREATE TABLE keyless (user_id INTEGER, address VARCHAR(60))",
        "CREATE TABLE strict (user_id INTEGER PRIMARY KEY, address VARCHAR(60), kind INTEGER NOT NULL)",
        "CREATE TABLE user_emails (user_id INTEGER PRIMARY KEY, address VARCHAR(60))",
        "CREATE TABLE people (id INTEGER PRIMARY KEY, email VARCHAR(60) NOT NULL)",
    )
    for reason, changed in {
        "table keyless has no unique key": {"to": "keyless"},
        "column kind of table strict": {"to": "strict"},
        "belong together": {"key": {}},
        "column owner does not exist in table": {"key": {"owner": "id"}},
        "table nothing: it does not exist": {"to": "nothing"},
    }.items():
        with pytest.raises(SyncRefused, match=reason):
            email_sync(connection, **changed)
    with pytest.raises(SyncRefused, match="NOT NULL or has a default"):
        create_sync(
            connection,
            "p",
            "people",
            to="user_emails",
            key={"user_id": "id"},
            forward={"address": "email"},
            backward={"email": "address"},
        )


_OWN_NUMBERS = {
    "sqlite": (
        "id INTEGER NOT NULL, PRIMARY KEY (id)",
        "id INTEGER PRIMARY KEY",
        "ID integer PRIMARY KEY AUTOINCREMENT",
    ),
    "postgresql": (
        "id SERIAL PRIMARY KEY",
        "id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "id INTEGER GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    ),
    "mysql": ("id INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY", "id BIGINT UNSIGNED AUTO_INCREMENT UNIQUE"),
    "mariadb": ("id INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY", "id BIGINT UNSIGNED AUTO_INCREMENT UNIQUE"),
}
"""By server, keys that the server fills."""


def _numbered(key: str, more: str = "") -> str:
    column, _, constraint = key.partition(", ")
    last = f", {constraint}" if constraint else ""
    return f"CREATE TABLE user_emails ({column}, user_id INTEGER UNIQUE, address VARCHAR(60){last}){more}"


def test_target_with_a_number_of_its_own(connection: Connection, database: Database) -> None:
    """A trigger inserts the row; the server gives it a number that is not that of the user."""
    for key in _OWN_NUMBERS[database.server.product]:
        run(connection, TABLES[0], _numbered(key))
        email_sync(connection)
        run(
            connection,
            "INSERT INTO users (id, email) VALUES (7, 'A@x'), (8, NULL)",
            "INSERT INTO user_emails (user_id, address) VALUES (8, 'b@x')",
            "INSERT INTO users (id, email) VALUES (9, 'c@x')",
            "UPDATE users SET email = 'd@x' WHERE id = 9",
        )
        assert pairs(connection) == [(7, "A@x", "a@x"), (8, "b@x", "b@x"), (9, "d@x", "d@x")], key
        numbers = connection.execute(sa.text("SELECT id FROM user_emails ORDER BY user_id")).scalars().all()
        assert len(numbers) == 3, key
        assert all(1 <= number < 7 for number in numbers), key
        drop_sync = Operations(MigrationContext.configure(connection)).drop_sync  # type: ignore[attr-defined]
        drop_sync("email")
        run(connection, "DROP TABLE user_emails", "DROP TABLE users")


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_partitioned_first_table_is_refused_on_postgresql(connection: Connection) -> None:
    """An UPDATE that moves a row to another partition is a DELETE and an INSERT for its triggers."""
    run(
        connection,
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR(60)) PARTITION BY RANGE (id)",
        "CREATE TABLE users_1 PARTITION OF users FOR VALUES FROM (0) TO (100)",
        "CREATE TABLE users_2 PARTITION OF users FOR VALUES FROM (100) TO (200)",
        TABLES[1].replace(",\n       FOREIGN KEY (user_id) REFERENCES users (id)", ""),
    )
    with pytest.raises(SyncRefused, match="table users is partitioned"):
        email_sync(connection)


def test_target_of_create_table(connection: Connection) -> None:
    """The primary key that ``op.create_table`` makes of an Integer fills itself on every server."""
    operations = Operations(MigrationContext.configure(connection))
    operations.create_table(
        "users", sa.Column("id", sa.Integer, primary_key=True), sa.Column("email", sa.Text)
    )
    operations.create_table(
        "user_emails",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id"), unique=True),
        sa.Column("address", sa.String(80)),
    )
    connection.commit()
    email_sync(connection)
    run(connection, "INSERT INTO users (email) VALUES ('A@x')", "INSERT INTO users (email) VALUES ('b@x')")
    assert pairs(connection) == [(1, "A@x", "a@x"), (2, "b@x", "b@x")]


def test_target_whose_key_is_empty(connection: Connection, database: Database) -> None:
    """A key without a value is refused; SQLite fills only the key that is the number of the row."""
    keys = ["id INTEGER NOT NULL PRIMARY KEY", "id VARCHAR(9) NOT NULL PRIMARY KEY"]
    keys += ["id INTEGER NOT NULL, kind INTEGER NOT NULL DEFAULT 1, PRIMARY KEY (id, kind)"]
    more = ""
    if database.server.product == "sqlite":
        more = " WITHOUT ROWID"
        without_more = ("id BIGINT NOT NULL PRIMARY KEY", "id BIGINT PRIMARY KEY", "id INT PRIMARY KEY")
        without_more += ("id VARCHAR(9) PRIMARY KEY", "id INTEGER PRIMARY KEY DESC", *keys[1:])
        _refused(connection, [_numbered(key) for key in without_more])
    _refused(connection, [_numbered(key, more) for key in keys])


def _refused(connection: Connection, tables: list[str]) -> None:
    for table in tables:
        run(connection, TABLES[0], table)
        with pytest.raises(SyncRefused, match=r"column id of table user_emails is .* no default"):
            email_sync(connection)
        run(connection, "DROP TABLE users", "DROP TABLE user_emails")


def test_column_that_only_backward_reads(connection: Connection) -> None:
    """A trigger does not assign it, so it is refused without a default."""
    run(
        connection,
        TABLES[0],
        "CREATE TABLE user_emails (user_id INTEGER PRIMARY KEY, address VARCHAR(60), host INTEGER NOT NULL)",
    )
    with pytest.raises(SyncRefused, match="column host of table user_emails is NOT NULL"):
        email_sync(connection, backward={"email": sa.func.concat(sa.column("address"), sa.column("host"))})


_TEXTS = st.one_of(st.none(), st.sampled_from(["a", "b"]))
_WRITES = st.lists(
    st.tuples(st.sampled_from(["user", "email", "no user", "no email"]), st.integers(1, 3), _TEXTS),
    max_size=25,
)


@pytest.fixture
def play(connection: Connection, database: Database) -> Callable[[Any], None]:
    """Returns a function that executes writes, and compares both tables after each."""
    run(connection, *TABLES)
    email_sync(connection)

    def write(what: str, key: int, text: str | None) -> None:
        exists = connection.scalar(sa.text("SELECT count(*) FROM users WHERE id = :k"), {"k": key})
        has_email = connection.scalar(
            sa.text("SELECT count(*) FROM user_emails WHERE user_id = :k"), {"k": key}
        )
        statements = {
            ("user", False): "INSERT INTO users (id, email) VALUES (:k, :t)",
            ("user", True): "UPDATE users SET email = :t WHERE id = :k",
            ("email", False): "INSERT INTO user_emails (user_id, address) VALUES (:k, :t)",
            ("email", True): "UPDATE user_emails SET address = :t WHERE user_id = :k",
        }
        if what.startswith("no "):
            table, column = ("users", "id") if what == "no user" else ("user_emails", "user_id")
            connection.execute(sa.text(f"DELETE FROM {table} WHERE {column} = :k"), {"k": key})
        elif what == "user":
            connection.execute(sa.text(statements[what, bool(exists)]), {"k": key, "t": text})
        elif exists and text is not None:
            connection.execute(sa.text(statements[what, bool(has_email)]), {"k": key, "t": text})

    def play(writes: Any) -> None:
        for one in writes:
            write(*one)
            found = pairs(connection)
            assert all(email == address for _, email, address in found), (one, found)
        connection.rollback()

    return play


def test_random_writes(play: Callable[[Any], None]) -> None:
    """After each write both tables say the same."""

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(_WRITES)
    def check(writes: Any) -> None:
        play(writes)

    check()


_IN_MIGRATION = {
    "mysql": "SET @online_migrate_data_migration = 1",
    "mariadb": "SET @online_migrate_data_migration = 1",
    "postgresql": "SET online_migrate.data_migration = 'on'",
    "sqlite": "SELECT 1",
}


def test_rows_that_were_there(connection: Connection, database: Database) -> None:
    """A data migration copies them by a statement on both tables; so does a write to one of them."""
    run(connection, *TABLES, "INSERT INTO users (id, email) VALUES (1, 'A@x'), (2, 'b@x'), (3, NULL)")
    email_sync(connection)
    run(connection, "UPDATE users SET email = 'B@x' WHERE id = 2")
    run(connection, _IN_MIGRATION[database.server.product])
    run(
        connection,
        "INSERT INTO user_emails (user_id, address) SELECT id, lower(email) FROM users WHERE id = 1",
    )
    assert pairs(connection) == [(1, "A@x", "a@x"), (2, "B@x", "b@x"), (3, None, None)]


def test_life(database: Database, tmp_path: Path) -> None:
    """The sync is shown by plan, recorded with both tables, checked by the gate, and dropped by contract."""
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand(
            """
            op.create_table("users", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
                            sa.Column("email", sa.String(60)))
            op.create_table("user_emails",
                            sa.Column("user_id", sa.Integer, primary_key=True, autoincrement=False),
                            sa.Column("address", sa.String(60)))
            op.create_sync("email", "users", to="user_emails", key={"user_id": "id"},
                           forward={"address": sa.column("email")}, backward={"email": sa.column("address")})
            """
        )
        project.data("moved", MOVED)
        project.contract('op.drop_column("users", "email")', requires=("moved",))
        project.apply_expand()
        project.migrate()
        [sync] = project.report().syncs
        assert sync.state == "there"
        assert set(sync.triggers) == set(
            dialect_of(database.engine).sync_trigger_names("email", between=True)
        )
        assert [blocker.id for blocker in command.gate(project.site())] == ["sync-in-use"]
        path = next((project.scripts / "contract").glob("*.py"))
        dropped = '    op.drop_sync("email")\n    op.drop_column'
        path.write_text(path.read_text().replace("    op.drop_column", dropped))
        texts = [text for step in command.plan(project.site()).steps for text in step.statements]
        assert sum(text.startswith("DROP TRIGGER") for text in texts) == len(sync.triggers)
        command.contract(project.site())
        assert project.report().syncs == ()
        execute(database.engine, "INSERT INTO user_emails (user_id, address) VALUES (1, 'x')")


@pytest.mark.needs("many_writers")
@pytest.mark.parametrize("email", ["'b@x'", "NULL"])
@pytest.mark.parametrize("migrating", [False, True], ids=["application", "data migration"])
def test_old_version_writes_beside_an_uncommitted_row_of_the_second_table(
    email: str, migrating: bool, database: Database, connection: Connection
) -> None:
    """The write waits, or one of the two transactions fails; the tables never disagree."""
    run(connection, *TABLES, "INSERT INTO users (id, email) VALUES (1, 'a@x')")
    email_sync(connection)
    connection.commit()
    dialect = dialect_of(connection)

    def write() -> None:
        with database.engine.connect() as old, contextlib.suppress(sa.exc.DBAPIError):
            old.exec_driver_sql(f"UPDATE users SET email = {email} WHERE id = 1")
            old.commit()

    with database.engine.connect() as new:
        if migrating:
            dialect.prepare_data_session(new, idle_timeout=30)
        new.exec_driver_sql("INSERT INTO user_emails (user_id, address) VALUES (1, 'a@x')")
        writer = threading.Thread(target=write)
        writer.start()
        writer.join(1.0)
        with contextlib.suppress(sa.exc.DBAPIError):
            new.commit()
        writer.join(60)
        assert not writer.is_alive()
    [(_, old_value, new_value)] = pairs(connection)
    assert old_value == new_value, "a write was lost"


@pytest.mark.needs("lock_tables")  # the servers whose triggers set a variable of the session
def test_writes_after_a_lock_timeout_in_a_trigger(database: Database, connection: Connection) -> None:
    """No handler of a trigger runs for error 1205; the retry on the same connection is synchronized."""
    run(connection, *TABLES)
    email_sync(connection)
    run(connection, "INSERT INTO users (id, email) VALUES (1, 'a@x')")
    with database.engine.connect() as other:
        other.execute(sa.text("UPDATE user_emails SET note = 'locked' WHERE user_id = 1"))
        connection.execute(sa.text("SET SESSION innodb_lock_wait_timeout = 1"))
        with pytest.raises(sa.exc.OperationalError, match="1205"):
            connection.execute(sa.text("UPDATE users SET email = 'first@x' WHERE id = 1"))
        connection.rollback()
        other.rollback()
    run(connection, "UPDATE users SET email = 'retry@x' WHERE id = 1")
    assert pairs(connection) == [(1, "retry@x", "retry@x")]
    run(connection, "UPDATE user_emails SET address = 'back@x' WHERE user_id = 1")
    assert pairs(connection) == [(1, "back@x", "back@x")]
