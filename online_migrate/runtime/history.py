"""Judges the revisions of a script directory without a database, each with the schema that those before it
leave."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from online_migrate.phases.known import Server
from online_migrate.phases.script import Judged, ScriptJudge
from online_migrate.phases.verdict import Place, Verdict
from online_migrate.runtime.rendering import Rendered, render_offline

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import Script, ScriptDirectory

NOT_RENDERED = "not-rendered"
"""The rule of a script that asks the database."""


@dataclasses.dataclass(frozen=True)
class JudgedOperation:
    """An operation of a script; *line*: the line of the script that makes it, None if it is not known."""

    judged: Judged
    line: int | None


@dataclasses.dataclass(frozen=True)
class JudgedRevision:
    """The verdicts on one revision; *reason*: why its other statements are not known, None if all are."""

    revision: str
    path: str
    operations: tuple[JudgedOperation, ...]
    reason: str | None = None

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdict on each operation, and on the statements that are not known."""
        found = tuple(operation.judged.verdict for operation in self.operations)
        return found if self.reason is None else (*found, not_rendered(self.reason))


def not_rendered(reason: str) -> Verdict:
    """Returns the verdict on the statements of a script that cannot be rendered."""
    return Verdict(
        place=Place.REFUSED,
        rule=NOT_RENDERED,
        reason=f"the script asks the database, so its statements are not known beforehand: {reason}",
        hint="write the statements without a query, or in the offline form that Alembic renders with --sql",
    )


def judge_history(
    config: Config, script: ScriptDirectory, judged: Collection[str], server: Server
) -> Iterator[JudgedRevision]:
    """Yields the verdicts on the revisions *judged*, parents first; the others only build the schema.

    The judged revisions are one group: what one of them creates is new to all code that is older.
    """
    judge = ScriptJudge(server)
    for revision in reversed(list(script.walk_revisions())):
        rendered = render_offline(config, script, revision.revision, server=server.product, options={})
        if revision.revision not in judged:
            replay(rendered, judge)
            continue
        yield _judge(revision, rendered, judge)


def _judge(revision: Script, rendered: Rendered, judge: ScriptJudge) -> JudgedRevision:
    found = [
        JudgedOperation(judged, statement.line)
        for statement in rendered.statements
        for judged in judge.statement(statement.text)
    ]
    return JudgedRevision(revision.revision, revision.path, tuple(found), rendered.reason)


def replay(rendered: Rendered, judge: ScriptJudge) -> None:
    """Takes the statements of a revision as executed, and what they create as known to old code."""
    for statement in rendered.statements:
        judge.replay(statement.text)
    judge.begin_group()
