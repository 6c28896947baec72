"""The graph of the revisions: what a contract script requires, and which branch depends on which."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.exceptions import GraphBroken
from online_migrate.lint.lines import line_of_assignment
from online_migrate.lint.rule import Rule, tree_rule
from online_migrate.lint.tree import Tree
from online_migrate.lint.violation import Finding
from online_migrate.script.graph import UNDECLARED, Phase


@tree_rule(
    "contract-without-requires",
    reason="Contract revision {revision} does not declare its data migrations, so the gate stays closed: it "
    "cannot know which rows must be migrated before columns are dropped.",
    replacement='requires = ("name of the data migration",)   (or requires = () if there is none)',
)
def contract_without_requires(tree: Tree) -> Iterator[Finding]:
    for script in tree.of_phase(Phase.CONTRACT):
        assert tree.graph is not None
        assert script.revision is not None
        if tree.graph.revisions[script.revision].requires is UNDECLARED:
            yield Finding(
                path=script.path,
                line=line_of_assignment(script.path, "requires", "revision"),
                object=script.revision,
                facts={"revision": script.revision},
            )


def _of_graph(id: str, reason: str) -> Rule:
    """Returns the rule for one reason why a graph is not valid: *id* is the ``rule`` of the error."""

    def check(tree: Tree) -> Iterator[Finding]:
        error = tree.project.graph if tree.project is not None else None
        if isinstance(error, GraphBroken) and error.facts.get("rule", BROKEN) == id:
            path = str(error.facts.get("path") or "") or None
            line = line_of_assignment(path, "depends_on", "down_revision") if path else 1
            yield Finding(path=path, line=line, reason=str(error), replacement=error.hint)

    return Rule(id=id, reason=reason, replacement="correct down_revision and depends_on", check_tree=check)


BROKEN = "graph-not-valid"

EXPAND_DEPENDS_ON_CONTRACT = _of_graph(
    "expand-depends-on-contract",
    "An expand revision depends on a contract revision: expand would apply destructive changes before the "
    "gate, while the old code runs.",
)
GRAPH_NOT_VALID = _of_graph(
    BROKEN, "The expand and the contract branch are not two separate branches with one head each."
)
