"""The errors of moved columns; see :mod:`online_migrate.exceptions` for what the docstrings mean."""

from __future__ import annotations

from online_migrate.exceptions import Refused, UsageError


class PhaseUnknown(UsageError):
    """The phase of moved column {name!r} {reason}"""

    default_hint = "export ONLINE_MIGRATE_ORM_PHASES={name}=write-both   (phases: {phases})"


class MovedBroken(UsageError):
    """Moved column {name!r} is not valid: {reason}"""


class MovedColumnsDiffer(UsageError):
    """{model} was given {old}={old_value!r} and {new}={new_value!r}, which are not the same value."""

    default_hint = "give one of them; the other is derived"


class MovedExpression(Refused):
    """A SQL expression cannot be assigned to {model}.{attribute}: the other column cannot be derived from it
    before the flush."""

    default_hint = "assign a value, or execute update({model}).values({attribute}=...) in the session"


class MovedStatement(Refused):
    """The statement writes one column of {model}.{attribute} and leaves the other one behind: {reason}"""
