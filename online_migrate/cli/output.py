"""The output of the commands on stdout, as text or as one JSON document."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from online_migrate.cli.streams import echo, secho, stdout
from online_migrate.migrate.status import Outcome, Result
from online_migrate.script.declarations import by_default_note

if TYPE_CHECKING:
    from online_migrate.command import GateReport, HistoryLine, PlannedUndo
    from online_migrate.contract.unsoak import NotNullOwed
    from online_migrate.exceptions import Blocker
    from online_migrate.migrate.control import ControlResult
    from online_migrate.script.graph import Phase
    from online_migrate.status.cost import Cost
    from online_migrate.status.migration_state import MigrationState, VerificationState
    from online_migrate.status.plan import Step
    from online_migrate.status.report import PhaseState, Report, SyncLine


def control_result(what: ControlResult, *, as_json: bool) -> None:
    """Prints the result of pause, resume, cancel or retry."""
    if as_json:
        document({"name": what.name, "status": what.status.value, "workers": what.workers})
        return
    already = "" if what.changed else " already"
    workers = f"{what.workers} active worker(s)" if what.workers else "no active worker"
    echo(f"{what.name}: {what.status.value}{already}, {workers}")


def document(content: Any) -> None:
    """Prints the JSON document of a command."""
    echo(json.dumps(content, indent=2, default=str, ensure_ascii=False))


def applied(verb: str, revisions: Sequence[str], *, as_json: bool) -> None:
    """Prints the revisions that a command applied."""
    if as_json:
        document({"applied": list(revisions)})
    elif revisions:
        echo(f"{verb}: applied {', '.join(revisions)}")
    else:
        echo(f"{verb}: nothing to do")


def results(found: Sequence[Result], *, as_json: bool) -> None:
    """Prints the result of each data migration."""
    if as_json:
        document([dataclasses.asdict(r) | {"outcome": r.outcome.name.lower()} for r in found])
        return
    if not found:
        echo("migrate: the project has no data migrations")
    for result in found:
        line = f"{result.name}: {result.done:,} row(s) migrated; {result.outcome.value}"
        if result.outcome is Outcome.CONTRACTED:
            line = f"{result.name}: {result.outcome.value}"
        if result.failed:
            line += f"; {result.failed:,} row(s) failed (online-migrate status lists them)"
        echo(line)
        if result.error:
            secho(f"    {result.error}", fg="red" if result.outcome is Outcome.FAILED else None)


def cinder_table(found: Sequence[Result]) -> None:
    """Prints the result table of cinder-manage."""
    width = max([len("Migration"), *(len(result.name) for result in found)])
    rule = f"+-{'-' * width}-+--------------+-----------+"
    echo(f"{rule}\n| {'Migration'.center(width)} | Total Needed | Completed |\n{rule}")
    for result in found:
        needed = result.done + result.failed if result.needed is None else result.needed
        echo(f"| {result.name.ljust(width)} | {needed:>12} | {result.done:>9} |")
    echo(rule)
    for result in found:
        if result.error:
            echo(f"{result.name}: {result.error}", err=True)


def gate(report: GateReport, *, as_json: bool) -> None:
    """Prints the blockers of contract, and whether services were checked."""
    if as_json:
        listed = [blocker.as_dict() for blocker in report.blockers]
        note = {"services_note": report.services_note} if report.services_note else {}
        checked = report.services_checked
        found = {"open": not listed, "blockers": listed, "services_checked": checked}
        proved = {"verified": list(report.verified)} if report.verified else {}
        document(found | proved | note)
        return
    blockers(report.blockers)
    for name in report.verified:
        echo(f"{name}: no row was counted: every row is verified, and its barrier is in place")
    if not report.services_checked:
        echo("services: not checked: the project declares none, and none has reported")
    if report.services_note:
        echo(f"services: {report.services_note}")


def blockers(found: Sequence[Blocker]) -> None:
    """Prints the blockers of contract."""
    if not found:
        secho("gate: open", fg="green")
        return
    secho(f"gate: closed, {len(found)} blocker(s)", fg="yellow")
    _list_blockers(found)


def _list_blockers(found: Sequence[Blocker]) -> None:
    for blocker in found:
        echo(f"  {blocker.object}: {blocker.reason}\n      -> {blocker.hint}")


def contracted(revisions: Sequence[str], found: Sequence[Blocker], *, as_json: bool) -> None:
    """Prints the revisions that contract applied, and the blockers that stopped it."""
    if as_json:
        document({"applied": list(revisions), "blockers": [blocker.as_dict() for blocker in found]})
        return
    if revisions or not found:
        applied("contract", revisions, as_json=False)
    if found:
        secho("contract: stopped before the next revision, whose gate is closed", fg="yellow")
        _list_blockers(found)


def soaked(revisions: Sequence[str], *, as_json: bool) -> None:
    """Prints the revisions whose columns and tables soak."""
    if as_json:
        document({"soaking": list(revisions)})
    elif revisions:
        echo(f"contract: {', '.join(revisions)} soaks; to bring it back: online-migrate contract --unsoak")
    else:
        echo("contract: nothing to soak")


def unsoaked(
    revisions: Sequence[str], owed: Sequence[NotNullOwed], out_of_step: Sequence[Blocker], *, as_json: bool
) -> None:
    """Prints the revisions that were brought back, and what is not as it was before the soak."""
    if as_json:
        left = [{"object": str(one.subject), "rows": one.rows} for one in owed]
        differing = [one.as_dict() for one in out_of_step]
        document({"returned": list(revisions), "not_null_owed": left, "out_of_step": differing})
        return
    echo(f"contract: brought back {', '.join(revisions)}")
    for one in owed:
        secho(
            f"  {one.subject} is not NOT NULL again: {one.rows:,} row(s) that were written meanwhile have no "
            "value; give them one, then: online-migrate contract --unsoak",
            fg="yellow",
        )
    _list_blockers(out_of_step)


def rolled_back(revisions: Sequence[str], *, as_json: bool) -> None:
    """Prints the expand revisions that were undone."""
    if as_json:
        document({"undone": list(revisions)})
    else:
        echo(f"rollback: undone {', '.join(revisions)}")


def rollback_plan(steps: Sequence[PlannedUndo], *, as_json: bool) -> None:
    """Prints the SQL of a rollback, and the rows that would lose something."""
    losses = {
        step.revision: [loss.blocker(step.revision, loss.rows.count) for loss in step.losses]
        for step in steps
    }
    if as_json:
        document(
            [
                {
                    "revision": step.revision,
                    "statements": step.statements,
                    "losses": [loss.as_dict() for loss in losses[step.revision]],
                }
                for step in steps
            ]
        )
        return
    for step in steps:
        echo(f"-- rollback {step.revision}: {step.doc}")
        for loss in losses[step.revision]:
            echo(f"-- {loss.reason}")
        for statement in step.statements:
            echo(f"{statement};")


def status(report: Report, *, as_json: bool) -> None:
    """Prints the status report of a database."""
    if as_json:
        document(report.as_dict())
        return
    from rich.console import Console
    from rich.table import Table

    stream = stdout()
    console = Console(file=stream, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console = Console(file=stream, highlight=False, soft_wrap=True, width=160)
    console.print(f"database  {report.url}", markup=False)
    for name in ("base", "expand", "contract"):
        _phase_line(name, getattr(report, name))
    for revision in report.half_applied:
        secho(f"half applied: {revision}; to continue, run the command that started it again", fg="yellow")
    for soak in report.soaks:
        echo(f"{soak.revision}: {soak.describe}")
    for exception in report.not_additive:
        echo(
            f"not additive, declared in {exception.revision}: {exception.key}: {exception.reason}"
            f"{'' if exception.applied else ' (not applied)'}"
        )
    for sync in report.syncs:
        secho(
            f"sync {sync.name} on {sync.table}: {_sync_triggers(sync)}",
            fg=None if sync.state == "there" else "yellow",
        )
        for gap in sync.gaps:
            echo(f"    {gap}")
    for revision, requires in report.requires_by_default.items():
        echo(f"{revision}: {by_default_note(requires)}")
    if report.migrations:
        table = Table(box=None, pad_edge=False)
        for column in ("data migration", "kind", "status"):
            table.add_column(column, no_wrap=True)
        for column in ("total", "done", "pending", "failed", "rows/s", "left"):
            table.add_column(column, justify="right", no_wrap=True)
        for migration in report.migrations:
            table.add_row(*_migration_row(migration))
        console.print()
        console.print(table)
    for migration in report.migrations:
        _troubles(migration)
    echo("")
    if report.contract.missing:
        blockers(report.blockers)
    elif report.complete:
        secho("nothing is left to do", fg="green")


def _sync_triggers(sync: SyncLine) -> str:
    """Returns the triggers of a sync, each with its state, unless all of them are there."""
    if sync.state == "there":
        return f"{len(sync.triggers)} trigger(s) there"
    return ", ".join(f"{name}: {state}" for name, state in sync.triggers.items())


def _phase_line(name: str, phase: PhaseState) -> None:
    if phase.head is None:
        return
    missing = "at its head" if not phase.missing else f"{len(phase.missing)} to apply: {_some(phase.missing)}"
    echo(f"{name:<9} {phase.position or 'nothing'} ({missing})")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _migration_row(migration: MigrationState) -> list[str]:
    return [
        migration.name,
        migration.kind,
        migration.status,
        *(_number(v) for v in (migration.total, migration.done, migration.pending, migration.failed)),
        _number(None if migration.rate is None else round(migration.rate)),
        "-" if migration.seconds_left is None else duration(migration.seconds_left),
    ]


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def duration(seconds: float) -> str:
    """Formats seconds: ``42 s``, ``3:07 min``, ``2:05 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


