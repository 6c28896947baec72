"""The steps, one for each release, in which a database is migrated completely. Pure.

Releases have no order of their own: they come in the order in which the scripts name them, from the base of
the branches to their heads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from online_migrate import exceptions
from online_migrate.kinds.base import DataMigration
from online_migrate.script.graph import Graph, Phase


@dataclasses.dataclass(frozen=True)
class ReleaseStep:
    """Expand up to a revision, then run data migrations, then contract up to a revision."""

    release: str | None
    expand: str | None
    migrations: tuple[str, ...]
    contract: str | None


def release_steps(graph: Graph, migrations: Mapping[str, DataMigration]) -> list[ReleaseStep]:
    """Returns a step for each release, in the order in which the scripts name them, and one for the rest.

    A data migration belongs to the step of its release, or else to the first step that has applied the
    revision that the data migration needs; and at the latest to the first step whose contract requires it.
    """
    found: list[ReleaseStep] = []
    placed: set[str] = set()
    for release in in_order(graph):
        own = _last(graph, Phase.EXPAND, release)
        expand = _later(graph, own, _needed_by(graph, _last(graph, Phase.CONTRACT, release)))
        needed = _required_by(graph, migrations, _last(graph, Phase.CONTRACT, release))
        own_names = {name for name, m in migrations.items() if _belongs(graph, m, release, expand)}
        names = [name for name in migrations if name in needed | own_names and name not in placed]
        placed |= set(names)
        found.append(ReleaseStep(release, expand, tuple(names), _last(graph, Phase.CONTRACT, release)))
    rest = tuple(name for name in migrations if name not in placed)
    found.append(ReleaseStep(None, graph.heads.get(Phase.EXPAND), rest, graph.heads.get(Phase.CONTRACT)))
    return found


def steps_up_to(graph: Graph, migrations: Mapping[str, DataMigration], release: str) -> list[ReleaseStep]:
    """Returns the steps of *release* and of the releases before it.

    Raises :class:`~online_migrate.exceptions.UnknownRelease`.
    """
    known = in_order(graph)
    if release not in known:
        raise exceptions.UnknownRelease(release=release, known=", ".join(known) or "none")
    return release_steps(graph, migrations)[: known.index(release) + 1]


def last_revision(steps: Sequence[ReleaseStep], phase: Phase) -> str | None:
    """Returns the revision up to which the branch of *phase* is applied after *steps*; None: it has none."""
    found = [step.expand if phase is Phase.EXPAND else step.contract for step in steps]
    return next((revision for revision in reversed(found) if revision is not None), None)


def in_order(graph: Graph) -> list[str]:
    """Returns the releases that the scripts name, the oldest first; none that is history."""
    found: dict[str, None] = {}
    for revision in graph.revisions.values():
        if revision.release is not None and revision.id not in graph.past:
            found.setdefault(str(revision.release))
    return list(found)


def _last(graph: Graph, phase: Phase, release: str) -> str | None:
    members = [r for r in graph.of(phase) if str(graph.revisions[r].release) == release]
    return members[-1] if members else None


def _needed_by(graph: Graph, contract: str | None) -> str | None:
    return None if contract is None else graph.position(graph.needed(contract), Phase.EXPAND)


def _required_by(graph: Graph, migrations: Mapping[str, DataMigration], contract: str | None) -> set[str]:
    """Returns the data migrations that the branch up to *contract* requires, with those before them."""
    if contract is None:
        return set()
    found: set[str] = set()
    to_visit = list(graph.requirements(graph.ancestors(contract)))
    while to_visit:
        name = to_visit.pop()
        if name in migrations and name not in found:
            found.add(name)
            to_visit.extend(migrations[name].after)
    return found


def _later(graph: Graph, *revisions: str | None) -> str | None:
    """Returns the last one of several revisions of a branch; None if there is none."""
    found = graph.order(revision for revision in revisions if revision is not None)
    return found[-1] if found else None


def _belongs(graph: Graph, migration: DataMigration, release: str, expand: str | None) -> bool:
    if migration.release is not None:
        return str(migration.release) == release
    if migration.revision is None or expand is None:
        return False
    return migration.revision in graph.ancestors(expand)
