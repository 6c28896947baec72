"""The legs in which upgrade takes a database the whole way: pure."""

from __future__ import annotations

import sqlalchemy as sa

from online_migrate.revision.data_migration import Backfill, DataMigration
from online_migrate.revision.graph import Graph, Revision
from online_migrate.revision.releases import Leg, legs

EXPAND, CONTRACT = frozenset({"expand"}), frozenset({"contract"})


def migration(name: str, revision: str | None, release: str | None = None) -> DataMigration:
    return Backfill(name=name, table="t", values={}, pending=sa.true(), revision=revision, release=release)


def named(*migrations: DataMigration) -> dict[str, DataMigration]:
    return {m.name: m for m in migrations}


def graph(*releases: str | None) -> Graph:
    """e1, c1, e2, c2, ... with these releases."""
    found: list[Revision] = []
    for number, release in enumerate(releases, start=1):
        before = number - 1
        found.append(
            Revision(
                f"e{number}",
                down=(f"e{before}",) if before else (),
                labels=frozenset() if before else EXPAND,
                release=release,
            )
        )
        found.append(
            Revision(
                f"c{number}",
                down=(f"c{before}",) if before else (),
                depends_on=(f"e{number}",),
                labels=frozenset() if before else CONTRACT,
                release=release,
            )
        )
    return Graph(found)


def test_without_releases_there_is_one_leg() -> None:
    """All expands, all data, all contracts."""
    assert legs(graph(None, None), named(migration("m1", "e1"), migration("m2", "e2"))) == [
        Leg(None, "e2", ("m1", "m2"), "c2")
    ]


def test_each_release_is_a_leg_and_what_is_left_comes_last() -> None:
    """A data migration goes with its release, or with the first leg that has what it needs."""
    migrations = named(migration("a", "e1"), migration("b", "e2", "2.0"), migration("late", "e1", "2.0"))
    assert legs(graph("1.0", "2.0", None), migrations) == [
        Leg("1.0", "e1", ("a",), "c1"),
        Leg("2.0", "e2", ("b", "late"), "c2"),
        Leg(None, "e3", (), "c3"),
    ]


def test_a_release_that_only_contracts_expands_as_far_as_it_needs() -> None:
    """Its contract needs the expand of before."""
    revisions = [
        Revision("e1", labels=EXPAND, release="1.0"),
        Revision("c1", labels=CONTRACT, depends_on=("e1",), release="2.0"),
    ]
    assert legs(Graph(revisions), named(migration("m", "e1"))) == [
        Leg("1.0", "e1", ("m",), None),
        Leg("2.0", "e1", (), "c1"),
        Leg(None, "e1", (), "c1"),
    ]


def test_no_data_migration_is_forgotten() -> None:
    """One without a revision or with an unknown release is run in the last leg."""
    migrations = named(migration("loose", None), migration("other", None, "9.9"))
    found = legs(graph("1.0"), migrations)
    assert [name for leg in found for name in leg.migrations] == ["loose", "other"]


def test_a_contract_without_depends_on_is_in_a_leg_that_expands_far_enough() -> None:
    """Else its own gate would refuse it."""
    revisions = [
        Revision("e1", labels=EXPAND, release="1.0"),
        Revision("e2", down=("e1",)),
        Revision("c1", labels=CONTRACT, requires=()),
        Revision("c2", down=("c1",), requires=(), release="1.0"),
    ]
    assert legs(Graph(revisions), {}) == [Leg("1.0", "e2", (), "c2"), Leg(None, "e2", (), "c2")]
