"""What a plan says of a statement that a tool would execute, on a copy of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from online_migrate.ddl.tools.handover import objections
from online_migrate.ddl.tools.tool import Tool
from online_migrate.dialects import dialect_of
from online_migrate.runtime.catalog_schema import CatalogSchema
from online_migrate.sql.forms.form import Form
from online_migrate.status.cost import UNKNOWN, Cost

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_BLOCKING = frozenset({"COPY", UNKNOWN.lock})
"""The algorithms, by :attr:`Cost.lock`, for which a tool is used."""


class PlannedTool:
    """The tool of the command, and the database that the plan is for."""

    def __init__(self, tool: Tool, connection: Connection) -> None:
        self._tool = tool
        self._connection = connection
        self._dialect = dialect_of(connection)

    def shown(self, statement: str, form: Form, cost: Cost) -> str:
        """Returns the comment that precedes *statement*; empty if the tool is not used for it."""
        if form.copy is None or cost.lock not in _BLOCKING:
            return ""
        known = CatalogSchema(self._connection)
        found = objections(self._tool, self._dialect, self._connection, known, statement, form.copy)
        reasons = "; ".join(found)
        if reasons:
            return f"-- {self._tool.name} cannot copy the table: {reasons}\n"
        alter = " ".join(form.copy.alter.split())
        return f"-- if the server refuses it, {self._tool.name} copies {form.copy.table}: {alter}\n"
