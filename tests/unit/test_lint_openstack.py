"""Every rule on the revisions of cinder, nova, keystone, glance and neutron."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from online_migrate.lint.ignores import Ignores
from online_migrate.lint.registry import built_in
from online_migrate.lint.runner import run
from online_migrate.lint.source import RawScript, Text
from online_migrate.phases.known import Server
from online_migrate.script.graph import Phase
from tests.support.openstack.record import TREES
from tests.support.openstack.verdicts import SERVERS, recorded


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A source of the recorded statements of a tree; each statement has its number as its line."""

    tree: str

    def scripts(self, product: str) -> Iterator[RawScript]:
        for revision, content in recorded(self.tree, product).items():
            texts = [Text(text, line, transaction=0) for line, text in enumerate(content["statements"], 1)]
            yield RawScript(f"{self.tree}/{revision}.py", tuple(texts), revision=revision, phase=Phase.BASE)


@pytest.mark.parametrize("tree", TREES)
def test_no_rule_raises(tree: str) -> None:
    """All rules, also those that are off by default; every text of a violation is filled."""
    report = run([Recorded(tree)], [Server(name) for name in SERVERS], list(built_in().values()), Ignores())
    assert report.failed_rules == ()
    assert report.violations
    for violation in report.violations:
        assert violation.reason
        assert "{" not in violation.reason.replace(violation.object, ""), violation
