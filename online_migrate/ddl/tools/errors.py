"""The errors of the tools that copy a table. The docstring of a class is its message."""

from __future__ import annotations

from online_migrate.exceptions import Failed, Refused, UsageError


class ToolMissing(UsageError):
    """The program {tool} is not installed, or not in PATH. Nothing was changed."""

    default_hint = "{install}"


class ToolUnusable(UsageError):
    """{tool} cannot be used: {reason}. Nothing was changed."""


class ToolLeftovers(Refused):
    """An earlier run of {tool} on table {table!r} has not ended, or has left {found}."""

    default_hint = (
        "{sessions}when no {tool} works on the table any more: {cleanup}; then: online-migrate {command}"
    )


class ToolFailed(Failed):
    """{tool} {what}:{said}"""
