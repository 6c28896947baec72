"""The phases of ``prove``, one after the other, with the traffic of the versions that are alive in each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions
from online_migrate.command.all_phases import upgrade
from online_migrate.command.proof_data import NO_FINDINGS, DataProof
from online_migrate.command.proof_traffic import PhaseTraffic
from online_migrate.command.revisions import revision_runner, target_of
from online_migrate.command.schema import contract_with, expand
from online_migrate.context import CommandContext
from online_migrate.contract import graph_blockers
from online_migrate.contract.live_services import LiveServices
from online_migrate.ddl.session import connect
from online_migrate.expand import runner as expands
from online_migrate.prove import schema
from online_migrate.prove.finding import Finding, Report
from online_migrate.prove.findings import Findings
from online_migrate.script import releases
from online_migrate.script.graph import Phase

if TYPE_CHECKING:
    from online_migrate.prove.models import Version
    from online_migrate.prove.rows import Values


class ProofStopped(Exception):
    """The phases after this one cannot be reached. The text is the reason."""


class Proof:
    """One proof on an empty database. *versions*: old, new and, if it is given, final.

    *since*: a release or an expand revision that is applied before the first phase. *release*: the last
    release that is proved.
    """

    def __init__(
        self,
        context: CommandContext,
        versions: Mapping[str, Version],
        values: Values,
        *,
        since: str | None,
        release: str | None,
    ) -> None:
        self._context = context
        self._versions = versions
        self._since = since
        self._release = release
        self._findings = Findings()
        self._traffic = PhaseTraffic(context, versions, values, self._findings)
        self._data = DataProof(context, self._findings, release)
        self._before: dict[str, schema.Shape] = {}
        """Expand revision -> the schema before it."""

    def run(self) -> Report:
        """Goes through all phases."""
        stopped = ""
        try:
            self._start()
            expanded = self._expand()
            self._rollback(expanded)
            self._migrate()
            self._contract()
            self._match("final" if "final" in self._versions else "new", "end")
        except ProofStopped as reason:
            stopped = str(reason)
        finally:
            self._traffic.close()
        return Report(self._findings.all, self._traffic.phases, stopped)

    # --- the phases ------------------------------------------------------------------------------

    def _start(self) -> None:
        """Applies what comes before the proof; if that is nothing, the old models create the tables."""
        context = self._context
        context.require_guard()
        context.ensure_state_tables()
        graph = context.project.graph
        if self._since is not None and self._since in releases.in_order(graph):
            upgrade(context, release=self._since)
        else:
            first = None if self._since is None else graph.resolve(self._since)
            before = graph.base_missing(()) if first is None else graph.missing((), first)
            with revision_runner(context) as runner:
                expands.run(runner, before)
            if not before:
                context.echo("prove: there is no base revision: the tables of the old models are created")
                with context.engine.begin() as connection:
                    for metadata in self._versions["old"].metadata:
                        metadata.create_all(connection)
        self._match("old", "base")
        alive = ["old"] if self._expands() else ["old", "new"]
        self._traffic.run("base", "", alive)

    def _expands(self) -> list[str]:
        """Returns the expand revisions that are not applied."""
        context = self._context
        target = target_of(context, None, self._release, Phase.EXPAND)
        if target.nothing or Phase.EXPAND not in context.project.graph.heads:
            return []
        return expands.plan(context.project.graph, context.applied(), target.revision)

    def _expand(self) -> list[str]:
        revisions = self._expands()
        for revision in revisions:
            self._before[revision] = self._shape()
            self._apply(revision)
            alive = ["old", "new"] if revision == revisions[-1] else ["old"]
            self._traffic.run(f"expand {revision}", revision, alive)
        return revisions

    def _apply(self, revision: str) -> None:
        """Applies an expand revision; one that is not additive too, to see what breaks."""
        try:
            try:
                expand(self._context, revision)
            except exceptions.NotAdditive as error:
                reason = " ".join(str(error).split())
                self._add("not-additive", f"expand {revision}", reason, revision, hint=error.hint or "")
                with revision_runner(self._context) as runner:
                    runner.apply(revision)
        except NO_FINDINGS:
            raise
        except exceptions.OnlineMigrateError as error:
            self._fails(f"expand {revision}", revision, error)

    def _rollback(self, revisions: Sequence[str]) -> None:
        """Reverts the expand revisions, compares the schema before each of them, and applies them again."""
        reverted: list[str] = []
        for revision in reversed(revisions):
            phase = f"rollback {revision}"
            self._context.echo(phase)
            try:
                with revision_runner(self._context) as runner:
                    runner.revert(revision)
            except NO_FINDINGS:
                raise
            except exceptions.OnlineMigrateError as error:
                self._add("rollback-fails", phase, str(error), revision, hint="correct its downgrade()")
                break
            reverted.append(revision)
            for table, text in schema.differences(self._before[revision], self._shape()):
                hint = "downgrade() must restore the schema"
                self._add("rollback-differs", phase, text, revision, table=table, hint=hint)
        for revision in reversed(reverted):
            self._apply(revision)

    def _migrate(self) -> None:
        if not self._context.project.data_migrations:
            return
        self._data.half()
        self._traffic.run("half migrated", "", ["old", "new"], self._data.by_table)
        self._data.all("migrated")
        self._data.again("migrated")
        self._traffic.run("migrated", "", ["old", "new"], self._data.by_table)

    def _contract(self) -> None:
        context = self._context
        target = target_of(context, None, self._release, Phase.CONTRACT)
        graph = context.project.graph
        if target.nothing or Phase.CONTRACT not in graph.heads:
            return
        revisions = graph_blockers.to_contract(graph, context.applied(), target.revision)
        for revision in revisions:
            phase = f"contract {revision}"
            # The old version has ended. What it wrote since the last run is migrated.
            self._data.all(phase)
            self._contract_one(phase, revision)
            self._traffic.run(phase, revision, list(self._alive_after(revision, revisions)), contract=True)

    def _alive_after(self, revision: str, revisions: Sequence[str]) -> Iterator[str]:
        if "final" not in self._versions:
            yield "new"
        elif revision == revisions[-1]:
            yield "final"

    def _contract_one(self, phase: str, revision: str) -> None:
        services = LiveServices.of(self._context.project, unused=True)
        try:
            contract_with(self._context, revision, services)
        except exceptions.GateClosed as closed:
            for blocker in closed.blockers:
                self._findings.add(
                    Finding(
                        "gate-closed",
                        phase,
                        blocker.reason,
                        object=blocker.object,
                        revision=revision,
                        hint=blocker.hint,
                    )
                )
            raise ProofStopped(f"the gate of {revision} is closed") from closed
        except NO_FINDINGS:
            raise
        except exceptions.OnlineMigrateError as error:
            self._fails(phase, revision, error)

    # --- what is found ---------------------------------------------------------------------------

    def _match(self, version: str, phase: str) -> None:
        """Compares the schema with the models of a version."""
        options = self._context.environment.options
        with connect(self._context.engine) as connection:
            metadata = self._versions[version].metadata
            for table, text in schema.unlike_models(connection, options, metadata):
                self._findings.add(
                    Finding(
                        "models-differ",
                        phase,
                        text,
                        version=version,
                        table=table,
                        revision=self._traffic.blamed(table, ""),
                        hint=f"the {version} models and the scripts must agree here",
                    )
                )

    def _shape(self) -> schema.Shape:
        with connect(self._context.engine) as connection:
            return schema.read(connection, self._context.environment.version_table)

    def _fails(self, phase: str, revision: str, error: exceptions.OnlineMigrateError) -> None:
        self._add("revision-fails", phase, str(error), revision, hint=error.hint or "")
        raise ProofStopped(f"{revision} could not be applied") from error

    def _add(
        self, check: str, phase: str, reason: str, revision: str, *, table: str = "", hint: str = ""
    ) -> None:
        self._findings.add(Finding(check, phase, reason, table=table, revision=revision, hint=hint))
