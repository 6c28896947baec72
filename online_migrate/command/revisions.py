"""What the commands that apply revisions share: the revision runner, and what they check before it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

from online_migrate import exceptions, state
from online_migrate.context import CommandContext
from online_migrate.contract.announcement import reconcile
from online_migrate.contract.barrier_ddl import remove_left_behind
from online_migrate.ddl.session import connect, ddl_session, require_connections
from online_migrate.ddl.tools import registry
from online_migrate.ddl.tools.registry import InstalledTool
from online_migrate.dialects import dialect_of
from online_migrate.expand.additive import AdditiveCheck
from online_migrate.runtime import recording
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.script import releases
from online_migrate.script.graph import Graph, Phase


@contextlib.contextmanager
def revision_runner(
    context: CommandContext, *, kill_blockers: float | None = None, ddl_tool: str | None = None
) -> Iterator[RevisionRunner]:
    """Yields the runner that applies revisions. There is one at a time for each database.

    *kill_blockers*, *ddl_tool*: override the settings of these names; None: the setting is used.
    """
    settings = context.project.settings
    tool = installed_tool(context, ddl_tool)
    with ddl_session(context.engine, settings, clock=context.clock, stop=context.stop) as session:
        runner = RevisionRunner(
            project=context.project,
            environment=context.environment,
            session=session,
            clock=context.clock,
            stop=context.stop,
            echo=context.echo,
            kill_blockers=settings.kill_blockers if kill_blockers is None else kill_blockers,
            ddl_tool=tool,
        )
        reconcile(runner)
        remove_left_behind(runner)
        yield runner


def installed_tool(context: CommandContext, given: str | None) -> InstalledTool | None:
    """Returns the tool that copies tables; None if neither the option nor the setting names one.

    *given*: the option. Raises what :func:`~online_migrate.ddl.tools.registry.wanted` and
    :func:`~online_migrate.ddl.tools.registry.installed` raise.
    """
    with connect(context.engine) as connection:
        tool = registry.wanted(given, context.project.settings.ddl_tool, dialect_of(connection))
    return None if tool is None else registry.installed(tool, context.engine.url)


def refuse_long_ids(context: CommandContext, revisions: Sequence[str]) -> None:
    """Refuses, before anything is changed, revision ids that are too long for the version table."""
    with connect(context.engine) as connection:
        recording.refuse_long_ids(connection, context.environment, revisions)


def refuse_half_rolled_back(context: CommandContext) -> None:
    """Raises :class:`~online_migrate.exceptions.Refused` if a rollback was begun and not finished."""
    with connect(context.engine) as connection:
        undone = state.half_rolled_back(connection) if state.exists(connection) else []
    if undone:
        raise exceptions.Refused(
            reason=f"the rollback of expand revision {undone[0]} is not finished",
            hint=f"online-migrate rollback {undone[0]}   (then: online-migrate expand)",
        )


def refuse_not_additive(context: CommandContext, revisions: Sequence[str]) -> None:
    """Refuses, before anything is changed, expand revisions that are known not to be additive."""
    with context.read_connection() as connection:
        dialect = dialect_of(connection)
        AdditiveCheck(context.project, context.environment, connection, dialect).refuse(revisions)


def require_ddl_connections(context: CommandContext, command: str) -> None:
    """Refuses the command if too few connections are available.

    A command needs one connection for DDL, one for reads, and one for the journal where DDL is not
    transactional.
    """
    with connect(context.engine) as connection:
        dialect = dialect_of(connection)
    if not dialect.single_writer:
        require_connections(context.engine, 2 if dialect.transactional_ddl else 3, command)


@dataclasses.dataclass(frozen=True)
class Target:
    """How far a branch is applied: up to a revision, or to its head."""

    revision: str | None = None
    """None: the head."""
    nothing: bool = False
    """True: the release, and those before it, have no revision on the branch."""


def target_of(context: CommandContext, target: str | None, release: str | None, phase: Phase) -> Target:
    """Returns how far a command applies the branch of *phase*.

    *target*: a revision; *release*: up to the last revision of this release. Raises
    :class:`~online_migrate.exceptions.UnknownRevision`, :class:`~online_migrate.exceptions.UnknownRelease`,
    and :class:`~online_migrate.exceptions.UsageError` for both.
    """
    graph = context.project.graph
    if release is None:
        return Target(target_revision(graph, target, phase))
    if target is not None:
        raise exceptions.UsageError(message=f"both a revision ({target}) and --release {release} were given")
    steps = releases.steps_up_to(graph, context.project.data_migrations, release)
    revision = releases.last_revision(steps, phase)
    return Target(revision, nothing=revision is None)


def target_revision(graph: Graph, target: str | None, phase: Phase) -> str | None:
    """Returns the revision of *phase* that *target* names; None if *target* is None.

    Raises :class:`~online_migrate.exceptions.UnknownRevision`.
    """
    if target is None:
        return None
    revision = graph.resolve(target)
    if graph.phase(revision) is not phase:
        raise exceptions.UnknownRevision(
            revision=target, hint=f"{revision} is on the {graph.phase(revision)} branch, not on {phase}"
        )
    return revision
