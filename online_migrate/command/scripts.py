"""The commands that write scripts: ``init`` and ``revision``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from online_migrate.context import CommandContext
from online_migrate.script import create
from online_migrate.script import init as projects


def init(context: CommandContext, folder: str = "migrations") -> projects.Written:
    """Writes a new project in *folder*. Overwrites nothing."""
    return projects.init(context.config_file, folder)


def adopt(context: CommandContext) -> projects.Written:
    """Adopts an existing linear Alembic project."""
    return projects.adopt(context.config_file)


def revision(
    context: CommandContext, message: str, *, release: str | None = None, rev_ids: Sequence[str] = ()
) -> list[Path]:
    """Writes an expand script and the contract script that depends on it.

    *rev_ids*: the ids of the two scripts; default: random ids. Returns the paths of the scripts.
    """
    return create.write_pair(context.project, message, release=release, rev_ids=rev_ids)
