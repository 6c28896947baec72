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


def test_all_but_four_operations_of_openstack_are_recognised() -> None:
    """docs/openstack-verdicts.md explains these."""
    unknown = {
        (row.tree, row.revision, row.server)
        for row in verdicts.read()
        if any(
            rule in row.not_additive
            for rule in ("unrecognized", "unreadable", "unknown-option", "unknown-fun")
        )
    }
    assert unknown == {
        ("cinder", "921e1a36b076", "mysql"),
        ("nova", "8f2f1571d55b", "mysql"),
        ("keystone", "27e647c0fad4", "mysql"),
        ("neutron", "d553edeb540f", "postgresql"),
    }
