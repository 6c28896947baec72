"""A text of PostgreSQL is recognised if the reader of tokens and PostgreSQL's own parser agree on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from online_migrate.cli.main import run
from online_migrate.phases.judge import judge_text
from online_migrate.phases.known import NothingKnown, Server
from online_migrate.phases.script import read
from online_migrate.sql.operations import both_readers, pglast_reader
from online_migrate.sql.operations.both_readers import read_by_both
from online_migrate.sql.operations.operation import DropTable, Operation, Unrecognized
from online_migrate.sql.operations.parts import Name
from online_migrate.sql.operations.reader import read_operations

pytest.importorskip("pglast")

RESERVED = "ALTER TABLE volumes\n  ADD COLUMN order INTEGER"
"""The reader of tokens takes the reserved word for a name."""


@pytest.fixture(autouse=True)
def _no_memory() -> None:
    both_readers._checked.cache_clear()


def why(text: str, version: tuple[int, ...] | None = None) -> str:
    """Returns why a text is not recognised; empty if it is."""
    unknown = [o for o in read_by_both(text, "postgresql", version) if isinstance(o, Unrecognized)]
    return unknown[0].why or "no more is known" if unknown else ""


def test_syntax_error_names_its_place_and_what_was_read() -> None:
    assert why(RESERVED) == (
        'PostgreSQL\'s parser says: syntax error at or near "order", line 2, column 14. The reader of tokens'
        " reads AddColumn volumes."
    )
    [verdict] = judge_text(RESERVED, Server("postgresql"), NothingKnown())
    assert (verdict.rule, verdict.additive) == ("unrecognized", False)
    assert "line 2, column 14" in verdict.reason


def test_what_the_reader_of_tokens_does_not_know_has_the_place_too() -> None:
    [operation] = read_by_both("ALTER TABLE t ADD COLUMN a INTEGER FROBNICATE", "postgresql")
    assert isinstance(operation, Unrecognized)
    assert (
        operation.what
        == read_operations("ALTER TABLE t ADD COLUMN a INTEGER FROBNICATE", "postgresql")[0].what
    )
    assert 'at or near "FROBNICATE", line 1, column 36' in operation.why


def test_syntax_error_counts_only_for_servers_with_the_grammar() -> None:
    """PostgreSQL 13 has postfix operators; of a version that does not exist yet nothing is known."""
    assert why(RESERVED, (15, 3))
    assert not why(RESERVED, (13, 9))
    assert not why(RESERVED, (99, 0))
    assert read_by_both(RESERVED, "mysql") == read_operations(RESERVED, "mysql")


def test_disagreement_names_what_each_reader_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(text: str) -> tuple[Operation, ...]:
        return (DropTable(table=Name("t")),)

    assert "The two readers disagree" in why("SELECT a replace FROM t")
    monkeypatch.setattr(pglast_reader, "read_operations", other)
    assert why("DROP TABLE volumes") == (
        "The two readers disagree: the reader of tokens reads DropTable volumes, and PostgreSQL's parser"
        " DropTable t."
    )


PLACEHOLDERS = (
    "UPDATE t SET a = %(a)s, b = %(b_1)s WHERE c LIKE 'x%%' AND d = 5 % 3",
    "INSERT INTO t (a, b) VALUES (%s, %s)",
    "DELETE FROM t WHERE a = :a AND b = ANY(:b) AND c::text = 'x'",
    "SELECT a FROM t WHERE a IN %s",
    "SELECT a FROM t WHERE a = $1::integer",
)


@pytest.mark.parametrize("text", PLACEHOLDERS)
def test_placeholder_of_a_driver_is_no_syntax_error(text: str) -> None:
    assert read_by_both(text, "postgresql", (15, 0)) == read_operations(text, "postgresql")


DETAILS = (
    "CREATE INDEX i ON t USING btree (lower(a) text_pattern_ops) WHERE b > 0",
    "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
    "ALTER TABLE t SET (fillfactor = 70, autovacuum_enabled)",
    "ALTER TABLE t ADD CONSTRAINT c CHECK (  a  >  0 AND b IN ('x', 'y')  ), ADD UNIQUE (a) INCLUDE (b)",
    f"CREATE TABLE {'long_' * 20} ({'é' * 40} INTEGER)",
    "CREATE FOREIGN TABLE f (id INTEGER) SERVER s",
    "CREATE STATISTICS s (mcv) ON a, (b + 1) FROM t; ALTER SEQUENCE s OWNED BY t.a; COMMENT ON TABLE t IS ''",
)


@pytest.mark.parametrize("text", DETAILS)
def test_what_is_written_in_other_words_is_no_disagreement(text: str) -> None:
    assert read_by_both(text, "postgresql") == read_operations(text, "postgresql")


def test_without_the_parser_the_reader_of_tokens_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(both_readers, "_is_installed", lambda: False)
    assert read(RESERVED, Server("postgresql")) == read_operations(RESERVED, "postgresql")


def test_lint_names_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "script.sql").write_text(f"{RESERVED};\n")
    monkeypatch.chdir(tmp_path)
    assert run(["lint", "--dialect", "postgresql", "script.sql"]) == 3
    out = capsys.readouterr().out
    assert 'syntax error at or near "order", line 2, column 14' in out
    assert "AddColumn volumes" in out


def test_parser_is_imported_when_a_text_of_postgresql_is_read(tmp_path: Path) -> None:
    """Not by ``--help``, and not for another server."""
    code = """
import sys, contextlib
from online_migrate.cli.main import run
from online_migrate.phases.script import read
from online_migrate.phases.known import Server
with contextlib.suppress(SystemExit):
    run(["--help"])
read("DROP TABLE t", Server("mysql"))
assert "pglast" not in sys.modules
read("DROP TABLE t", Server("postgresql"))
assert "pglast" in sys.modules
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
