"""The decisions of the gate that need no database."""

from __future__ import annotations

import datetime

import pytest

from online_migrate.contract.gate import counts_as_verified
from online_migrate.contract.graph_blockers import schema_blockers, to_contract
from online_migrate.exceptions import Blocker, UnknownRevision
from online_migrate.script.graph import Graph, Revision
from online_migrate.state import Record, Status
from tests.unit.test_graph import CONTRACT, EXPAND, pairs

GRAPH = Graph(pairs(3))


def test_to_contract_returns_missing_revisions_up_to_target() -> None:
    """Contract revisions only, in order, without those that are applied."""
    everything = frozenset(GRAPH.revisions)
    assert to_contract(GRAPH, frozenset()) == ["c1", "c2", "c3"]
    assert to_contract(GRAPH, frozenset(), "c2") == ["c1", "c2"]
    assert to_contract(GRAPH, GRAPH.applied(["c1", "e3"]), "c2") == ["c2"]
    assert to_contract(GRAPH, everything) == []
    assert to_contract(Graph([]), frozenset()) == []
    with pytest.raises(UnknownRevision):
        to_contract(GRAPH, frozenset(), "e2")


def test_one_blocker_per_missing_expand_revision() -> None:
    """Each is named once, with the command that applies it, however many contracts need it."""
    found = schema_blockers(GRAPH, frozenset({"e1"}), ["c1", "c2", "c3"])
    assert [(b.id, b.object) for b in found] == [("expand-not-applied", "e2"), ("expand-not-applied", "e3")]
    assert all(b.hint.startswith("online-migrate expand") for b in found)


def test_missing_base_revision_points_to_alembic() -> None:
    """An adopted project behind its old tip."""
    graph = Graph(pairs(1, base=("r1", "r2")))
    found = schema_blockers(graph, frozenset({"r1"}), ["c1"])
    assert (found[0].object, found[0].hint) == ("r2", "alembic upgrade r2")


def test_undeclared_requires_is_a_blocker() -> None:
    """A missing declaration differs from an empty one."""
    graph = Graph([Revision("e", labels=EXPAND), Revision("c", labels=CONTRACT, depends_on=("e",))])
    [blocker] = schema_blockers(graph, frozenset({"e"}), ["c"])
    assert (blocker.id, blocker.object) == ("requires-undeclared", "c")
    assert "requires = ()" in blocker.hint


def unlinked(*releases: str | None, contracts: tuple[str | None, ...] = (None,)) -> Graph:
    """e1, e2, ... and c1, ... with these releases; no contract script has a ``depends_on``."""
    found = []
    for label, letter, names in ((EXPAND, "e", releases), (CONTRACT, "c", contracts)):
        for number, release in enumerate(names, start=1):
            down = (f"{letter}{number - 1}",) if number > 1 else ()
            labels = label if number == 1 else frozenset()
            found.append(
                Revision(f"{letter}{number}", down=down, labels=labels, requires=(), release=release)
            )
    return Graph(found)


NO_DEPENDS_ON = (
    # releases of e1, e2, e3 | releases of c1, c2 | applied | contract | expand revisions that are missing
    ((None, None, None), (None,), {"e1"}, "c1", ["e2", "e3"]),
    ((None, None, None), (None,), {"e1", "e2", "e3"}, "c1", []),
    (("1", "1", "2"), ("1",), {"e1"}, "c1", ["e2"]),
    ((None, "1", "2"), ("1",), set(), "c1", ["e1", "e2"]),
    (("1", "2", "3"), ("1", "2"), {"e1"}, "c2", ["e2"]),
    (("1", "2", "3"), (None, "1"), {"e1"}, "c2", ["e2", "e3"]),
    (("1", "2", "3"), ("9",), {"e1", "e2"}, "c1", ["e3"]),
    ((), (None,), set(), "c1", []),
)


@pytest.mark.parametrize(("expands", "contracts", "applied", "target", "missing"), NO_DEPENDS_ON)
def test_contract_without_depends_on_requires_expand_branch_up_to_its_release(
    expands: tuple[str | None, ...],
    contracts: tuple[str | None, ...],
    applied: set[str],
    target: str,
    missing: list[str],
) -> None:
    """The whole expand branch, if the contract names no release or one that no expand revision has."""
    graph = unlinked(*expands, contracts=contracts)
    found = schema_blockers(graph, frozenset(applied), [target])
    assert [b.object for b in found] == missing
    assert {b.id for b in found} <= {"expand-not-applied"}
    assert all("depends_on" in b.reason and b.hint.startswith("online-migrate expand") for b in found)


def test_depends_on_of_expand_branch_suffices() -> None:
    """Later expand revisions are then not required; a depends_on within the contract branch is not enough."""
    base = [Revision("e1", labels=EXPAND), Revision("e2", down=("e1",))]
    first = Revision("c1", labels=CONTRACT, depends_on=("e1",), requires=())
    graph = Graph([*base, first, Revision("c2", down=("c1",), requires=())])
    assert schema_blockers(graph, frozenset({"e1"}), ["c1"]) == []
    assert [b.object for b in schema_blockers(graph, frozenset({"e1"}), ["c1", "c2"])] == ["e2"]


def record(verified_by: str | None) -> Record:
    when = datetime.datetime(2026, 1, 1)
    return Record("m", Status.COMPLETE, 0, None, True, None, None, when, when, when, when, verified_by)


VERIFIED = (
    (None, set(), [], False),
    (record(None), {"c1"}, ["c1"], False),
    (record("c1"), {"c1"}, [], True),
    (record("c1"), set(), ["c1"], True),
    (record("c1"), set(), ["c2"], False),
    (record("c1"), {"c2"}, [], False),
)


@pytest.mark.parametrize(("recorded", "applied", "half", "expected"), VERIFIED)
def test_verification_counts_only_for_its_revision(
    recorded: Record | None, applied: set[str], half: list[str], expected: bool
) -> None:
    """A verification under the lock counts while its revision is applied or half applied."""
    assert counts_as_verified(recorded, frozenset(applied), half) is expected


def test_blocker_as_dict_is_serialisable() -> None:
    """For --json: no tuple, and every value is serialisable."""
    import json

    found = Blocker("pending-rows", "m", "why", "how", count=2, at_least=True, keys=("1", "2"))
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()
