"""The corpus of scripts is confirmed by each server: what expand may execute leaves old code at work."""

from __future__ import annotations

import pytest

from tests.servers import Database
from tests.support.corpus import FAMILIES
from tests.support.corpus.bench import Bench, problem_of


@pytest.mark.parametrize("family", FAMILIES)
def test_server_confirms_the_corpus(database: Database, family: str) -> None:
    """Old code runs, then the script, then old code again: unharmed, or harmed as the case states."""
    bench = Bench(database)
    cases = [case for case in FAMILIES[family] if bench.product in case.servers]
    try:
        problems = [
            f"{bench.product} {case.id} {bench.script(case)!r}: {problem}"
            for case in cases
            if (problem := problem_of(bench, case)) is not None
        ]
    finally:
        bench.close()
    assert not problems, "\n".join(problems)
