"""Asks one of OpenStack's trees in the environment that has the real packages; prints one JSON document.

``python -m tests.support.openstack_tree own INI URL REVISION ...`` applies revisions as the project does: by
Alembic, through its own env.py. ``... ours INI URL`` brings the database to head by online-migrate, and
says what it read before and after.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from online_migrate import command, exceptions
from online_migrate.context import CommandContext
from online_migrate.runtime.env_needs import provided
from online_migrate.script.graph import Phase


def own(config_file: Path, url: str, revisions: list[str]) -> dict[str, Any]:
    """Applies *revisions* by plain Alembic, which runs the project's env.py."""
    from alembic import command as alembic

    project = CommandContext(config_file).project
    _ = project.script  # calls env_setup
    project.config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    with provided(project.config, project.settings, url):
        for revision in revisions:
            alembic.upgrade(project.config, revision)
    return {}


def ours(config_file: Path, url: str) -> dict[str, Any]:
    """Reads the database as it is, brings it to head, and reads it again."""
    said: list[str] = []
    context = CommandContext(config_file, given_url=url, echo=said.append)
    found: dict[str, Any] = {"before": _read(context)}
    found["expand"] = _refusal(lambda: command.expand(context))
    found["adopt"] = _refusal(lambda: command.adopt(context))
    command.upgrade(context)
    found["said"] = [line for line in said if "guard()" in line]
    said.clear()
    command.upgrade(context)
    found["again"] = said
    found["after"] = _read(CommandContext(config_file, given_url=url))
    return found


def upgrade(config_file: Path, url: str) -> dict[str, Any]:
    """Brings the database to head, and says which revisions were missing."""
    context = CommandContext(config_file, given_url=url)
    missing = [name for state in command.current(context).values() for name in state.missing]
    command.upgrade(context)
    return {"applied": missing}


def crossing(config_file: Path, url: str) -> dict[str, Any]:
    """Reads a database with settings without ``history``: every revision is on its own branch."""
    context = CommandContext(config_file, given_url=url)
    return {"read": _read(context), "expand": _refusal(lambda: command.expand(context))}


def current(config_file: Path, url: str) -> dict[str, Any]:
    """Returns the error of ``current``: of a project without the settings that its env.py needs."""
    return {"error": _refusal(lambda: command.current(CommandContext(config_file, given_url=url)))}


def _read(context: CommandContext) -> dict[str, Any]:
    graph = context.project.graph
    states = command.current(context)
    return {
        "history": len(command.history(context)),
        "missing": {str(phase): list(state.missing) for phase, state in states.items()},
        "position": {str(phase): state.position for phase, state in states.items()},
        "gate": [[blocker.id, blocker.object, blocker.reason] for blocker in command.gate(context)],
        "complete": command.status(context).complete,
        "plan": [step.name for step in command.plan(context).steps],
        "base": len(graph.of(Phase.BASE)),
    }


def _refusal(call: Any) -> str | None:
    try:
        call()
    except exceptions.OnlineMigrateError as error:
        return f"{error}\n{error.hint}"
    return None


if __name__ == "__main__":
    verb, config, url, *revisions = sys.argv[1:]
    result = own(Path(config), url, revisions) if verb == "own" else globals()[verb](Path(config), url)
    print(json.dumps(result))
