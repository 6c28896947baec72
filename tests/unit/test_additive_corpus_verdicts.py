"""The decisions give the verdicts of the corpus, which the servers confirm (test_additive_corpus.py)."""

from __future__ import annotations

from collections import Counter

import pytest

from online_migrate.phases.judge import judge_text
from online_migrate.phases.known import Server
from online_migrate.phases.verdict import Place, Verdict
from tests.support.corpus import CASES, FAMILIES
from tests.support.corpus.case import LITE, MA, MY, PG, SERVERS, Case
from tests.support.corpus.known import BaseSchema

VERSIONS = {PG: (15, 0), MY: (8, 4), MA: (10, 11), LITE: (3, 40)}
STRICTNESS = (Place.ANYWHERE, Place.EXPAND, Place.DATA, Place.CONTRACT, Place.REFUSED)


def _verdicts(case: Case, server: str) -> tuple[Verdict, ...]:
    known = BaseSchema(case.base, server)
    return judge_text(case.servers[server], Server(server, VERSIONS[server]), known)


def _place(verdicts: tuple[Verdict, ...]) -> Place:
    return max((verdict.place for verdict in verdicts), key=STRICTNESS.index)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_verdicts_are_those_of_the_corpus(family: str, server: str) -> None:
    problems = []
    for case in FAMILIES[family]:
        if server not in case.servers:
            continue
        verdicts = _verdicts(case, server)
        found = (_place(verdicts).name, tuple(verdict.rule for verdict in verdicts))
        if found != (case.place.name, case.rules):
            problems.append(f"{case.id} {case.servers[server]!r}: {found}, not {case.place.name, case.rules}")
    assert not problems, "\n".join(problems)


def test_corpus_is_large_enough() -> None:
    assert len(CASES) >= 200
    counts = Counter((server, case.additive) for case in CASES for server in case.servers)
    assert all(counts[server, additive] >= 30 for server in SERVERS for additive in (True, False)), counts


def test_id_and_server_name_one_case() -> None:
    counts = Counter((case.id, server) for case in CASES for server in case.servers)
    assert [key for key, count in counts.items() if count > 1] == []


def test_refused_case_states_its_harm() -> None:
    assert [case.id for case in CASES if case.additive != (case.harm is None)] == []
