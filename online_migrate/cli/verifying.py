"""The output of ``verify``, as text or as one JSON document."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from online_migrate.cli.output import document
from online_migrate.cli.streams import echo

if TYPE_CHECKING:
    from online_migrate.migrate.verification import VerifyResult


def verified(found: Sequence[VerifyResult], *, as_json: bool) -> None:
    """Prints the result of the verification of each data migration."""
    if as_json:
        document([dataclasses.asdict(r) | {"outcome": r.outcome.name.lower()} for r in found])
        return
    if not found:
        echo("verify: no contract revision that is not applied requires a data migration")
    for result in found:
        failing = f", {result.failing:,} failing" if result.failing else ""
        echo(f"{result.name}: {result.checked:,} row(s) checked{failing}; {result.outcome.value}")
        for key in result.keys:
            echo(f"    row {key}")
        if result.barrier is not None:
            echo(f"    barrier {result.barrier}: the server refuses new pending rows")
        else:
            echo(f"    no barrier, so contract counts the rows under its lock: {result.note}")


def dropped_barriers(found: Mapping[str, bool], *, as_json: bool) -> None:
    """Prints which barriers were dropped, by the name of their data migration."""
    if as_json:
        document({"dropped": [name for name, dropped in found.items() if dropped]})
        return
    for name, dropped in found.items():
        echo(f"{name}: {'the barrier was dropped' if dropped else 'it has no barrier'}")
