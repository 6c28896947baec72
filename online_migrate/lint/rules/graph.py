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


@tree_rule(
    "expand-depends-on-contract",
    reason="An expand revision depends on a contract revision: expand would apply destructive changes before "
    "the gate, while the old code runs.",
    replacement="correct down_revision and depends_on",
)
def expand_depends_on_contract(tree: Tree) -> Iterator[Finding]:
    for script in tree.of_phase(Phase.EXPAND):
        assert tree.graph is not None
        contracts = tree.graph.crossings.get(str(script.revision), ())
        if contracts:
            yield Finding(
                path=script.path,
                line=line_of_assignment(script.path, "depends_on", "down_revision"),
                reason=f"expand revision {script.revision} depends on contract revision(s) "
                f"{', '.join(contracts)}, so expand would apply a contract revision",
                replacement=f"remove them from depends_on / down_revision of {script.revision}",
            )


def _check_graph(tree: Tree) -> Iterator[Finding]:
    error = tree.project.graph if tree.project is not None else None
    if isinstance(error, GraphBroken):
        path = str(error.facts.get("path") or "") or None
        line = line_of_assignment(path, "depends_on", "down_revision") if path else 1
        yield Finding(path=path, line=line, reason=str(error), replacement=error.hint)


GRAPH_NOT_VALID = Rule(
    id="graph-not-valid",
    reason="The expand and the contract branch are not two separate branches with one head each.",
    replacement="correct down_revision and depends_on",
    check_tree=_check_graph,
)
