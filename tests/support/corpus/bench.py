"""Executes a case of the corpus on a server: the old code, the script, and the old code again."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
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
from tests.support.corpus.case import LITE, MA, MY, PG, Case, Effect, Harm

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
_ONLINE = ("ALGORITHM=INSTANT", "ALGORITHM=INPLACE, LOCK=NONE")
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

    def __init__(self, url: str, product: str) -> None:
        arguments = {
            MY: {"client_flag": CLIENT.MULTI_STATEMENTS},
            MA: {"client_flag": CLIENT.MULTI_STATEMENTS},
        }
        arguments[LITE] = {"timeout": 0.1}
        engine = sa.create_engine(
            url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=arguments.get(product, {})
        )
        self._product = product
        self._connection = engine.connect()
        self.driver_error = engine.dialect.loaded_dbapi.Error
        self._driver = self._connection.connection.dbapi_connection

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
        session = Session(url.render_as_string(hide_password=False), self.product)
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
            self._kept[use] = Session(self._database.url, self.product)
        yield self._kept[use]

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
        with self.kept_session("schema") as session:
            for statement in _EMPTY[self.product]:
                session.run(self.text(statement))

    def old_code(self, base: Base, turn: int) -> dict[str, Result]:
        """Returns the results of the old code in its first or second round, by the key of the statement."""
        with self.session(account=True) if base.account else self.kept_session("old code") as session:
            session.run(self.text(_IMPATIENT[self.product]))
            return {
                statement.key: session.answer(statement.on(self.product).format(n=turn), statement.error)
                for statement in base.old_code
                if turn == 2 or not statement.late
            }

    @functools.cache  # noqa: B019 - a bench lives for one test
    def reference(self, name: str) -> dict[str, Result]:
        """Returns the results of the second round without a script."""
        base = BASES[name]
        self.reset(base)
        self.old_code(base, 1)
        results = self.old_code(base, 2)
        errors = {key: result.error for key, result in results.items() if result.error}
        assert not errors, f"the old code of {name} fails without a script: {errors}"
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

    def filenodes(self) -> dict[str, int]:
        """Returns the file of each table; it changes when the table is rewritten (PostgreSQL)."""
        with self.session() as session:
            return dict(session.answer(_FILENODES).rows)


_MYSQL_EMPTY = (
    "SET SESSION sql_log_bin = 0",
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


def problem_of(bench: Bench, case: Case) -> str | None:
    """Returns what the server contradicts in *case*; None if it confirms the case."""
    if case.harm is None:
        return _problem_of_allowed(bench, case)
    return _CHECKS[case.harm.effect](bench, case, case.harm)


def _problem_of_allowed(bench: Bench, case: Case) -> str | None:
    reference = bench.reference(case.base)
    bench.begin(case)
    files = bench.filenodes() if bench.product == PG else {}
    with bench.session() as session:
        session.run(bench.script(case))
        after = bench.old_code(BASES[case.base], 2)
    for key, result in after.items():
        if result != reference[key]:
            return f"{key}: {result}; without the script: {reference[key]}"
    if bench.product == PG:
        now = bench.filenodes()
        rewritten = [table for table, file in files.items() if now.get(table) != file]
        return f"rewritten: {', '.join(rewritten)}" if rewritten else None
    return _refusal_of_online_form(bench, case)


def _refusal_of_online_form(bench: Bench, case: Case) -> str | None:
    """Returns why no form of the statement lets writers go on; None if one does, or it has no such form."""
    script = bench.script(case)
    if bench.product not in (MY, MA) or not _has_online_form(script):
        return None
    refusals = []
    bench.reset(BASES[case.base])
    with bench.session() as session:
        for form in _ONLINE:
            options = f", {form}" if script.upper().startswith("ALTER") else f" {form.replace(',', '')}"
            try:
                session.run(script + options)
            except session.driver_error as error:
                refusals.append(f"{form}: {error}")
            else:
                return None
    return f"writers wait for the copy: {'; '.join(refusals)}"


def _has_online_form(script: str) -> bool:
    """Whether *script* is one statement that takes ALGORITHM and LOCK, and has none."""
    upper = script.upper()
    words = upper.split()
    alters = words[:2] == ["ALTER", "TABLE"] and "PARTITION" not in words and "RENAME TO" not in upper
    creates = words[0] == "CREATE" and "INDEX" in words[:3]
    return (
        ";" not in script
        and "ALGORITHM" not in upper
        and "IF NOT EXISTS" not in upper
        and (alters or creates)
    )


def _second_round(bench: Bench, case: Case) -> dict[str, Result]:
    """Returns the results of the second round, after the script."""
    bench.begin(case)
    with bench.session() as session:
        session.run(bench.script(case))
        return bench.old_code(BASES[case.base], 2)


def _not_broken(bench: Bench, case: Case, harm: Harm) -> str | None:
    bench.reference(case.base)
    results = _second_round(bench, case)
    if results[harm.what].error:
        return None
    failed = {key: result.error for key, result in results.items() if result.error}
    return f"{harm.what} does not fail: {results[harm.what]}; those that fail: {failed}"


def _not_wrong(bench: Bench, case: Case, harm: Harm) -> str | None:
    reference = bench.reference(case.base)
    results = _second_round(bench, case)
    result = results[harm.what]
    if result.error is None and result != reference[harm.what]:
        return None
    other = {key: str(result) for key, result in results.items() if result != reference[key]}
    return f"{harm.what} has the same result: {result}; those with another result: {other}"


def _not_lost(bench: Bench, case: Case, harm: Harm) -> str | None:
    reference = bench.reference(case.base)
    results = _second_round(bench, case)
    result = results[harm.what]
    if result.error is None and len(result.rows) < len(reference[harm.what].rows):
        return None
    other = {key: str(result) for key, result in results.items() if result != reference[key]}
    return f"{harm.what} returns all rows: {result}; other results: {other}"


def _not_rewritten(bench: Bench, case: Case, harm: Harm) -> str | None:
    if bench.product != PG:
        return None if _refusal_of_online_form(bench, case) else f"{harm.what}: an online form is accepted"
    bench.begin(case)
    before = bench.filenodes()
    with bench.session() as session:
        session.run(bench.script(case))
    return None if bench.filenodes()[harm.what] != before[harm.what] else f"{harm.what} is not rewritten"


def _not_scanned(bench: Bench, case: Case, harm: Harm) -> str | None:
    bench.begin(case)
    with bench.session() as session:
        session.run("BEGIN; " + bench.script(case))
        scans = session.answer(_SCANS.format(harm.what)).rows[0][0]
        exclusive = session.answer(_EXCLUSIVE.format(harm.what)).rows[0][0]
    return (
        None if scans and exclusive else f"{harm.what}: {scans} scans, {exclusive} locks that block writers"
    )


_SCANS = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relid = '{}'::regclass"
_EXCLUSIVE = (
    "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation = '{}'::regclass"
    " AND mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')"
)


def _not_blocked(bench: Bench, case: Case, harm: Harm) -> str | None:
    bench.reference(case.base)
    bench.begin(case)
    base = BASES[case.base]
    statement = next(statement for statement in base.old_code if statement.key == harm.what)
    with bench.session() as session, bench.session() as other:
        session.run(_OPEN[bench.product] + bench.script(case))
        other.run(bench.text(_IMPATIENT[bench.product]))
        result = other.answer(statement.on(bench.product).format(n=2))
    return None if result.error else f"{harm.what} is not blocked: {result}"


_OPEN = {PG: "BEGIN; ", MY: "", MA: "", LITE: ""}


def _not_failed(bench: Bench, case: Case, harm: Harm) -> str | None:
    bench.begin(case)
    with bench.session() as session:
        try:
            session.run(bench.script(case))
        except session.driver_error as error:
            return None if harm.what.lower() in str(error).lower() else f"fails, but says: {error}"
    return "the script does not fail"


_CHECKS = {
    Effect.BREAKS: _not_broken,
    Effect.WRONG: _not_wrong,
    Effect.LOST: _not_lost,
    Effect.REWRITE: _not_rewritten,
    Effect.SCANS: _not_scanned,
    Effect.BLOCKS: _not_blocked,
    Effect.FAILS: _not_failed,
}
