"""The contract revisions that a package was shipped with."""

from __future__ import annotations

from pathlib import Path

from online_migrate.script.graph import Phase
from online_migrate.script.project import Project
from online_migrate.services.squashed import squashed_of

_READ: dict[Path, frozenset[str]] = {}


def contract_revisions(config_file: str | Path = "alembic.ini") -> frozenset[str]:
    """Returns the ids of all contract revisions of a project, and of those that were folded into another one.

    To be called when the package of the application is imported. The scripts are read once in a process: the
    result of a later call, also in a forked process, is that of the first one, because the code in memory is
    that of the first one, too. Raises what the scripts and the settings are refused with.
    """
    path = Path(config_file).resolve()
    if path not in _READ:
        project = Project.load(path)
        squashed = squashed_of(project.settings)
        _READ[path] = frozenset(
            {
                *project.graph.of(Phase.CONTRACT),
                *(old for old, new in squashed.items() if new in project.graph),
            }
        )
    return _READ[path]
