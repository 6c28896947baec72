"""The verdict on every revision of cinder, nova, keystone, glance and neutron, on MySQL and PostgreSQL."""

from __future__ import annotations

import itertools

from tests.support.openstack import verdicts


def test_each_revision_of_openstack_has_the_recorded_verdict() -> None:
    """A difference is a change of the rules. If it is meant: python -m tests.support.openstack.verdicts"""
    fresh, expected = list(verdicts.classify()), verdicts.read()
    changed = [(was, now) for was, now in itertools.zip_longest(expected, fresh) if was != now]
    assert changed == []
    assert len(fresh) == 2 * 193


def test_all_but_one_statement_of_openstack_are_recognised() -> None:
    """It is not a statement of that server; see docs/openstack-verdicts.md."""
    rules = ("unrecognized", "unreadable", "unknown-")
    unknown = {
        (row.tree, row.revision, row.server)
        for row in verdicts.read()
        if any(operation.startswith(rules) for operation in row.not_additive.split("; "))
    }
    assert unknown == {("neutron", "d553edeb540f", "postgresql")}
