"""The SQL that each phase would run on a database."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from online_migrate import exceptions, state
from online_migrate.contract.gate import to_contract
from online_migrate.counting import any_row
from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.pending import is_pending
from online_migrate.runtime.environment import Environment
from online_migrate.runtime.rendering import NotRendered, render
from online_migrate.script.graph import Phase
from online_migrate.script.project import Project

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class Step:
    """One revision or data migration, and its SQL; *note*: an explanation, or why there is no SQL."""

    phase: str
    name: str
    doc: str
    statements: tuple[str, ...]
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """The remaining steps of a database, in the order of execution."""

    steps: tuple[Step, ...]


def make_plan(
    connection: Connection, project: Project, environment: Environment, applied: frozenset[str]
) -> Plan:
    """Returns the plan for a database with the revisions *applied*. Executes none of it."""
    graph = project.graph
    expands = (
        [
            revision
            for revision in graph.missing(applied, graph.heads[Phase.EXPAND])
            if graph.phase(revision) is not Phase.CONTRACT
        ]
        if Phase.EXPAND in graph.heads
        else []
    )
    over = graph.requirements(applied)
    steps = [_of_revision(connection, project, environment, revision) for revision in expands]
    steps += [
        _of_migration(connection, migration)
        for name, migration in project.data_migrations.items()
        if name not in over and not _is_over(connection, migration)
    ]
    steps += [
        _of_revision(connection, project, environment, revision) for revision in to_contract(graph, applied)
    ]
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


def _of_revision(connection: Connection, project: Project, environment: Environment, revision: str) -> Step:
    phase, doc = project.graph.phase(revision), project.graph.revisions[revision].doc
    try:
        statements = render(project, environment, connection.engine, revision)
    except NotRendered as error:
        return Step(phase, revision, doc, (), str(error))
    return Step(phase, revision, doc, tuple(statements))


def _of_migration(connection: Connection, migration: DataMigration) -> Step:
    doc = f"{migration.kind} of {migration.table}" if migration.table is not None else migration.kind
    try:
        sql = migration.plan_sql(connection)
    except exceptions.PendingUnreadable as error:
        return Step("migrate", migration.name, doc, (), f"available after expand: {error.reason}")
    if sql is None:
        return Step("migrate", migration.name, doc, (), "runs a Python function")
    return Step("migrate", migration.name, doc, (sql,), "in chunks, by key")
