"""The tools that are known, and whether one can be used here."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING

from online_migrate.ddl.tools import errors
from online_migrate.ddl.tools.gh_ost import GhOst
from online_migrate.ddl.tools.pt_online_schema_change import PtOnlineSchemaChange
from online_migrate.ddl.tools.server_access import ServerAccess
from online_migrate.ddl.tools.tool import Tool
from online_migrate.dialects import Dialect

if TYPE_CHECKING:
    import sqlalchemy as sa

TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in (PtOnlineSchemaChange(), GhOst())}


@dataclasses.dataclass(frozen=True)
class InstalledTool:
    """A tool, its program, and how it reaches the server of the command."""

    tool: Tool
    program: str
    access: ServerAccess


def wanted(given: str | None, setting: str | None, dialect: Dialect) -> Tool | None:
    """Returns the tool that an option or else a setting names; None if there is none.

    The setting does not count on a server that needs no tool. Raises
    :class:`~online_migrate.ddl.tools.errors.ToolUnusable` for a tool that does not work with this server.
    """
    name = given or (setting if dialect.ddl_tools else None)
    if name is None:
        return None
    if name not in dialect.ddl_tools:
        known = ", ".join(dialect.ddl_tools) or "none"
        raise errors.ToolUnusable(
            tool=name, reason=f"it does not work with {dialect.name}", hint=f"tools for this server: {known}"
        )
    return TOOLS[name]


def installed(tool: Tool, url: sa.URL) -> InstalledTool:
    """Returns *tool* for the server of *url*.

    Raises :class:`~online_migrate.ddl.tools.errors.ToolUnusable` for an option of the URL that it cannot
    follow, and :class:`~online_migrate.ddl.tools.errors.ToolMissing`.
    """
    access = ServerAccess.of(url)
    refused = tool.refused_options(access)
    if refused:
        raise errors.ToolUnusable(
            tool=tool.name,
            reason=f"it cannot follow these options of the URL: {', '.join(refused)}",
            hint="remove them from the URL, or run the command without --ddl-tool",
        )
    program = shutil.which(tool.name)
    if program is None:
        raise errors.ToolMissing(tool=tool.name, install=tool.install)
    return InstalledTool(tool, program, access)
