"""Runs the rules on sources, for each server, and merges what they find."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from online_migrate import exceptions
from online_migrate.lint.catalog import Catalog
from online_migrate.lint.ignores import Ignores
from online_migrate.lint.paths import shown
from online_migrate.lint.processes import in_processes
from online_migrate.lint.rule import Rule
from online_migrate.lint.script import Script
from online_migrate.lint.sharpened import sharpened
from online_migrate.lint.source import Source
from online_migrate.lint.tree import Tree, read_tree
from online_migrate.lint.violation import FailedRule, Finding, Report, Violation
from online_migrate.phases.known import Server


def run(
    sources: Sequence[Source],
    servers: Sequence[Server],
    rules: Sequence[Rule],
    ignores: Ignores,
    catalog: Catalog | None = None,
    *,
    processes: int = 1,
) -> Report:
    """Checks the scripts of *sources* on each server. A rule that raises does not stop the other rules.

    *catalog*: of a live database, for the server of its product. *processes*: the number of processes in
    which the servers are checked, without a catalog; see :func:`~online_migrate.lint.processes.in_processes`.
    """

    def check(tree: tuple[Source, Server]) -> _Results:
        return _check(*tree, rules, catalog)

    trees = [(source, server) for source in sources for server in servers]
    results = _Results()
    for of_tree in in_processes(check, trees, processes if catalog is None else 1):
        results.merge(of_tree)
    found = results.on_enough_servers(rules, servers)
    violations = ignores.without_ignored(found, sorted(results.scripts))
    return Report(
        violations=tuple(sorted(violations, key=lambda one: (one.path, one.line, one.rule, one.object))),
        failed_rules=tuple(results.failed.values()),
        ignored=ignores.count,
        scripts=len(results.scripts),
        servers=tuple(server.product for server in servers),
    )


def _check(source: Source, server: Server, rules: Sequence[Rule], catalog: Catalog | None) -> _Results:
    """Checks the scripts of a source on one server."""
    live = catalog if catalog is not None and catalog.server.product == server.product else None
    tree = read_tree(source, server, live)
    results = _Results()
    results.scripts.update(shown(script.path) for script in tree.scripts if script.reported)
    for rule in rules:
        if server.product in rule.servers:
            results.check(rule, tree)
    return results


class _Results:
    """What the rules found so far. Findings that are the same on several servers are one violation."""

    def __init__(self) -> None:
        self.scripts: set[str] = set()
        """The paths of the scripts that were checked."""
        self.violations: dict[tuple[Any, ...], Violation] = {}
        self.failed: dict[tuple[str, str], FailedRule] = {}

    def merge(self, other: _Results) -> None:
        """Adds the results of another source or server."""
        self.scripts |= other.scripts
        for key, violation in other.violations.items():
            self._put(key, violation)
        for failed, rule in other.failed.items():
            self.failed.setdefault(failed, rule)

    def check(self, rule: Rule, tree: Tree) -> None:
        """Runs a rule on the scripts of a tree that it applies to."""
        if rule.check_tree is not None:
            path = tree.project.project.config_file if tree.project is not None else tree.scripts[0].path
            self._collect(rule, tree, None, str(path), rule.check_tree, tree)
        if rule.check is None:
            return
        for script in tree.scripts:
            if script.reported and not (rule.sent_safely and script.sent_safely):
                self._collect(rule, tree, script, script.path, rule.check, script)

    def on_enough_servers(self, rules: Sequence[Rule], servers: Sequence[Server]) -> list[Violation]:
        """Returns the violations, without those that a rule must find on every server and did not."""
        needed = {
            rule.id: {server.product for server in servers if server.product in rule.servers}
            for rule in rules
            if rule.on_every_server
        }
        return [one for one in self.violations.values() if needed.get(one.rule, set()) <= {*one.servers}]

    def _collect(
        self,
        rule: Rule,
        tree: Tree,
        script: Script | None,
        path: str,
        check: Callable[[Any], Iterable[Finding]],
        checked: Script | Tree,
    ) -> None:
        try:
            for finding in check(checked):
                self._add(rule, tree.server, script, finding, path)
        except exceptions.UsageError:
            raise
        except Exception as error:  # noqa: BLE001 - a rule of a user may raise anything
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
            self.failed.setdefault((rule.id, path), FailedRule(rule.id, shown(path), said))

    def _add(self, rule: Rule, server: Server, script: Script | None, finding: Finding, path: str) -> None:
        reason = rule.reason_for(finding)
        if script is not None and script.catalog is not None:
            reason = sharpened(reason, finding, server, script.catalog)
        violation = Violation(
            rule=rule.id,
            severity=finding.severity or rule.severity,
            path=shown(finding.path or path),
            line=finding.line,
            end_line=finding.end_line or finding.line,
            object=finding.object,
            reason=reason,
            replacement=rule.replacement_for(finding),
            statement=finding.statement,
            revision=script.revision if script is not None else None,
            servers=(server.product,),
            since={name: version for name, version in rule.servers.items() if version},
        )
        texts = (violation.object, violation.reason, violation.replacement)
        key = (rule.id, violation.path, violation.line, *texts)
        self._put(key, violation)

    def _put(self, key: tuple[Any, ...], violation: Violation) -> None:
        before = self.violations.get(key)
        if before is not None:
            added = tuple(server for server in violation.servers if server not in before.servers)
            violation = dataclasses.replace(before, servers=before.servers + added)
        self.violations[key] = violation