def _troubles(migration: MigrationState) -> None:
    if migration.verification is not None:
        _verification(migration.name, migration.verification)
    if migration.error:
        secho(f"{migration.name}: {migration.error}", fg="red")
    for worker in migration.workers:
        size = "" if worker.chunk_size is None else f", chunk size {worker.chunk_size:,}"
        rate = "" if worker.rate is None else f", {worker.rate:,.0f} rows/s"
        waits = f", waiting: {worker.waits_for}" if worker.waits_for else ""
        echo(f"{migration.name}: worker {worker.runner}{size}{rate}{waits}")
    for failure in migration.failures:
        echo(f"  row {failure['key']}: {failure['error']}")


def _verification(name: str, found: VerificationState) -> None:
    failing = f", {found.failing:,} failing ({_some(found.failing_keys)})" if found.failing else ""
    barrier = "no barrier" if found.barrier is None else f"barrier {found.barrier_state}"
    echo(f"{name}: verification {found.status}, {found.checked:,} row(s) checked{failing}; {barrier}")


def plan(steps: Sequence[Step], *, as_json: bool) -> None:
    """Prints the SQL that is left to run."""
    if as_json:
        document([dataclasses.asdict(step) for step in steps])
        return
    if not steps:
        echo("-- nothing is left to do")
    for i, step in enumerate(steps):
        if i:
            echo("")
        title = f"-- {step.phase} {step.name}: {step.doc}"
        echo(f"{title} ({step.note})" if step.note else title)
        if step.rows is not None:
            echo(f"-- rows to move: {step.rows:,}; {_at_least(step.seconds)}")
        for statement, cost in itertools.zip_longest(step.statements, step.costs):
            echo(f"{statement};")
            if cost is not None:
                echo(f"--   {_cost(cost)}")


