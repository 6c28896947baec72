"""Checks for the test suite of a project: one line each.

``assert_additive`` needs no database, and is for a linear history too, without the branches of
online-migrate. ``assert_proved`` does what the command ``prove`` does. The markers
``online_migrate_additive`` and ``online_migrate_prove`` of pytest call them; see
:mod:`online_migrate.pytest_plugin`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from online_migrate.command.proving import prove
from online_migrate.config import url_in
from online_migrate.context import CommandContext
from online_migrate.exceptions import GraphBroken, UnknownRevision
from online_migrate.phases.declared import DeclaredExceptions
from online_migrate.phases.known import Server
from online_migrate.phases.script import Judged
from online_migrate.phases.verdict import Verdict
from online_migrate.runtime.history import JudgedRevision, judge_history, not_rendered
from online_migrate.script.configuration import load_config
from online_migrate.script.graph import Phase
from online_migrate.script.reading import from_scripts, reasons_in
from online_migrate.sql.statement import shorten

if TYPE_CHECKING:
    from alembic.script import Script

    from online_migrate.prove.finding import Finding

_DEFAULT_DIALECTS = ("postgresql", "mysql")
_SERVERS = ("postgresql", "mysql", "mariadb", "sqlite")


def assert_additive(
    config: str | Path | Config = "alembic.ini",
    *,
    since: str,
    dialects: Iterable[str] = (),
    allowed: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Asserts that every revision after *since* only adds: code that does not know of it keeps working.

    The scripts are rendered as by ``alembic upgrade --sql``. *config*: the path of alembic.ini or
    pyproject.toml, or a configuration of Alembic. *since*: the revision of the last release; those before it
    are not judged, but tell which tables and types there are. *dialects*: postgresql, mysql, mariadb, sqlite;
    without it that of ``sqlalchemy.url``, or postgresql and mysql. *allowed*: revision -> operation or
    statement -> reason, like ``additive = {...}`` in the script. Contract revisions are not judged.

    Raises :class:`AssertionError` with every operation that is not additive, the reason and the form to use.
    """
    __tracebackhide__ = True
    loaded = config if isinstance(config, Config) else load_config(Path(config))
    script = ScriptDirectory.from_config(loaded)
    revisions = _after(script, since)
    declared = {one.revision: _declared(one, allowed or {}) for one in revisions}
    problems = _Problems()
    for dialect in tuple(dialects) or _dialects_of(loaded):
        for judged in judge_history(loaded, script, declared.keys(), Server(dialect)):
            problems.add(judged, declared[judged.revision], dialect)
    unknown = sorted((allowed or {}).keys() - declared.keys())
    lines = problems.lines(declared) + [f"allowed names {name}, which is not judged" for name in unknown]
    if lines:
        raise AssertionError("\n".join([f"{len(lines)} problem(s) in the revisions after {since}:", *lines]))


def assert_proved(
    config: str | Path = "alembic.ini",
    *,
    old: str,
    new: str,
    url: str | None = None,
    **options: str | None,
) -> None:
    """Asserts that the old and the new version of the application survive every phase.

    *old*, *new*: their models, ``[PATH:]MODULE[:OBJECT]``, relative to the folder of *config*. *url*: an
    empty database; None: a temporary file of SQLite. *options*: ``final``, ``since``, ``release`` and
    ``rows``, as for :func:`online_migrate.command.prove`.

    Raises :class:`AssertionError` with every incompatibility, and the revision to blame.
    """
    __tracebackhide__ = True
    report = prove(CommandContext(config_file=Path(config), given_url=url), old=old, new=new, **options)
    if report.findings:
        found = [_shown_finding(finding) for finding in report.findings]
        raise AssertionError("\n".join([f"{len(found)} finding(s):", *found]))


def _shown_finding(finding: Finding) -> str:
    return "\n    ".join([finding.title, *finding.details])


def _dialects_of(config: Config) -> Sequence[str]:
    url = url_in(config)
    name = "" if url is None else sa.make_url(url).get_backend_name()
    return (name,) if name in _SERVERS else _DEFAULT_DIALECTS


def _after(script: ScriptDirectory, since: str) -> list[Script]:
    """Returns the revisions that are not *since* or one of its ancestors, without contract revisions."""
    try:
        last = script.get_revisions(since)
    except CommandError as error:
        raise UnknownRevision(revision=since) from error
    before = {one.revision for known in last for one in script.iterate_revisions(known.revision, "base")}
    scripts = list(script.walk_revisions())
    try:
        graph = from_scripts(scripts)
    except GraphBroken:
        contracts = set[str]()
    else:
        contracts = set(graph.of(Phase.CONTRACT))
    return [one for one in reversed(scripts) if one.revision not in before | contracts]


def _declared(script: Script, allowed: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Returns the exceptions of a revision: those of its script, and those that are *allowed*."""
    declared = dict(reasons_in(script, "additive"))
    for key, reason in allowed.get(script.revision, {}).items():
        if not reason.strip():
            raise ValueError(f"allowed[{script.revision!r}][{key!r}] has no reason")
        declared[key] = reason
    return declared


@dataclasses.dataclass(frozen=True)
class _Problem:
    """An operation in a file; its text and its reason may differ between dialects: those of the first."""

    location: str
    """The file, and the line if it is known."""
    operation: str
    statement: str = dataclasses.field(compare=False)
    verdict: Verdict = dataclasses.field(compare=False)


class _Problems:
    """The operations that are not additive, each with the dialects for which it is not."""

    def __init__(self) -> None:
        self._found: dict[_Problem, list[str]] = {}
        self._matched: dict[str, set[str]] = {}

    def add(self, revision: JudgedRevision, declared: Mapping[str, str], dialect: str) -> None:
        """Adds the problems of one revision for one dialect."""
        keys = DeclaredExceptions(declared, dialect)
        judged = [(one.judged, one.line) for one in revision.operations]
        if revision.reason is not None:
            judged.append((Judged("", not_rendered(revision.reason)), None))
        for one, line in judged:
            accepted = keys.accepts(one.statement, one.verdict)
            if not (accepted or one.verdict.additive):
                location = f"{revision.path}{'' if line is None else f':{line}'}"
                problem = _Problem(location, str(one.verdict), one.statement, one.verdict)
                dialects = self._found.setdefault(problem, [])
                if dialect not in dialects:
                    dialects.append(dialect)
        self._matched.setdefault(revision.revision, set()).update(declared.keys() - set(keys.unmatched))

    def lines(self, declared: Mapping[str, Mapping[str, str]]) -> list[str]:
        """Returns a text for each problem. *declared*: revision -> its exceptions."""
        found = [_shown(problem, dialects) for problem, dialects in self._found.items()]
        for revision, keys in declared.items():
            unmatched = [key for key in keys if key not in self._matched.get(revision, set())]
            found += [f"{revision} declares {key!r}, which matches nothing" for key in unmatched]
        return found


def _shown(problem: _Problem, dialects: Sequence[str]) -> str:
    verdict = problem.verdict
    lines = [f"{problem.location}: {verdict} ({', '.join(dialects)})"]
    if problem.statement:
        lines.append(f"    {shorten(problem.statement)}")
    lines.append(f"    why: {verdict.reason or 'its effect is not known'}")
    if verdict.hint:
        lines.append(f"    instead: {verdict.hint}")
    return "\n".join(lines)
