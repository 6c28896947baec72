"""The decisions give the verdicts of the corpus, which the servers confirm (test_additive_corpus.py)."""

from __future__ import annotations

from collections import Counter

import pytest

from online_migrate.phases.judge import judge_text
from online_migrate.phases.known import Server
from online_migrate.phases.verdict import Place, Verdict
from tests.support.corpus import CASES, FAMILIES
from tests.support.corpus.case import LITE, MA, MY, PG, SERVERS, Case, Effect
from tests.support.corpus.disagreements import DISAGREEMENTS
from tests.support.corpus.known import BaseSchema

VERSIONS = {PG: (15, 0), MY: (8, 4), MA: (10, 11), LITE: (3, 40)}
STRICTNESS = (Place.ANYWHERE, Place.EXPAND, Place.DATA, Place.CONTRACT, Place.REFUSED)

_KNOWN_DISAGREEMENTS = {
    (disagreement.case, server) for disagreement in DISAGREEMENTS for server in disagreement.servers
}


def _verdicts(case: Case, server: str) -> tuple[Verdict, ...]:
    known = BaseSchema(case.base, server)
    return judge_text(case.servers[server], Server(server, VERSIONS[server]), known)


def _place(verdicts: tuple[Verdict, ...]) -> Place:
    return max((verdict.place for verdict in verdicts), key=STRICTNESS.index)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_verdicts_are_those_of_the_corpus(family: str, server: str) -> None:
    problems = [
        problem
        for case in FAMILIES[family]
        if server in case.servers and (problem := _problem(case, server)) is not None
    ]
    assert not problems, "\n".join(problems)


def _problem(case: Case, server: str) -> str | None:
    verdicts = _verdicts(case, server)
    found = (_place(verdicts).name, tuple(verdict.rule for verdict in verdicts))
    wanted = (case.place.name, case.rules)
    if (case.id, server) in _KNOWN_DISAGREEMENTS:
        return f"{case.id}: agrees; remove the line in disagreements.py" if found == wanted else None
    return None if found == wanted else f"{case.id} {case.servers[server]!r}: {found}, not {wanted}"


def test_each_disagreement_names_a_case() -> None:
    cases = {(case.id, server) for case in CASES for server in case.servers}
    assert cases >= _KNOWN_DISAGREEMENTS


def test_corpus_is_large_enough() -> None:
    assert len(CASES) >= 200
    counts = Counter((server, case.additive) for case in CASES for server in case.servers)
    assert all(counts[server, additive] >= 30 for server in SERVERS for additive in (True, False)), counts


def test_id_and_server_name_one_case() -> None:
    counts = Counter((case.id, server) for case in CASES for server in case.servers)
    assert [key for key, count in counts.items() if count > 1] == []


def test_refused_case_states_its_harm() -> None:
    """A script that expand may execute does no harm, but the server may refuse it."""
    harmless = {case.id for case in CASES if case.harm is None or case.harm.effect is Effect.FAILS}
    assert [case.id for case in CASES if case.additive and case.id not in harmless] == []
    assert [case.id for case in CASES if not case.additive and case.harm is None] == []
