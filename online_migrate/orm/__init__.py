"""Helpers for applications that keep an old and a new column in step by themselves, without triggers.

A mapped class declares the old and the new column once, with :func:`~online_migrate.orm.declaration.moved`.
"""

from __future__ import annotations

from online_migrate.orm.backfill import moved_backfill
from online_migrate.orm.checking import ConversionDiffers, check_conversions
from online_migrate.orm.declaration import moved
from online_migrate.orm.errors import (
    MovedBroken,
    MovedColumnsDiffer,
    MovedExpression,
    MovedStatement,
    PhaseUnknown,
)
from online_migrate.orm.moved import Moved
from online_migrate.orm.phase import Phase

__all__ = [
    "ConversionDiffers",
    "Moved",
    "MovedBroken",
    "MovedColumnsDiffer",
    "MovedExpression",
    "MovedStatement",
    "Phase",
    "PhaseUnknown",
    "check_conversions",
    "moved",
    "moved_backfill",
]
