"""The servers have the expected products and settings, and each test has its own database."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, make_url, text

from tests.servers import CATALOG, SERVER_NAMES, Database, Server, system
from tests.servers.launch import RECIPES
from tests.servers.recipe import PASSWORD


def test_server_is_the_expected_product_and_version(server: Server) -> None:
    function = "sqlite_version()" if server.product == "sqlite" else "version()"
    engine = create_engine(server.url)
    with engine.connect() as connection:
        answer = connection.execute(text(f"SELECT {function}")).scalar_one()
    engine.dispose()
    assert server.version in answer
    assert server.product == CATALOG[server.name].product
    assert tuple(map(int, server.version.split("."))) >= CATALOG[server.name].minimum
    assert ("MariaDB" in answer) == (server.product == "mariadb")
    assert ("PostgreSQL" in answer) == (server.product == "postgresql")


def test_database_is_empty_and_isolated(server: Server, database: Database, tmp_path: Path) -> None:
    assert inspect(database.engine).get_table_names() == []
    with database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE mine (id INTEGER PRIMARY KEY)"))
    with server.fresh_database(tmp_path) as other:
        assert other.name != database.name
        assert inspect(other.engine).get_table_names() == []
    assert inspect(database.engine).get_table_names() == ["mine"]


@pytest.mark.needs("kill_session")
def test_database_is_dropped_although_a_session_holds_a_lock(server: Server, tmp_path: Path) -> None:
    with server.fresh_database(tmp_path) as database:
        with database.engine.begin() as connection:
            connection.execute(text("CREATE TABLE held (id INTEGER PRIMARY KEY)"))
        holder = create_engine(database.url)
        session = holder.connect()
        session.execute(text("INSERT INTO held VALUES (1)"))
    session.invalidate()
    holder.dispose()
    engine = create_engine(server.url)
    assert database.name not in inspect(engine).get_schema_names()
    if server.product == "postgresql":
        with engine.connect() as connection:
            query = text("SELECT count(*) FROM pg_database WHERE datname = :name")
            assert connection.execute(query, {"name": database.name}).scalar_one() == 0
    engine.dispose()


@pytest.mark.needs("row_locks")
def test_sessions_write_to_one_table_concurrently(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE counters (id INTEGER PRIMARY KEY, hits INTEGER)"))
        connection.execute(text("INSERT INTO counters VALUES (1, 0), (2, 0)"))

    def update_second_row() -> None:
        with database.engine.begin() as other:
            other.execute(text("UPDATE counters SET hits = 1 WHERE id = 2"))

    with database.engine.begin() as connection:
        connection.execute(text("UPDATE counters SET hits = 1 WHERE id = 1"))
        thread = threading.Thread(target=update_second_row, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT sum(hits) FROM counters")).scalar_one() == 2


@pytest.mark.needs("transactional_ddl")
def test_schema_change_is_rolled_back_with_transactional_ddl(database: Database) -> None:
    with database.engine.connect() as connection:
        if database.server.product == "sqlite":
            connection.exec_driver_sql("BEGIN")
        connection.execute(text("CREATE TABLE fleeting (id INTEGER PRIMARY KEY)"))
        connection.rollback()
    assert inspect(database.engine).get_table_names() == []


@pytest.mark.needs("lock_tables")
def test_binary_log_is_enabled_and_row_based(server: Server) -> None:
    engine = create_engine(server.url)
    with engine.connect() as connection:
        row = connection.execute(
            text("SELECT @@log_bin, @@binlog_format, @@log_bin_trust_function_creators")
        ).one()
    engine.dispose()
    assert tuple(row) == (1, "ROW", 1)


@pytest.mark.needs("cluster")
def test_cluster_node_reports_a_cluster(server: Server) -> None:
    engine = create_engine(server.url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT @@wsrep_on")).scalar_one() == 1
        size = connection.execute(text("SHOW STATUS LIKE 'wsrep_cluster_size'")).one()
    engine.dispose()
    assert size[1] == "1"


@pytest.mark.parametrize("name", SERVER_NAMES)
def test_password_of_the_test_servers_is_quoted_in_the_url(name: str) -> None:
    url = RECIPES[name].url(1)
    assert make_url(url).password == PASSWORD
    assert PASSWORD not in url


def test_undeclared_capability_is_refused(server: Server) -> None:
    with pytest.raises(ValueError, match="no such capability: 'flying'"):
        server.has("flying")  # type: ignore[arg-type]


def test_durable_servers_have_their_data_on_disk() -> None:
    assert system.data_folder(durable=True) != system.MEMORY
