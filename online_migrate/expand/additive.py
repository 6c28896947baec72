"""The guard of expand: only statements after which code that does not know of them keeps working are sent.

A script that can be rendered is judged before its first statement runs, and again statement by statement as
it runs: what reaches the driver counts. A script that asks the database is judged as it runs. An exception is
declared in the script, ``additive = {"operation or statement": "reason"}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from online_migrate import exceptions, state
from online_migrate.ddl.journal import Journal
from online_migrate.dialects.facets.revisions import TEMPORARY_PREFIX
from online_migrate.exceptions import Blocker
from online_migrate.expand.origins import Origins
from online_migrate.expand.resumed import SchemaBefore
from online_migrate.expand.table_copies import TableCopies
from online_migrate.phases.declared import DeclaredExceptions
from online_migrate.phases.script import Judged, ScriptJudge, read
from online_migrate.phases.verdict import Verdict
from online_migrate.runtime.catalog_schema import server_of
from online_migrate.runtime.history import replay
from online_migrate.runtime.rendering import Rendered, render_offline
from online_migrate.runtime.sync_operations import SyncScope
from online_migrate.script.graph import Phase
from online_migrate.sql.operations.operation import ChangeRows, DropTable
from online_migrate.sql.operations.parts import Name
from online_migrate.sql.statement import Kind, shorten

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from online_migrate.dialects import Dialect
    from online_migrate.runtime.environment import Environment
    from online_migrate.script.project import Project

NOTHING_CHANGED = "nothing was changed"
_NOT_BEGUN = "no statement of the revision was sent"
_HINT = "move it to the contract script of the release that no longer needs what it changes"


class AdditiveCheck:
    """Judges the expand revisions that one command applies, as one group: what one creates is new to all."""

    def __init__(
        self, project: Project, environment: Environment, connection: Connection, dialect: Dialect
    ) -> None:
        self._project = project
        self._environment = environment
        self._connection = connection
        self._dialect = dialect
        self._schema = SchemaBefore(connection, dialect)
        self._judge = ScriptJudge(server_of(connection), self._schema)
        self._syncs = SyncScope.of(connection)
        self._origins = Origins(project.graph, self._judge.server, self._render)

    def refuse(self, revisions: Sequence[str]) -> None:
        """Judges the scripts before any of them runs, up to the first that cannot be rendered.

        Revisions of the linear base only tell which tables there are. Raises
        :class:`~online_migrate.exceptions.NotAdditive` or
        :class:`~online_migrate.exceptions.AdditiveUnmatched`.
        """
        judge = self._judge.fork()
        refused: list[tuple[str, Judged]] = []
        for revision in revisions:
            self._schema.leave_out(revision)
            rendered = self._render(revision)
            if self._project.graph.phase(revision) is Phase.BASE:
                replay(rendered, judge)
            else:
                refused += self._in_advance(revision, rendered, judge)
            if rendered.reason is not None:
                break
        if refused:
            raise not_additive(refused, NOTHING_CHANGED, self._origins)

    def _in_advance(self, revision: str, rendered: Rendered, judge: ScriptJudge) -> list[tuple[str, Judged]]:
        declared = self._declared(revision)
        refused = self._refused(rendered, declared, judge)
        if not refused and self._has_unmatched(revision, rendered, declared):
            raise unmatched(revision, declared, NOTHING_CHANGED)
        return [(revision, one) for one in refused]

    def before(self, revision: str) -> DeclaredExceptions:
        """Judges what can be rendered of one script, before it runs; returns its exceptions.

        Raises like :meth:`refuse`.
        """
        self._schema.leave_out(revision)
        declared, rendered = self._declared(revision), self._render(revision)
        refused = self._refused(rendered, declared, self._judge.fork())
        if refused:
            raise not_additive([(revision, one) for one in refused], _NOT_BEGUN, self._origins)
        if self._has_unmatched(revision, rendered, declared):
            raise unmatched(revision, declared, _NOT_BEGUN)
        return declared

    def _has_unmatched(self, revision: str, rendered: Rendered, declared: DeclaredExceptions) -> bool:
        """Returns True if a key certainly matches nothing.

        What a half-applied revision has done already changes nothing any more, and no key matches it.
        """
        if rendered.reason is not None or not declared.unmatched:
            return False
        return not state.exists(self._connection) or revision not in state.open_revisions(self._connection)

    def guard(self, journal: Journal, declared: DeclaredExceptions) -> AdditiveGuard:
        """Returns the guard of one run of the revision of *journal*."""
        return AdditiveGuard(journal, self._dialect, self._connection, self._judge, declared)

    def _declared(self, revision: str) -> DeclaredExceptions:
        return DeclaredExceptions(
            self._project.graph.revisions[revision].additive, self._judge.server.product
        )

    def _render(self, revision: str) -> Rendered:
        return render_offline(
            self._project.config,
            self._project.script,
            revision,
            server=self._connection.engine.dialect.name,
            options=self._environment.options,
            scope=self._syncs,
        )

    def _refused(self, rendered: Rendered, declared: DeclaredExceptions, judge: ScriptJudge) -> list[Judged]:
        judged: list[Judged] = []
        for statement in rendered.statements:
            if not self._belongs_to_copy(statement.text, judge):
                judged += judge.statement(statement.text)
        return refused_of(judged, declared)

    def _belongs_to_copy(self, statement: str, judge: ScriptJudge) -> bool:
        """Returns True for a statement that fills the copy of a table, or drops the table in favour of it.

        It is judged when the copy exists.
        """
        if not self._dialect.single_writer:
            return False
        match read(statement, judge.server):
            case [ChangeRows(verb="insert", table=Name() as table)]:
                return table.name.startswith(TEMPORARY_PREFIX) and judge.is_new_table(table)
            case [DropTable(table=table)]:
                return judge.is_new_table(Name(TEMPORARY_PREFIX + table.name, table.schema))
        return False


class AdditiveGuard:
    """The guard of one run of one expand revision."""

    access_refusal = exceptions.PastTheCheck

    def __init__(
        self,
        journal: Journal,
        dialect: Dialect,
        connection: Connection,
        judge: ScriptJudge,
        declared: DeclaredExceptions,
    ) -> None:
        self._journal = journal
        self._revision = journal.revision
        self._dialect = dialect
        self._judge = judge
        self._declared = declared
        self._copies = TableCopies(dialect, connection)
        self._continues = False
        """An earlier run has begun the revision: what it has done matches no key any more."""

    def __enter__(self) -> AdditiveGuard:
        self._continues = self._journal.begun
        if not self._continues:
            self._journal.record_intent()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Judges what only the end of a script shows: indexes that a copy lost, and unmatched exceptions."""
        if error is not None:
            return
        self._refuse(self._judge.operations("", self._copies.lost_indexes()))
        if self._declared.unmatched and not self._continues:
            raise unmatched(self._revision, self._declared, self._state)

    def observe(self, statement: str) -> None:
        """Refuses a query or a setting with an effect that is not known.

        Raises :class:`~online_migrate.exceptions.NotAdditive`.
        """
        self._check(statement)

    def authorize(self, statement: str, kind: Kind) -> Sequence[str]:
        """Returns the statement as it is. Raises :class:`~online_migrate.exceptions.NotAdditive`."""
        self._check(statement)
        return [statement]

    def done(self, statement: str, kind: Kind) -> None:
        """Does nothing: there is nothing to verify again."""

    def _check(self, statement: str) -> None:
        effect = self._copies.net_effect(read(statement, self._judge.server))
        if effect is None:
            self._refuse(self._judge.statement(statement))
        else:
            self._refuse(self._judge.operations(statement, effect))

    def _refuse(self, judged: Iterable[Judged]) -> None:
        refused = [(self._revision, one) for one in refused_of(judged, self._declared)]
        if refused:
            raise not_additive(refused, self._state)

    @property
    def _state(self) -> str:
        if self._dialect.transactional_ddl:
            return "the transaction of the revision was rolled back"
        return "the statements before it are done and recorded, and are not repeated"


