"""Writes a pair of scripts: an expand revision, and the contract revision that depends on it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from alembic import util

from online_migrate import exceptions
from online_migrate.script.graph import Phase
from online_migrate.script.init import TEMPLATES
from online_migrate.script.project import Project


def write_pair(
    project: Project, message: str, *, release: str | None = None, rev_ids: Sequence[str] = ()
) -> list[Path]:
    """Writes an expand and a contract script with the right down_revision, branch_labels and depends_on.

    The contract revision ``depends_on`` its expand revision, so that plain Alembic, too, never contracts
    before it expands. *release*: the release label of both. *rev_ids*: the ids of the two, instead of random
    ones. Returns the paths. Raises :class:`~online_migrate.exceptions.UsageError` for an id that is taken,
    and :class:`~online_migrate.exceptions.ConfigBroken`.
    """
    graph = project.graph  # a broken graph is refused before a file is written
    expand_id, contract_id = rev_ids or (util.rev_id(), util.rev_id())
    taken = [revision for revision in (expand_id, contract_id) if revision in graph]
    if taken or expand_id == contract_id:
        raise exceptions.UsageError(
            message=f"revision id {(taken or [expand_id])[0]!r} already exists",
            hint="choose another --rev-id",
        )
    expand = _write(project, Phase.EXPAND, expand_id, message, None, release)
    contract = _write(project, Phase.CONTRACT, contract_id, message, expand_id, release)
    return [expand, contract]


def _write(
    project: Project, phase: Phase, revision: str, message: str, depends_on: str | None, release: str | None
) -> Path:
    graph, folder = project.graph, folder_of(project, phase, release)
    _check_location(project, folder)
    generator = copy.copy(project.script)
    generator.messaging_opts = {"quiet": True}
    # Alembic accepts only the folders that are named, not the folders in them.
    generator.version_locations = [str(folder)]
    generator.__dict__["_version_locations"] = [folder.absolute()]
    if "phase" not in _own_template(project):
        # The template of an adopted project does not write ``requires`` into a contract script.
        generator.dir = str(TEMPLATES)
    try:
        script = generator.generate_revision(
            revision,
            message,
            head=graph.tip(phase) or "base",
            splice=True,
            branch_labels=None if graph.has_branch(phase) else phase.value,
            version_path=str(folder),
            depends_on=depends_on,
            phase=phase.value,
            release=release,
            imports="",
        )
    except util.CommandError as error:
        raise exceptions.ConfigBroken(path=str(folder), reason=str(error)) from None
    assert script is not None
    return Path(script.path)


def folder_of(project: Project, phase: Phase, release: str | None) -> Path:
    """Returns the folder of a new script of a branch: where its last script is, or in that of its release.

    In a tree with a folder for each release, ``<release>/expand`` and ``<release>/contract``, it is that of
    *release*, or without one that of the last script.
    """
    tip = project.graph.tip(phase)
    if tip is None or not project.graph.has_branch(phase):
        return project.migrations_dir / phase.value
    last = Path(project.graph.revisions[tip].path).parent
    root = last.parent.parent
    if last.name == phase.value and root in _locations(project) and release is not None:
        return root / release / phase.value
    return last


def _own_template(project: Project) -> str:
    template = project.migrations_dir / "script.py.mako"
    return template.read_text(encoding="utf-8") if template.is_file() else ""


def _check_location(project: Project, folder: Path) -> None:
    known = _locations(project)
    below = project.script.recursive_version_locations
    if folder.absolute() not in known and not (below and known & set(folder.absolute().parents)):
        raise exceptions.ConfigBroken(
            path=str(project.config_file),
            reason=f"{folder} is not in its version_locations",
            hint="online-migrate init --adopt",
        )


def _locations(project: Project) -> set[Path]:
    return {Path(location) for location in project.script._version_locations}
