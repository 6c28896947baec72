"""The verdict on each recorded revision. ``python -m tests.support.openstack.verdicts`` writes the table."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from online_migrate.phases.known import Server
from online_migrate.phases.script import ScriptJudge
from tests.support.openstack.record import TREES

SERVERS = ("mysql", "postgresql")
STATEMENTS = Path(__file__).parent / "statements"
TABLE = Path(__file__).parent / "verdicts.csv"


@dataclasses.dataclass(frozen=True)
class Row:
    """The verdict on one revision. *not_additive*: the operations that expand would refuse."""

    tree: str
    revision: str
    branch: str
    server: str
    verdict: str
    not_additive: str


def recorded(tree: str, server: str) -> dict[str, Any]:
    """Returns revision -> branch, statements and error, parents first."""
    found: dict[str, Any] = json.loads((STATEMENTS / f"{tree}-{server}.json").read_text(encoding="utf-8"))
    return found


def classify() -> Iterator[Row]:
    """Yields a row for each revision and server. Each revision is judged as a group of its own."""
    for tree in TREES:
        for server in SERVERS:
            judge = ScriptJudge(Server(server))
            for revision, content in recorded(tree, server).items():
                judge.begin_group()
                judged = [one for text in content["statements"] for one in judge.statement(text)]
                refused = dict.fromkeys(str(one.verdict) for one in judged if not one.verdict.additive)
                verdict = "additive" if not refused else "not additive"
                yield Row(tree, revision, content["branch"], server, verdict, "; ".join(refused))


def read() -> list[Row]:
    """Returns the rows of the table."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return [Row(**row) for row in csv.DictReader(file)]


def write() -> None:
    """Writes the table."""
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in dataclasses.fields(Row)])
        writer.writerows(dataclasses.astuple(row) for row in classify())


if __name__ == "__main__":
    write()
