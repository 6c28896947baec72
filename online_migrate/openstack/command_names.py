"""The commands that messages name, as a ``*-manage`` program has them. Pure."""

from __future__ import annotations

import re

PROSE = frozenset({"again", "has", "lists"})
"""Words that follow a command in messages, and are no revision."""
_COMMAND = re.compile(
    r"online-migrate (expand|contract|gate|migrate|status|upgrade|verify)\b(?: ([A-Za-z0-9_@.-]+))?"
)
_RENAMED = {"upgrade": "sync"}
_ARGUMENTS = {
    "expand": "--revision",
    "contract": "--revision",
    "gate": "--revision",
    "migrate": "--name",
    "verify": "--name",
}


def as_db_commands(text: str) -> str:
    """Returns *text* with ``db expand --revision R`` instead of ``online-migrate expand R``, and so on.

    A command that :class:`~online_migrate.openstack.manage.DbCommands` does not have keeps its name.
    """
    return _COMMAND.sub(_as_db_command, text)


def _as_db_command(match: re.Match[str]) -> str:
    verb, following = match[1], match[2]
    command = f"db {_RENAMED.get(verb, verb)}"
    if following is None:
        return command
    # An argument at the end of a sentence has its full stop with it.
    if following.startswith("-") or following.rstrip(".") in PROSE or verb not in _ARGUMENTS:
        return f"{command} {following}"
    return f"{command} {_ARGUMENTS[verb]} {following}"
