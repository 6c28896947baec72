"""The command ``prove``: takes a scratch database through all phases, under the traffic of both versions."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.command.proof import Proof
from online_migrate.context import CommandContext
from online_migrate.ddl.session import connect
from online_migrate.dialects import create_engine, safe_url
from online_migrate.function_import import FunctionNotImported, import_function
from online_migrate.prove import models
from online_migrate.prove.finding import Finding, Report
from online_migrate.prove.rows import Changed, Values


def prove(
    context: CommandContext,
    *,
    old: str,
    new: str,
    final: str | None = None,
    since: str | None = None,
    release: str | None = None,
    rows: str | None = None,
) -> Report:
    """Runs the ORM traffic of both versions in every phase, on a scratch database.

    *old*, *new*: the models of the two versions, ``[PATH:]MODULE[:OBJECT]``. *final*: those of the version
    that runs after contract, if the new one maps what contract drops. *since*: a release or an expand
    revision; all up to it is applied before the proof begins. *release*: the last release that is proved.
    *rows*: ``module:function``, which changes the generated rows. The database is that of the context's URL,
    which must be empty, or a temporary file of SQLite.

    Raises :class:`~online_migrate.exceptions.ModelsBroken`, and
    :class:`~online_migrate.exceptions.UsageError` for a database that is not empty.
    """
    try:
        context.project.load_graph()
    except exceptions.GraphBroken as error:
        return Report((_graph_finding(error),), (), stopped="the revision graph is not valid")
    folder = context.config_file.resolve().parent
    named = {"old": old, "new": new} | ({} if final is None else {"final": final})
    versions = {name: models.load(name, text, folder) for name, text in named.items()}
    changed = None if rows is None else _function(rows, folder)
    with _scratch(context) as scratch:
        return Proof(scratch, versions, Values(changed), since=since, release=release).run()


def _function(path: str, folder: Path) -> Changed:
    package = path.partition(":")[0].partition(".")[0]
    try:
        with models.OwnModules(folder, package).active():
            return import_function(path, folder)
    except FunctionNotImported as error:
        raise exceptions.UsageError(message=f"--rows {path} {error}", hint=error.hint) from error


def _graph_finding(error: exceptions.GraphBroken) -> Finding:
    return Finding("graph", "before", str(error), hint=error.hint or "")


@contextlib.contextmanager
def _scratch(context: CommandContext) -> Iterator[CommandContext]:
    """Yields the context of the scratch database, which is empty."""
    with tempfile.TemporaryDirectory(prefix="online-migrate-prove-") as folder:
        url = context.given_url or f"sqlite:///{Path(folder) / 'scratch.sqlite'}"
        _refuse_not_empty(url)
        scratch = dataclasses.replace(context, given_url=url, bind=None)
        try:
            yield scratch
        finally:
            scratch.close()


def _refuse_not_empty(url: str) -> None:
    engine = create_engine(url)
    try:
        with connect(engine) as connection:
            inspector = sa.inspect(connection)
            found = sorted([*inspector.get_table_names(), *inspector.get_view_names()])
    finally:
        engine.dispose()
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise exceptions.UsageError(
            message=f"prove needs an empty database, but {safe_url(url)} has tables: "
            f"{', '.join(found[:5])}{more}",
            hint="nothing was changed; create an empty database and give it with --url, or give no --url",
        )
