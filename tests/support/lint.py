"""Scripts for the tests of lint rules, read from SQL."""

from __future__ import annotations

from collections.abc import Sequence

from online_migrate.lint.reading import read_script
from online_migrate.lint.registry import built_in
from online_migrate.lint.schema import Schema
from online_migrate.lint.script import Script
from online_migrate.lint.source import RawScript, Text
from online_migrate.lint.violation import Finding
from online_migrate.phases.known import Server
from online_migrate.phases.schema import VirtualSchema
from online_migrate.script.graph import Phase


def script(
    statements: str | Sequence[str],
    server: str = "postgresql",
    *,
    before: str = "",
    phase: Phase | None = Phase.BASE,
    transaction: int | None = 0,
) -> Script:
    """Returns the script of a revision with *statements*, each on a line of its own.

    *before*: SQL that earlier revisions executed. *phase*: None: the script is a SQL file.
    """
    schema, judged, product = Schema(), VirtualSchema(), Server(server)
    earlier = RawScript("before.py", (Text(before, 1),), revision="r0", phase=Phase.BASE)
    _, schema = read_script(earlier, product, schema, judged)
    judged.begin_group()
    if phase is None:
        assert isinstance(statements, str)
        raw = RawScript("script.sql", (Text(statements, 1, is_file=True),))
    else:
        listed = [statements] if isinstance(statements, str) else statements
        texts = tuple(Text(text, line, transaction=transaction) for line, text in enumerate(listed, 1))
        raw = RawScript("script.py", texts, revision="r1", phase=phase)
    return read_script(raw, product, schema.settled(), judged)[0]


def findings(rule: str, checked: Script) -> list[Finding]:
    """Returns what a rule of this package finds in a script."""
    check = built_in()[rule].check
    assert check is not None
    return list(check(checked))
