"""Reads the statements and the operations of a script, and follows the schema that they create. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from online_migrate.lint.catalog import Catalog
from online_migrate.lint.schema import Schema
from online_migrate.lint.script import Script, Statement, Step
from online_migrate.lint.source import RawScript, Text
from online_migrate.phases.judge import judge
from online_migrate.phases.known import Server
from online_migrate.phases.rules import apply_rule
from online_migrate.phases.schema import VirtualSchema
from online_migrate.phases.sync_statements import creates_sync, sync_object
from online_migrate.sql.lexer import Sort, Token, readings, split
from online_migrate.sql.operations.both_readers import read_by_both
from online_migrate.sql.operations.operation import Operation, Unrecognized
from online_migrate.sql.parse import Unreadable

_BEGIN = frozenset({"BEGIN", "START"})
_END = frozenset({"COMMIT", "ROLLBACK", "END", "ABORT"})
_TRANSACTIONAL = frozenset({"postgresql", "sqlite"})
"""The servers on which DDL is part of a transaction."""


def read_script(
    raw: RawScript, server: Server, schema: Schema, judged: VirtualSchema, catalog: Catalog | None = None
) -> tuple[Script, Schema]:
    """Returns a script with its operations, and the schema after it.

    *catalog*: the database that it will run on. *schema*: the schema before it. *judged*: the same for the
    phases, which know less, but never wrongly; it is changed.
    """
    steps: list[Step] = []
    for statement in _statements(raw, server.product):
        for operation in _operations(statement.text, server):
            verdict = judge(operation, server, judged)
            if creates_sync(statement.text):
                verdict = apply_rule("create-sync", sync_object(statement.text))
            steps.append(Step(operation, statement, schema, verdict))
            schema = schema.after(operation, statement.text)
            judged.apply(operation)
    if raw.not_rendered is not None:
        judged.apply(Unrecognized(what="the statements that were not rendered"))
    script = Script(
        path=raw.path,
        server=server,
        steps=tuple(steps),
        revision=raw.revision,
        phase=raw.phase,
        not_rendered=raw.not_rendered,
        reported=raw.reported,
        additive=raw.additive,
        catalog=catalog,
        under_lock=raw.under_lock,
    )
    return script, schema


def _operations(text: str, server: Server) -> tuple[Operation, ...]:
    try:
        return read_by_both(text, server.product, server.version)
    except Unreadable as error:
        return (Unrecognized(what=str(error)),)


def _statements(raw: RawScript, product: str) -> Iterator[Statement]:
    """Returns the statements of a script, without those that begin and end transactions."""
    number, own = 0, _Transaction()
    for text in raw.texts:
        for part, line, word in _parts(text, product):
            if word in _BEGIN or word in _END:
                own = own.after(word)
                continue
            end = line + part.count("\n") if text.is_file else line
            inside = own.number if own.open else text.transaction
            yield Statement(part, line, end, number, inside if product in _TRANSACTIONAL else None)
            number += 1


@dataclasses.dataclass(frozen=True)
class _Transaction:
    """The transaction that the statements of a SQL text itself begin and end."""

    open: bool = False
    number: int = 1_000
    """Higher than those of rendered statements."""

    def after(self, word: str) -> _Transaction:
        return _Transaction(word in _BEGIN, self.number + 1)


def _parts(text: Text, product: str) -> Iterator[tuple[str, int, str]]:
    """Returns (text, line, first word) of each statement in *text*.

    A text that cannot be split is returned as one statement.
    """
    if not text.is_file and ";" not in text.text:
        whole = text.text.strip()
        if whole:
            yield whole, text.line, whole.split(None, 1)[0].upper()
        return
    try:
        parts = split(readings(text.text, product)[0])
    except Unreadable:
        parts = []
    if not parts:
        if text.text.strip():
            yield text.text.strip(), text.line, ""
        return
    for part in parts:
        start, end = _start_of(part, text.text), part[-1].end
        offset = text.text.count("\n", 0, start) if text.is_file else 0
        yield text.text[start:end], text.line + offset, part[0].word


def _start_of(part: Sequence[Token], text: str) -> int:
    first = part[0]
    if first.sort in (Sort.WORD, Sort.MARK):
        return first.end - len(first.text)
    return text.rfind("\n", 0, first.end) + 1