def _cost(cost: Cost) -> str:
    """Returns what a statement locks, what it blocks, and for how long."""
    if cost.work == "none":
        held = f"blocks {cost.briefly} for a moment" if cost.briefly != "nothing" else "blocks nothing"
        return f"{cost.lock or 'no lock on an existing table'}: {held}"
    parts = [f"{cost.lock}: {cost.work} of the table, blocks {cost.blocks} meanwhile"]
    if cost.rows is not None:
        parts.append(f"about {cost.rows:,} rows, {_at_least(cost.seconds)}")
    if cost.disk_bytes:
        parts.append(f"about {cost.disk_bytes / 1024**2:,.0f} MiB more on disk")
    if cost.replicas:
        parts.append(f"delays {', '.join(cost.replicas)}")
    return "; ".join(parts)


def _at_least(seconds: float | None) -> str:
    """Returns a lower bound for a time."""
    if seconds is None:
        return "time not known"
    return "less than a second" if seconds < 0.5 else f"at least {seconds:,.0f} s"


def history(lines: Sequence[HistoryLine], *, as_json: bool) -> None:
    """Prints the revisions, one on each line."""
    if as_json:
        document([dataclasses.asdict(line) for line in lines])
        return
    for line in lines:
        parents = ", ".join(line.parents) or "base"
        release = f" [{line.release}]" if line.release else ""
        head = " (head)" if line.head else ""
        echo(f"{line.phase:<8} {parents} -> {line.revision}{head}{release}, {line.doc or 'no message'}")


def current(states: Mapping[Phase, PhaseState], *, as_json: bool) -> None:
    """Prints the position on each branch."""
    if as_json:
        document({phase.value: dataclasses.asdict(state) for phase, state in states.items()})
        return
    for phase, state in states.items():
        head = "(head)" if not state.missing else f"({len(state.missing)} behind {state.head})"
        echo(f"{phase:<8} {state.position or 'nothing'} {head}")
