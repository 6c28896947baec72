"""The version rows that a stamp writes: pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate.exceptions import OnlineMigrateError
from online_migrate.runtime.stamping import rows_after
from online_migrate.script.graph import Graph, Phase
from tests.unit.test_graph import pairs

GRAPH = Graph(pairs(3, base=("r1", "r2")))
NAMES = list(GRAPH.revisions)


@pytest.mark.parametrize(
    ("before", "targets", "after"),
    [
        ((), ["heads"], {"c3"}),
        ((), ["r2"], {"r2"}),
        (("r2",), ["e1"], {"e1"}),
        (("c3",), ["c1"], {"c1", "e3"}),
        (("c3",), ["base"], set()),
        (("c1", "e3"), ["e2"], {"c1", "e2"}),
    ],
)
def test_rows_after_keep_the_position_of_the_other_branch(
    before: tuple[str, ...], targets: list[str], after: set[str]
) -> None:
    """A target moves only its own branch."""
    assert set(rows_after(GRAPH, GRAPH.applied(before), targets)) == after


@given(st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_rows_after_keep_applied_expands_and_are_consistent(before: str, target: str) -> None:
    """Either it is refused, or its branch is at the target and no row is an ancestor of another."""
    applied = GRAPH.applied([before])
    try:
        rows = rows_after(GRAPH, applied, [target])
    except OnlineMigrateError as error:
        assert error.exit_code == 127  # noqa: PT017 - either outcome is right
        return
    after = GRAPH.applied(rows)
    assert GRAPH.position(after, GRAPH.phase(target)) == target
    for row in rows:
        assert not any(row in GRAPH.ancestors(other) for other in rows if other != row)
    if GRAPH.phase(target) is Phase.CONTRACT:
        assert {r for r in applied if GRAPH.phase(r) is Phase.EXPAND} <= after
