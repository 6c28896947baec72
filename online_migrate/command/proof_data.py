"""The data migrations of ``prove``: half of the rows, all rows, and once more."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from online_migrate import counting, exceptions
from online_migrate.command.data import migrate
from online_migrate.context import CommandContext
from online_migrate.ddl.session import connect
from online_migrate.migrate.options import MigrateOptions
from online_migrate.migrate.status import Outcome, Result
from online_migrate.prove import schema
from online_migrate.prove.finding import Finding
from online_migrate.prove.findings import Findings
from online_migrate.script import releases

NO_FINDINGS = (exceptions.Stopped, exceptions.ServerDown)
"""Errors that say nothing about the project; they end the command."""


class DataProof:
    """Runs the data migrations. *release*: the last release whose data migrations are run; None: all."""

    def __init__(self, context: CommandContext, findings: Findings, release: str | None) -> None:
        self._context = context
        self._findings = findings
        self._release = release

    @functools.cached_property
    def _names(self) -> Sequence[str]:
        project = self._context.project
        if self._release is None:
            return list(project.data_migrations)
        steps = releases.steps_up_to(project.graph, project.data_migrations, self._release)
        return [name for step in steps for name in step.migrations]

    @functools.cached_property
    def by_table(self) -> Mapping[str, str]:
        """Table -> the data migration that walks it; of several the last."""
        with connect(self._context.engine) as connection:
            found = {}
            for name in self._names:
                try:
                    subject = self._context.project.data_migration(name).subject(connection)
                except exceptions.OnlineMigrateError:
                    continue  # running it reports the error
                found[subject.table.name] = name
            return found

    def half(self) -> None:
        """Migrates half of the rows of each data migration."""
        for name in self._names:
            pending = self._pending(name)
            if pending > 1:
                self._migrate([name], max_count=pending // 2)

    def all(self, phase: str) -> None:
        """Migrates all rows; finds data migrations that do not complete, and rows that remain pending."""
        for result in self._migrate(self._names):
            if result.outcome not in (Outcome.COMPLETE, Outcome.CONTRACTED):
                reason = result.error or result.outcome.value
                self._find("data-migration-incomplete", phase, result.name, reason)
            elif result.outcome is Outcome.COMPLETE and (left := self._pending(result.name)):
                self._find(
                    "data-migration-incomplete", phase, result.name, f"{left} row(s) are still pending"
                )

    def again(self, phase: str) -> None:
        """Runs the data migrations once more; finds those that are not idempotent."""
        before = self._rows()
        for name in self._names:
            results = self._migrate([name])
            after = self._rows()
            changed = [table for table in before if before[table] != after.get(table)]
            done = sum(result.done for result in results if result.outcome is Outcome.COMPLETE)
            if changed or done:
                tables = ", ".join(changed) or "no table"
                reason = f"a second run migrated {done} row(s), and changed values of {tables}"
                self._find("data-migration-repeats", phase, name, reason)
            before = after

    def _find(self, check: str, phase: str, name: str, reason: str) -> None:
        self._findings.add(Finding(check, phase, reason, object=name, revision=name))

    def _migrate(self, names: Sequence[str], max_count: int | None = None) -> list[Result]:
        if not names:
            return []
        try:
            results = migrate(self._context, names, MigrateOptions(max_count=max_count, pace="full"))
        except NO_FINDINGS:
            raise
        except exceptions.OnlineMigrateError as error:
            return [Result(name, Outcome.FAILED, error=str(error)) for name in names]
        if self._context.stop.requested:
            raise exceptions.Stopped(reason=self._context.stop.reason, revision=names[0])
        return results

    def _pending(self, name: str) -> int:
        """Returns the number of pending rows; 0 if they cannot be counted."""
        migration = self._context.project.data_migration(name)
        if not migration.has_pending:
            return 0
        with connect(self._context.engine) as connection:
            try:
                subject = migration.subject(connection)
                return (
                    0 if subject.pending is None else counting.count_pending(connection, migration, subject)
                )
            except exceptions.OnlineMigrateError:
                return 0  # running it reports the error

    def _rows(self) -> dict[str, list[str]]:
        with connect(self._context.engine) as connection:
            shape = schema.read(connection, self._context.environment.version_table)
            return schema.rows(connection, shape)
