"""The cost of a connection, and the security of its certificates."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import Literal

import pytest
import sqlalchemy as sa
from oslo_db.exception import DBError

from online_migrate.dialects import create_engine, dialect_of, mysql_engine
from online_migrate.driver_errors import DATABASE_ERRORS, set_isolation
from tests.servers import Database, tls
from tests.support.project import execute

pytestmark = pytest.mark.needs("lock_tables")  # the servers of the MySQL family


def test_system_certificates_are_read_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once in the process, by all connections of all engines."""
    mysql_engine.connection_class.cache_clear()
    read: list[object] = []
    original = ssl.SSLContext.set_default_verify_paths

    def counted(context: ssl.SSLContext) -> None:
        read.append(context)
        original(context)

    monkeypatch.setattr(ssl.SSLContext, "set_default_verify_paths", counted)
    monkeypatch.setattr("pymysql.connections.Connection._create_ssl_ctx", tls.of_pymysql)
    engines = [create_engine(database.url) for _ in range(2)]
    connections = [engine.connect() for engine in engines for _ in range(2)]
    ciphers = [
        connection.execute(sa.text("SHOW SESSION STATUS LIKE 'Ssl_cipher'")).one()[1]
        for connection in connections
    ]
    for connection in connections:
        connection.close()
    for engine in engines:
        engine.dispose()
    assert len(read) == 1
    # MySQL creates a certificate for itself; this MariaDB has none.
    assert [bool(cipher) for cipher in ciphers] == [database.server.product == "mysql"] * 4


def test_certificate_in_url_is_used(database: Database, tmp_path: Path) -> None:
    missing = tmp_path / "no-such-authority.pem"
    url = sa.make_url(database.url).update_query_dict({"ssl_ca": str(missing)})
    engine = create_engine(url.render_as_string(hide_password=False))
    with pytest.raises((OSError, sa.exc.DBAPIError), match="No such file"):
        engine.connect()
    engine.dispose()


def test_named_certificate_is_read_for_each_connection(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been renewed since the last connection, in a run that lasts for days."""
    read: list[dict[str, object]] = []

    def counted(connection: object, options: dict[str, object]) -> object:
        read.append(options)
        return tls.of_pymysql(connection, {})

    monkeypatch.setattr("pymysql.connections.Connection._create_ssl_ctx", counted)
    url = sa.make_url(database.url).update_query_dict({"ssl_ca": "named.pem"})
    engine = create_engine(url.render_as_string(hide_password=False))
    for _ in range(2):
        # This MariaDB has no certificate, so it cannot answer a client that requires one.
        with contextlib.suppress(sa.exc.DBAPIError, DBError):
            engine.connect().invalidate()
    engine.dispose()
    assert [options["ca"] for options in read] == ["named.pem"] * 2


@pytest.mark.parametrize("level", ["READ COMMITTED", "AUTOCOMMIT"])
def test_connection_lost_during_session_setup(
    level: Literal["READ COMMITTED", "AUTOCOMMIT"], database: Database
) -> None:
    """SQLAlchemy passes on the driver's own error there: it would end a thread instead of a session."""
    engine = create_engine(database.url)
    with engine.connect() as connection:
        number = connection.scalar(sa.text("SELECT CONNECTION_ID()"))
        connection.rollback()
        execute(database.engine, f"KILL {number}")
        with pytest.raises(DATABASE_ERRORS) as caught:
            set_isolation(connection, level)
        assert dialect_of(connection).is_connection_lost(caught.value)
    engine.dispose()
