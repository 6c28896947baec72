"""The revision graph: phases, applied and missing revisions, and invalid graphs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate.contract.graph_blockers import schema_blockers
from online_migrate.exceptions import BaseBehind, GraphBroken, Refused, UnknownRevision
from online_migrate.expand import runner as expands
from online_migrate.script.graph import UNDECLARED, Graph, Phase, Revision

EXPAND, CONTRACT = frozenset({"expand"}), frozenset({"contract"})


def pairs(count: int, *, base: tuple[str, ...] = ()) -> list[Revision]:
    """Base revisions, then e1, c1, e2, c2, ...; each contract depends on its expand."""
    found: list[Revision] = []
    for number, name in enumerate(base):
        found.append(Revision(name, down=base[number - 1 : number] if number else ()))
    tip = base[-1:]
    for number in range(1, count + 1):
        first = number == 1
        found.append(
            Revision(
                f"e{number}",
                down=tip if first else (f"e{number - 1}",),
                labels=EXPAND if first else frozenset(),
            )
        )
        found.append(
            Revision(
                f"c{number}",
                down=tip if first else (f"c{number - 1}",),
                depends_on=(f"e{number}",),
                labels=CONTRACT if first else frozenset(),
                requires=(f"m{number}",),
            )
        )
    return found


def test_phases_are_inherited() -> None:
    """Only the first script of a branch has a label."""
    graph = Graph(pairs(2, base=("r1", "r2")))
    assert {r: str(graph.phase(r)) for r in graph.revisions} == {
        "r1": "base",
        "r2": "base",
        "e1": "expand",
        "c1": "contract",
        "e2": "expand",
        "c2": "contract",
    }
    assert graph.heads == {Phase.BASE: "r2", Phase.EXPAND: "e2", Phase.CONTRACT: "c2"}


APPLIED = (
    ([], set()),
    (["e2"], {"e1", "e2"}),
    (["c1"], {"e1", "c1"}),
    (["c2"], {"e1", "e2", "c1", "c2"}),  # the version row of e2 has vanished
    (["c1", "e2"], {"e1", "e2", "c1"}),
)


@pytest.mark.parametrize(("rows", "applied"), APPLIED)
def test_applied_revisions_are_found_by_ancestry(rows: list[str], applied: set[str]) -> None:
    """Not by version rows: a contract deletes the row of its expand revision."""
    graph = Graph(pairs(2))
    assert graph.applied(rows) == applied
    assert set(graph.missing(applied, "c2")) == set(graph.revisions) - applied


def test_unknown_version_row_is_refused() -> None:
    """The row is not ignored, because its effect on the schema is unknown."""
    with pytest.raises(UnknownRevision, match="stranger"):
        Graph(pairs(1)).applied(["stranger"])


BROKEN = {
    "a revision on both branches": ([*pairs(1), Revision("x", down=("e1", "c1"))], ("x",)),
    "a label that contradicts": ([*pairs(1), Revision("x", down=("e1",), labels=CONTRACT)], ("x",)),
    "both labels": ([Revision("x", labels=EXPAND | CONTRACT)], ("x",)),
    "two expand heads": ([*pairs(1), Revision("x", down=("e1",)), Revision("y", down=("e1",))], ("x", "y")),
    "two contract heads": ([*pairs(1), Revision("x", down=("c1",)), Revision("y", down=("c1",))], ("x", "y")),
    "two bases": ([Revision("x"), Revision("y")], ("x", "y")),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_invalid_graph_names_its_revisions(name: str) -> None:
    """The message names the revisions, the hint names the remedy."""
    revisions, named = BROKEN[name]
    with pytest.raises(GraphBroken) as error:
        Graph(revisions)
    assert all(revision in str(error.value) for revision in named)
    assert error.value.hint
    assert error.value.exit_code == 127


@pytest.mark.parametrize("contract", ["c1", "c2"])
def test_expand_that_depends_on_contract_is_refused_by_name(contract: str) -> None:
    """Only if the contract revision is not applied; the graph itself can be read."""
    more = Revision("c2", down=("c1",), requires=())
    e2 = Revision("e2", down=("e1",), depends_on=(contract,))
    revisions = [*pairs(1), more, e2, Revision("e3", down=("e2",))]
    graph = Graph(revisions)
    assert list(graph.crossings) == ["e2"]
    with pytest.raises(Refused) as error:
        expands.plan(graph, frozenset())
    assert "e2" in str(error.value)
    assert "c1" in str(error.value)
    assert error.value.hint.startswith("online-migrate expand e1, ")
    assert expands.plan(graph, frozenset(), "e1") == ["e1"]
    assert expands.plan(graph, graph.applied([contract])) == ["e2", "e3"]


def test_history_is_the_base_on_both_branches() -> None:
    """Several heads of the history; what comes after each is on its branch."""
    graph = Graph(pairs(3, base=("r1",)), history=("e2", "c1"))
    assert graph.of(Phase.BASE) == ["r1", "e1", "c1", "e2"]
    assert graph.heads == {Phase.BASE: "e2", Phase.EXPAND: "e3", Phase.CONTRACT: "c3"}
    assert set(graph.tips) == {"e2", "c1", "e3", "c3"}
    assert graph.missing({"r1"}, "e3") == ["e1", "c1", "e2", "e3"]
    assert graph.needed("c2") == {"r1", "e1", "c1", "e2", "c2"}
    everything = Graph(pairs(2), history=("e2", "c2"))
    assert (everything.tip(Phase.EXPAND), everything.tip(Phase.CONTRACT)) == ("e2", "c2")
    assert everything.base_missing({"e1"}) == ["c1", "e2", "c2"]
    with pytest.raises(BaseBehind):
        expands.plan(everything, frozenset({"e1"}))
    assert expands.plan(everything, frozenset({"e1"}), with_base=True) == ["c1", "e2", "c2"]


def test_linear_tree_that_is_behind_is_refused() -> None:
    """Not "nothing to do", and not an open gate."""
    graph = Graph([Revision("r1"), Revision("r2", down=("r1",))])
    with pytest.raises(BaseBehind, match="r2 is not applied"):
        expands.plan(graph, frozenset({"r1"}))
    [blocker] = schema_blockers(graph, frozenset(), [])
    assert (blocker.id, blocker.object) == ("base-not-applied", "r2")
    assert schema_blockers(graph, frozenset({"r1", "r2"}), []) == []


RESOLVED = {
    "e1": "e1",
    "c2": "c2",
    "expand@head": "e2",
    "contract@head": "c2",
    "expand": "e2",
    "contract": "c2",
}


@pytest.mark.parametrize(("text", "revision"), RESOLVED.items())
def test_resolve(text: str, revision: str) -> None:
    """Ids, and the heads of the branches."""
    assert Graph(pairs(2)).resolve(text) == revision


@pytest.mark.parametrize(("text", "could_be"), [("e", ("e1", "e2")), ("x", ()), ("", ()), ("e1x", ())])
def test_resolve_of_ambiguous_or_unknown_name(text: str, could_be: tuple[str, ...]) -> None:
    """All candidates are named."""
    with pytest.raises(UnknownRevision) as error:
        Graph(pairs(2)).resolve(text)
    assert all(name in (error.value.hint or "") for name in could_be)


def test_requirements_end_with_their_contract() -> None:
    """A data migration belongs to the first contract revision that required it."""
    revisions = [*pairs(2), Revision("c3", down=("c2",), requires=("m1", "m3"))]
    graph = Graph(revisions)
    assert graph.requirements({"e1"}) == {}
    assert graph.requirements(graph.applied(["c1"])) == {"m1": "c1"}
    assert graph.requirements(graph.applied(["c3"])) == {"m1": "c1", "m2": "c2", "m3": "c3"}


def test_undeclared_requires_differs_from_empty() -> None:
    """A script without ``requires`` is refused; one with ``requires = ()`` is not."""
    assert Revision("x").requires is UNDECLARED
    assert Revision("x", requires=()).requires == ()


@given(st.integers(1, 6), st.data())
def test_missing_revisions_lead_to_target(count: int, data: st.DataObject) -> None:
    """From any position, the missing revisions come after all that they depend on, and lead to the target."""
    graph = Graph(pairs(count))
    names = list(graph.revisions)
    applied = set(graph.applied(data.draw(st.lists(st.sampled_from(names), max_size=2))))
    target = data.draw(st.sampled_from(names))
    for revision in graph.missing(applied, target):
        assert set(graph.revisions[revision].parents) <= applied
        applied.add(revision)
    assert graph.missing(applied, target) == []
    assert target in applied
