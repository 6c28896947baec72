"""A server for the cases of the corpus: a schema that is reset for each case, and its old code."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import uuid
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from pymysql.constants import CLIENT
from sqlalchemy import NullPool

from tests.servers import Database
from tests.support.corpus import base as schema
from tests.support.corpus.base import BASES, Base
from tests.support.corpus.case import LITE, MA, MY, PG, Case

_PASSWORD = "old-code"
_IMPATIENT_MYSQL = (
    f"USE {schema.DATABASE}; SET SESSION lock_wait_timeout = 1, SESSION innodb_lock_wait_timeout = 1"
)
_IMPATIENT = {
    PG: "RESET ALL; SET lock_timeout = 200",
    MY: _IMPATIENT_MYSQL,
    MA: _IMPATIENT_MYSQL,
    LITE: "PRAGMA foreign_keys = ON",
}
_PREPARE_OLD_CODE = {
    PG: "RESET ALL",
    MY: f"USE {schema.DATABASE}",
    MA: f"USE {schema.DATABASE}",
    LITE: "PRAGMA foreign_keys = ON",
}
_CONNECT: dict[str, dict[str, Any]] = {
    PG: {},
    MY: {"client_flag": CLIENT.MULTI_STATEMENTS},
    MA: {"client_flag": CLIENT.MULTI_STATEMENTS},
    LITE: {"timeout": 0.1},
}
_FILENODES = "SELECT relname, pg_relation_filenode(oid) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"


@dataclasses.dataclass(frozen=True)
class Result:
    """The rows, or the number of changed rows, of a statement; *error*: the message of the server."""

    rows: tuple[tuple[Any, ...], ...] = ()
    changed: int = 0
    error: str | None = None

    def __str__(self) -> str:
        return self.error or f"{self.changed} changed, rows {self.rows}"


REFUSED = Result(rows=(("refused",),))
"""The server refuses the statement, and the old code relies on it."""


class Session:
    """A connection that commits every statement, unless a script begins a transaction."""

    def __init__(self, engine: sa.Engine, product: str) -> None:
        self._product = product
        self._connection = engine.connect()
        self.driver_error = engine.dialect.loaded_dbapi.Error
        self._driver = self._connection.connection.dbapi_connection
        if product == LITE:
            self.run("PRAGMA synchronous = OFF")

    def run(self, text: str) -> None:
        """Executes the statements of *text* as one text, if the driver can."""
        cursor = self._driver.cursor()
        if self._product == LITE:
            cursor.executescript(text)
            return
        cursor.execute(text)
        while self._product in (MY, MA) and cursor.nextset():
            pass
        cursor.close()

    def answer(self, statement: str, error_expected: bool = False) -> Result:
        """Returns the result of a statement, also if it fails; an expected error is :data:`REFUSED`."""
        cursor = self._driver.cursor()
        try:
            cursor.execute(statement)
            if cursor.description is None:
                return Result(changed=cursor.rowcount)
            return Result(rows=tuple(tuple(row) for row in cursor.fetchall()))
        except self.driver_error as error:
            if error_expected:
                return REFUSED
            return Result(error=f"{type(error).__name__}: {error}".strip())
        finally:
            cursor.close()

    def close(self) -> None:
        self._connection.close()


class Bench:
    """One server, with a database that is emptied for each case."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: dict[str, Session] = {}
        self._engines: dict[sa.URL, sa.Engine] = {}
        self._references: dict[str, dict[str, Result]] = {}
        self.product = database.server.product
        suffix = uuid.uuid4().hex[:8]
        self._names = {
            schema.APP: f"app_{suffix}",
            schema.ROLE: f"role_{suffix}",
            schema.DATABASE: database.name,
        }

    def text(self, text: str) -> str:
        """Returns *text* with the names of this server."""
        for general, own in self._names.items():
            text = text.replace(general, own)
        return text

    @contextlib.contextmanager
    def session(self, *, account: bool = False) -> Iterator[Session]:
        """Yields a new session, of the administrator or of the old code's account."""
        url = sa.make_url(self._database.url)
        user = self._names[schema.APP]
        if account and self.product != PG:
            url = url.set(username=user, password=_PASSWORD)
        session = Session(self._engine(url), self.product)
        try:
            if account and self.product == PG:
                session.run(f"SET ROLE {user}")
            yield session
        finally:
            session.close()

    @contextlib.contextmanager
    def kept_session(self, use: str) -> Iterator[Session]:
        """Yields the session for *use*, which stays open; SQLite gets a new one, because its file is new."""
        if self.product == LITE:
            with self.session() as session:
                yield session
            return
        if use not in self._kept:
            session = Session(self._engine(sa.make_url(self._database.url)), self.product)
            if self.product in (MY, MA) and use == "schema":
                session.run("SET SESSION sql_log_bin = 0")  # a commit without the binary log is faster
            self._kept[use] = session
        yield self._kept[use]

    def _engine(self, url: sa.URL) -> sa.Engine:
        """Returns the engine for *url*; a new one asks the server for its version and its settings."""
        if url not in self._engines:
            self._engines[url] = sa.create_engine(
                url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=_CONNECT[self.product]
            )
        return self._engines[url]

    def reset(self, base: Base) -> None:
        """Removes everything, and creates the schema of *base* with its rows."""
        self._remove_everything()
        with self.kept_session("schema") as session:
            session.run(self.text(base.create[self.product]))

    def close(self) -> None:
        """Removes everything, also the accounts that cases created, and closes the sessions."""
        self._remove_everything()
        for session in self._kept.values():
            session.close()

    def _remove_everything(self) -> None:
        if self.product == LITE:
            for end in ("", "-wal", "-shm", "-journal"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{sa.make_url(self._database.url).database}{end}")
        if _EMPTY[self.product]:
            with self.kept_session("schema") as session:
                session.run(self.text("; ".join(_EMPTY[self.product])))

    def old_code(self, base: Base, turn: int) -> dict[str, Result]:
        """Returns the results of the old code in its first or second round, by the key of the statement."""
        with self.session(account=True) if base.account else self.kept_session("old code") as session:
            session.run(self.text(_PREPARE_OLD_CODE[self.product]))
            return {
                statement.key: session.answer(statement.on(self.product).format(n=turn), statement.error)
                for statement in base.old_code
                if turn == 2 or not statement.late
            }

    def make_impatient(self, session: Session) -> None:
        """Limits how long the statements of a session wait for a lock."""
        session.run(self.text(_IMPATIENT[self.product]))

    def reference(self, name: str) -> dict[str, Result]:
        """Returns the results of the second round without a script."""
        if name not in self._references:
            self._references[name] = self._results_without_script(BASES[name])
        return self._references[name]

    def _results_without_script(self, base: Base) -> dict[str, Result]:
        self.reset(base)
        self.old_code(base, 1)
        results = self.old_code(base, 2)
        errors = {key: result.error for key, result in results.items() if result.error}
        assert not errors, f"the old code of {base.name} fails without a script: {errors}"
        return results

    def begin(self, case: Case) -> None:
        """Creates the schema of *case*, and executes the first round of its old code."""
        base = BASES[case.base]
        self.reset(base)
        errors = {key: result.error for key, result in self.old_code(base, 1).items() if result.error}
        assert not errors, f"the old code fails before the script: {errors}"

    def script(self, case: Case) -> str:
        """Returns the script of *case* for this server."""
        return self.text(case.servers[self.product])

    def can_execute(self, case: Case) -> bool:
        """Returns False for a case of another server, and for an ICU collation where the build has none."""
        if self.product not in case.servers:
            return False
        return self.product != PG or "icu" not in case.servers[PG] or self._has_icu()

    def _has_icu(self) -> bool:
        with self.kept_session("catalog") as session:
            return bool(session.answer("SELECT 1 FROM pg_collation WHERE collname = 'und-x-icu'").rows)

    def filenodes(self) -> dict[str, int]:
        """Returns the file of each table; it changes when the table is rewritten (PostgreSQL)."""
        with self.kept_session("catalog") as session:
            return dict(session.answer(_FILENODES).rows)


_MYSQL_EMPTY = (
    f"DROP DATABASE IF EXISTS {schema.DATABASE}",
    f"CREATE DATABASE {schema.DATABASE}",
    f"USE {schema.DATABASE}",
    f"DROP USER IF EXISTS {schema.APP}@'%', {schema.ROLE}@'%'",
)
_EMPTY = {
    PG: (
        "DROP PUBLICATION IF EXISTS corpus_publication",
        "DROP SCHEMA IF EXISTS corpus_schema CASCADE",
        "DROP SCHEMA public CASCADE",
        "CREATE SCHEMA public",
        f"""DO $$ BEGIN
            IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{schema.APP}') THEN
                DROP OWNED BY {schema.APP} CASCADE; DROP ROLE {schema.APP};
            END IF;
            IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{schema.ROLE}') THEN
                DROP OWNED BY {schema.ROLE} CASCADE; DROP ROLE {schema.ROLE};
            END IF;
        END $$""",
    ),
    MY: _MYSQL_EMPTY,
    MA: _MYSQL_EMPTY,
    LITE: (),
}
