"""Renders the SQL of a revision in Alembic's offline mode: nothing is executed, no database is asked."""

from __future__ import annotations

import dataclasses
import io
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationStep
from sqlalchemy import exc

from online_migrate import exceptions
from online_migrate.ddl.script_access import without_connection
from online_migrate.observe.unlogged import no_context_logged
from online_migrate.runtime.environment import Environment
from online_migrate.runtime.sync_operations import SyncScope, sync_scope
from online_migrate.script.project import Project

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from sqlalchemy.engine import Connection, Engine


class NotRendered(exceptions.Failed):
    """The SQL depends on a live connection: {reason}"""


@dataclasses.dataclass(frozen=True)
class RenderedStatement:
    """A statement of a script; *line*: the line of the script that makes it, None if it is not known.

    *transaction*: the number of the transaction in which the script sends it; None: outside of one, in an
    ``autocommit_block``.
    """

    text: str
    line: int | None = None
    transaction: int | None = 0


@dataclasses.dataclass(frozen=True)
class Rendered:
    """The statements of a revision; *reason*: why those after them are not known, None if all are.

    *line*: the line of the script at which it failed.
    """

    statements: tuple[RenderedStatement, ...]
    reason: str | None = None
    line: int | None = None


def render(
    project: Project,
    environment: Environment,
    engine: Engine,
    revision: str,
    scope: SyncScope | None = None,
) -> list[str]:
    """Returns the SQL of a revision, as Alembic's offline mode renders it; nothing is executed.

    *scope*: see :func:`render_offline`.

    Raises :class:`NotRendered` for a script that reads the database to decide what to do; ``statements`` of
    the exception are those that were rendered before.
    """
    rendered = render_offline(
        project.config,
        project.script,
        revision,
        server=engine.dialect.name,
        options=environment.options,
        scope=scope,
    )
    statements = [statement.text for statement in rendered.statements]
    if rendered.reason is not None:
        raise NotRendered(reason=rendered.reason, statements=statements)
    return statements


def renderer(project: Project, connection: Connection) -> Callable[[str], Rendered]:
    """Returns a function that renders a revision for the database of *connection*."""

    def rendered(revision: str) -> Rendered:
        return render_offline(
            project.config,
            project.script,
            revision,
            server=connection.engine.dialect.name,
            options={},
            scope=SyncScope.of(connection),
        )

    return rendered


def render_offline(
    config: Config,
    script: ScriptDirectory,
    revision: str,
    *,
    server: str,
    options: Mapping[str, Any],
    scope: SyncScope | None = None,
    undo: bool = False,
) -> Rendered:
    """Returns the statements of a revision, with the lines of its script; *undo*: of its ``downgrade``.

    *server*: postgresql, mysql, mariadb or sqlite. *options*: the arguments of ``context.configure``.
    *scope*: what is known of the database before the revision.
    """
    written: list[RenderedStatement] = []
    scope = dataclasses.replace(
        scope or SyncScope(), rendered=lambda: [one.text for one in _statements(written)], changes={}
    )
    try:
        with sync_scope(scope):
            _render_into(written, config, script, revision, server, options, undo=undo)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a script may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Rendered(_statements(written), reason, _failing_line(error, _path_of(script, revision)))
    return Rendered(_statements(written))


def _render_into(
    written: list[RenderedStatement],
    config: Config,
    script: ScriptDirectory,
    revision: str,
    server: str,
    options: Mapping[str, Any],
    *,
    undo: bool,
) -> None:
    buffer = io.StringIO()
    direction = MigrationStep.downgrade_from_script if undo else MigrationStep.upgrade_from_script
    step: Any = direction(script.revision_map, script.get_revision(revision))
    with EnvironmentContext(
        config, script, fn=lambda heads, context: [], as_sql=True, output_buffer=buffer
    ) as context:
        keywords = {**options, "output_buffer": buffer, "literal_binds": True}
        with no_context_logged():
            context.configure(dialect_name=server, **keywords)
        migration = context.get_context()
        _write_what_has_no_literal(migration.impl)
        # Not from the buffer: a semicolon in the body of a trigger does not end a statement.
        impl: Any = migration.impl
        impl.static_output = _writer(written, _path_of(script, revision))
        # The script is called, and connections that it opens itself must not execute anything here.
        with Operations.context(migration), without_connection():
            step.migration_fn()


def _writer(written: list[RenderedStatement], path: str) -> Callable[[str], None]:
    def write(text: str) -> None:
        written.append(RenderedStatement(text, _line_in(path)))

    return write


def _line_in(path: str) -> int | None:
    """Returns the line of the script that is being executed."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == path:
            return frame.f_lineno
        frame = frame.f_back
    return None


def _path_of(script: ScriptDirectory, revision: str) -> str:
    found = script.get_revision(revision)
    return "" if found is None else found.path


def _failing_line(error: BaseException, path: str) -> int | None:
    """Returns the innermost line of the script in the traceback of *error*."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == path), None)


_WITHOUT_VALUES = {
    "insert": "INSERT INTO {} VALUES (NULL)",
    "update": "UPDATE {} SET x = NULL",
    "delete": "DELETE FROM {}",
}
"""Statements that every reader of the server's grammar accepts."""


def _write_what_has_no_literal(impl: Any) -> None:
    """Renders at least the table of a statement whose values have no literal form (untyped columns)."""
    execute = impl._exec

    def tolerant(construct: Any, *arguments: Any, **keywords: Any) -> Any:
        try:
            return execute(construct, *arguments, **keywords)
        except exc.CompileError:
            form = _WITHOUT_VALUES.get(construct.__visit_name__, construct.__visit_name__.upper() + " {}")
            text = form.format(getattr(construct, "table", "?"))
            impl.static_output(f"{text} -- values without a literal form\n;")

    impl._exec = tolerant


def _statements(written: Sequence[RenderedStatement]) -> tuple[RenderedStatement, ...]:
    """Returns what an offline script wrote, one statement each, without BEGIN and COMMIT."""
    found: list[RenderedStatement] = []
    number, is_open = 0, True
    for one in written:
        text = one.text.strip().removesuffix(";").strip()
        if text.upper() in ("BEGIN", "COMMIT"):
            is_open = text.upper() == "BEGIN"
            number += is_open
        elif text:
            found.append(RenderedStatement(text, one.line, number if is_open else None))
    return tuple(found)
