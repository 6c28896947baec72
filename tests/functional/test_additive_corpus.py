"""The corpus of scripts is confirmed by each server: what expand may execute leaves old code at work."""

from __future__ import annotations

import pytest

from tests.servers import Database
from tests.support.corpus import FAMILIES
from tests.support.corpus.bench import Bench
from tests.support.corpus.case import (
    MA,
    MY,
    PG,
    allowed,
    blocks,
    breaks,
    everywhere,
    fails,
    lost,
    on,
    refused,
    rewrite,
    scans,
    wrong,
)
from tests.support.corpus.proof import problem_of


@pytest.mark.parametrize("family", FAMILIES)
def test_server_confirms_the_corpus(database: Database, family: str) -> None:
    """Old code runs, then the script, then old code again: unharmed, or harmed as the case states."""
    bench = Bench(database)
    cases = [case for case in FAMILIES[family] if bench.can_execute(case)]
    try:
        problems = [
            f"{bench.product} {case.id} {bench.script(case)!r}: {problem}"
            for case in cases
            if (problem := problem_of(bench, case)) is not None
        ]
    finally:
        bench.close()
    assert not problems, "\n".join(problems)


def test_case_that_is_not_so_is_noticed(database: Database) -> None:
    """The proof fails for a harmful script that is allowed, and for a harm that a script does not do."""
    harmful, harmless = "ALTER TABLE volumes DROP COLUMN note", "ALTER TABLE volumes ADD COLUMN tier INTEGER"
    insert, read = "insert volume", "read volumes"
    wrong_cases = [
        allowed("drop-column", everywhere(harmful)),
        allowed("delete", everywhere("DELETE FROM snapshots")),
        refused("breaks", everywhere(harmless), harm=breaks(insert)),
        refused("wrong", everywhere(harmless), harm=wrong(read)),
        refused("lost", everywhere(harmless), harm=lost(read)),
        refused("fails", everywhere(harmless), harm=fails("")),
        refused("blocks", everywhere("SELECT id FROM volumes"), harm=blocks(insert)),
        refused("rewrite", on(harmless, PG, MY, MA), harm=rewrite("volumes")),
        refused("scans", on(harmless, PG), harm=scans("volumes")),
    ]
    bench = Bench(database)
    cases = [case for case in wrong_cases if bench.product in case.servers]
    try:
        confirmed = [case.id for case in cases if problem_of(bench, case) is None]
    finally:
        bench.close()
    assert confirmed == []
