"""The traffic of ``prove`` in one phase, and the findings that it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from online_migrate import exceptions
from online_migrate.context import CommandContext
from online_migrate.dialects import create_engine
from online_migrate.prove.blame import blamed
from online_migrate.prove.finding import Finding, PhaseRun
from online_migrate.prove.findings import Findings
from online_migrate.prove.syncs import Syncs
from online_migrate.prove.traffic import Broken, Traffic
from online_migrate.prove.written import WrittenRows

if TYPE_CHECKING:
    from online_migrate.prove.models import Version
    from online_migrate.prove.rows import Values

_ACTIONS = (Traffic.write, Traffic.read, Traffic.update, Traffic.read, Traffic.delete)
"""What the versions do in each phase: each of them in turn."""


class PhaseTraffic:
    """Runs the traffic of a phase, of all versions that are alive in it."""

    def __init__(
        self, context: CommandContext, versions: Mapping[str, Version], values: Values, findings: Findings
    ) -> None:
        self.phases: list[PhaseRun] = []
        self._context = context
        self._findings = findings
        self._versions = versions
        self._engine = create_engine(context.url, pooler=context.project.settings.pooler)
        self._traffic = {name: Traffic(self._engine, one, values) for name, one in versions.items()}

    def close(self) -> None:
        """Closes the connections."""
        for traffic in self._traffic.values():
            traffic.close()
        self._engine.dispose()

    def run(
        self,
        phase: str,
        revision: str,
        alive: Sequence[str],
        migrations: Mapping[str, str] | None = None,
        *,
        contract: bool = False,
    ) -> None:
        """Runs the traffic of the versions *alive*, after *revision* was applied.

        *migrations*: table -> the data migration that has changed it in this phase. *contract*: *revision* is
        a contract revision.
        """
        if self._context.stop.requested:
            raise exceptions.Stopped(reason=self._context.stop.reason, revision=phase)
        self._context.echo(f"{phase}: traffic of {' and '.join(alive) or 'no version'}")
        before = {name: self._traffic[name].operations for name in alive}
        seen: dict[str, set[tuple[str, ...]]] = {name: set() for name in alive}
        with self._engine.connect() as connection:
            written = WrittenRows(Syncs(connection))
        for action in _ACTIONS:
            for name in alive:
                with self._versions[name].modules.active():
                    for broken in action(self._traffic[name], written):
                        blame = (migrations or {}).get(broken.table) or self.blamed(broken.table, revision)
                        finding = _finding(broken, phase, blame)
                        seen[name].add(finding.key)
                        self._findings.add(finding)
        for name in alive:
            self._findings.end_phase(name, seen[name], revision, self._source(revision) if contract else "")
        counts = {name: self._traffic[name].operations - count for name, count in before.items()}
        self.phases.append(PhaseRun(phase, counts))

    def blamed(self, table: str, revision: str) -> str:
        """Returns the revision to blame for what is seen on *table* after *revision*."""
        applied = self._context.project.graph.order(self._context.applied())
        sources = {name: self._source(name) for name in applied}
        return blamed(table, revision, applied, sources)

    def _source(self, revision: str) -> str:
        path = Path(self._context.project.graph.revisions[revision].path)
        return path.read_text(encoding="utf-8") if path.is_file() else ""


def _finding(broken: Broken, phase: str, blame: str) -> Finding:
    return Finding(
        broken.check,
        phase,
        broken.reason,
        version=broken.version,
        object=broken.class_name,
        table=broken.table,
        operation=broken.operation,
        statement=broken.statement,
        revision=blame,
        hint=broken.hint,
    )
