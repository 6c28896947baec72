"""The SQL that each phase would run on a database."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions, state
from online_migrate.contract.graph_blockers import to_contract
from online_migrate.counting import any_row, count_pending
from online_migrate.ddl.forms import SafeForms
from online_migrate.ddl.tools.tool import Tool
from online_migrate.dialects import dialect_of
from online_migrate.expand.additive import AdditiveCheck
from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.pending import is_pending
from online_migrate.runtime.environment import Environment
from online_migrate.runtime.rendering import NotRendered, render
from online_migrate.runtime.sync_operations import SyncScope
from online_migrate.script.graph import Phase
from online_migrate.script.project import Project
from online_migrate.sql.forms.form import Form
from online_migrate.sql.forms.not_null_proof import NotNullProof
from online_migrate.sql.operations.parts import Name
from online_migrate.sql.statement import Kind
from online_migrate.status.cost import Cost, CostEstimator
from online_migrate.status.planned_tool import PlannedTool

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_COUNT_TIMEOUT = 5.0
"""The statement timeout, in seconds, of the count of the rows that a data migration has to move."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One revision or data migration, and its SQL; *note*: an explanation, or why there is no SQL.

    *costs*: what each of *statements* locks and how long it may take, in the same order; empty for a data
    migration, whose *rows* are to be moved. *rows*: None if they are not known.
    """

    phase: str
    name: str
    doc: str
    statements: tuple[str, ...]
    note: str | None = None
    costs: tuple[Cost, ...] = ()
    rows: int | None = None
    seconds: float | None = None
    """At least so many seconds: the rows of the table are read once."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """The remaining steps of a database, in the order of execution."""

    steps: tuple[Step, ...]


def make_plan(
    connection: Connection,
    project: Project,
    environment: Environment,
    applied: frozenset[str],
    tool: Tool | None = None,
) -> Plan:
    """Returns the plan for a database with the revisions *applied*. Executes none of it.

    *tool*: the tool that would execute statements that block writers.
    """
    graph = project.graph
    head = graph.heads.get(Phase.EXPAND)
    missing = graph.base_missing(applied) if head is None else graph.missing(applied, head)
    expands = [revision for revision in missing if graph.phase(revision) is not Phase.CONTRACT]
    over = graph.requirements(applied)
    planner = _Planner(connection, project, environment, tool)
    planner.judge(expands)
    steps = [planner.revision(revision) for revision in expands]
    steps += [
        planner.data_migration(migration)
        for name, migration in project.data_migrations.items()
        if name not in over and not _is_over(connection, migration)
    ]
    steps += [planner.revision(revision) for revision in to_contract(graph, applied)]
    return Plan(tuple(steps))


def _is_over(connection: Connection, migration: DataMigration) -> bool:
    """True if the record is complete and no row is pending."""
    record = state.get_record(connection, migration.name) if state.exists(connection) else None
    if record is None or record.status is not state.Status.COMPLETE:
        return False
    try:
        subject = migration.subject(connection) if migration.has_pending else None
    except exceptions.PendingUnreadable:
        return False
    if subject is None or subject.pending is None:
        return True
    return not any_row(connection, subject, is_pending(subject.pending))


def _shown(form: Form) -> Iterator[str]:
    if form.steps:
        yield from (step.sql for step in form.steps)
        return
    if not form.texts:
        yield f"-- refused: {form.refusal.reason if form.refusal else 'no form is known'}"
        return
    first, *others = form.texts
    yield "".join(f"-- if the server refuses it: {' '.join(text.split())}\n" for text in others) + first


class _Planner:
    """Makes the steps of one plan, in order: the schema before each step is that after the step before it."""

    def __init__(
        self, connection: Connection, project: Project, environment: Environment, tool: Tool | None
    ) -> None:
        self._connection = connection
        self._project = project
        self._environment = environment
        self._dialect = dialect_of(connection)
        self._estimator = CostEstimator(connection)
        self._tool = None if tool is None else PlannedTool(tool, connection)
        self._syncs = SyncScope.of(connection)
        self._soaks = state.soaks(connection)
        self._refused: dict[str, list[str]] = {}
        """The operations that expand refuses, by revision."""

    def judge(self, expands: Sequence[str]) -> None:
        """Judges the expand revisions of the plan; what is refused is said in the note of its step."""
        check = AdditiveCheck(self._project, self._environment, self._connection, self._dialect)
        try:
            check.refuse(expands)
        except exceptions.NotAdditive as error:
            self._refused |= error.facts["of_revision"]
        except exceptions.AdditiveUnmatched as error:
            self._refused.setdefault(error.facts["revision"], []).append(str(error))

    def revision(self, revision: str) -> Step:
        """Returns the step of an expand or contract revision."""
        phase, doc = self._project.graph.phase(revision), self._project.graph.revisions[revision].doc
        try:
            rendered = render(
                self._project, self._environment, self._connection.engine, revision, self._syncs
            )
        except NotRendered as error:
            return Step(phase, revision, doc, (), str(error))
        refused = self._refused.get(revision)
        note = f"expand refuses {', '.join(refused)}" if refused else None
        soak = self._soaks.get(revision)
        if soak is not None:
            sent = [soak.plan.translated(statement, self._dialect.name) for statement in rendered]
            rendered, note = [text for text in sent if text is not None], "what it drops soaks"
        statements, costs = self._with_costs(revision, rendered)
        return Step(phase, revision, doc, statements, note, costs)

    def _with_costs(
        self, revision: str, statements: Sequence[str]
    ) -> tuple[tuple[str, ...], tuple[Cost, ...]]:
        """Returns the statements as they are sent to this database, as it is now, and the costs of each."""
        texts, costs = [], []
        locked = self._locked_tables(revision)
        before = {proof.validate for proof in self._proofs(revision, statements)}
        for statement, form in self._forms(revision, statements):
            for text in [statement] if form is None else _shown(form):
                cost = self._estimator.cost(text, () if text in before else locked)
                by_tool = self._tool.shown(statement, form, cost) if self._tool and form else ""
                texts.append(f"{by_tool}{text}")
                costs.append(cost)
        return tuple(texts), tuple(costs)

    def _locked_tables(self, revision: str) -> frozenset[str]:
        """Returns the tables that contract locks, where statements that read all rows run under the lock."""
        required = self._project.graph.revisions[revision].requires
        if not isinstance(required, tuple) or not self._dialect.table_lock:
            return frozenset()
        found: set[str] = set()
        for name in required:
            with contextlib.suppress(exceptions.PendingUnreadable):
                subject = self._project.data_migrations[name].subject(self._connection)
                found |= {target.table for target in subject.lock_targets}
        return frozenset(found)

    def _proofs(self, revision: str, statements: Sequence[str]) -> Sequence[NotNullProof]:
        """Returns the CHECKs that contract validates before it locks the tables."""
        required = self._project.graph.revisions[revision].requires
        if not isinstance(required, tuple) or not required:
            return ()
        return self._dialect.not_null_proofs(self._connection, statements)

    def _forms(self, revision: str, statements: Sequence[str]) -> Iterator[tuple[str, Form | None]]:
        """Yields each statement with its form; None: it is sent as it is."""
        if self._project.graph.phase(revision) is Phase.BASE:
            yield from ((statement, None) for statement in statements)
            return
        script, dialect = self._project.graph.revisions[revision], self._dialect
        under_lock = isinstance(script.requires, tuple) and bool(script.requires)
        forms = SafeForms(
            dialect, self._connection, commit=False, rebuilds=script.rebuilds, under_lock=under_lock
        )
        proofs = self._proofs(revision, statements)
        for proof in proofs:
            yield from ((proof.add, None), (proof.validate, None))
        for statement in statements:
            kind = dialect.kind(statement, autocommit=False)
            locked = under_lock and kind is Kind.LOCKED
            permitted = dialect.metadata_only_forms(statement) if locked else [statement]
            if kind in (Kind.READ, Kind.CONTROL):
                yield statement, None
            else:
                yield statement, forms.form(statement, kind, permitted, autocommit=False)
            yield from ((proof.drop, None) for proof in proofs if proof.statement == statement.strip())

    def data_migration(self, migration: DataMigration) -> Step:
        """Returns the step of a data migration, with the number of rows that it has to move."""
        doc = f"{migration.kind} of {migration.table}" if migration.table is not None else migration.kind
        try:
            sql = migration.plan_sql(self._connection)
            note = "in chunks, by key" if sql is not None else "runs a Python function"
        except exceptions.PendingUnreadable as error:
            sql, note = None, f"available after expand: {error.reason}"
        rows, seconds = self._rows_to_move(migration)
        statements = () if sql is None else (sql,)
        return Step("migrate", migration.name, doc, statements, note, rows=rows, seconds=seconds)

    def _rows_to_move(self, migration: DataMigration) -> tuple[int | None, float | None]:
        """Returns the pending rows, and the seconds to read the table; the whole table before expand."""
        if migration.table is None:
            return None, None
        try:
            subject = migration.subject(self._connection)
            table = Name(subject.table.name, subject.table.schema)
            rows, seconds = self._estimator.read(table)
            if subject.pending is None:
                return rows, seconds
            with self._dialect.statement_timeout(self._connection, _COUNT_TIMEOUT):
                return count_pending(self._connection, migration, subject), seconds
        except exceptions.PendingUnreadable:
            name = migration.table if isinstance(migration.table, str) else None
            return self._estimator.read(Name(name)) if name is not None else (None, None)