def refused_of(judged: Iterable[Judged], declared: DeclaredExceptions) -> list[Judged]:
    """Returns the operations that are neither additive nor declared."""
    # Every operation is compared with the keys: a key that names an additive operation is not misspelt.
    accepted = [(one, declared.accepts(one.statement, one.verdict)) for one in judged]
    return [one for one, by_key in accepted if not (by_key or one.verdict.additive)]


def not_additive(
    refused: Sequence[tuple[str, Judged]], state: str, origins: Origins | None = None
) -> exceptions.NotAdditive:
    """Returns the error for refused operations, each with its revision.

    *state*: what was changed. *origins*: None while a script runs, when no other one can be rendered.
    """
    blockers = [
        Blocker(
            one.verdict.rule,
            f"{revision}: {one.verdict}",
            f"{one.verdict.reason or 'its effect is not known'} ({shorten(one.statement)})",
            _hint(revision, one.verdict, origins),
        )
        for revision, one in refused
    ]
    operations = list(dict.fromkeys(str(one.verdict) for _, one in refused))
    of_revision: dict[str, list[str]] = {}
    for revision, one in refused:
        of_revision.setdefault(revision, []).append(str(one.verdict))
    return exceptions.NotAdditive(
        blockers,
        operations=", ".join(operations),
        example=operations[0],
        state=state,
        of_revision=of_revision,
    )


def _hint(revision: str, verdict: Verdict, origins: Origins | None) -> str:
    hint = verdict.hint or _HINT
    created = origins.hint(revision, verdict) if origins is not None else ""
    return f"{hint.rstrip('.')}; {created}" if created else hint


def unmatched(revision: str, declared: DeclaredExceptions, state: str) -> exceptions.AdditiveUnmatched:
    """Returns the error for keys of a script that match nothing."""
    return exceptions.AdditiveUnmatched(revision=revision, keys=", ".join(declared.unmatched), state=state)
