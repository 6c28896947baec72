"""The release steps of upgrade: pure."""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa

from online_migrate.kinds.backfill import Backfill
from online_migrate.kinds.base import DataMigration
from online_migrate.script.graph import Graph, Revision
from online_migrate.script.releases import ReleaseStep, release_steps

EXPAND, CONTRACT = frozenset({"expand"}), frozenset({"contract"})


def migration(name: str, revision: str | None, release: str | None = None) -> DataMigration:
    return Backfill(name=name, table="t", values={}, pending=sa.true(), revision=revision, release=release)


def named(*migrations: DataMigration) -> dict[str, DataMigration]:
    return {m.name: m for m in migrations}


def graph(*releases: str | None) -> Graph:
    """Returns a graph of e1, c1, e2, c2, ... with these releases."""
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


def test_release_steps_without_releases() -> None:
    """One step: all expands, all data migrations, all contracts."""
    assert release_steps(graph(None, None), named(migration("m1", "e1"), migration("m2", "e2"))) == [
        ReleaseStep(None, "e2", ("m1", "m2"), "c2")
    ]


def test_release_steps_one_per_release_and_a_last_one() -> None:
    """A data migration belongs to its release, or to the first step that has its revision."""
    migrations = named(migration("a", "e1"), migration("b", "e2", "2.0"), migration("late", "e1", "2.0"))
    assert release_steps(graph("1.0", "2.0", None), migrations) == [
        ReleaseStep("1.0", "e1", ("a",), "c1"),
        ReleaseStep("2.0", "e2", ("b", "late"), "c2"),
        ReleaseStep(None, "e3", (), "c3"),
    ]


def test_release_steps_of_a_release_with_a_contract_only() -> None:
    """Its contract needs the expand of the release before."""
    revisions = [
        Revision("e1", labels=EXPAND, release="1.0"),
        Revision("c1", labels=CONTRACT, depends_on=("e1",), release="2.0"),
    ]
    assert release_steps(Graph(revisions), named(migration("m", "e1"))) == [
        ReleaseStep("1.0", "e1", ("m",), None),
        ReleaseStep("2.0", "e1", (), "c1"),
        ReleaseStep(None, "e1", (), "c1"),
    ]


def test_release_steps_include_every_data_migration() -> None:
    """One without a revision or with an unknown release runs in the last step."""
    migrations = named(migration("loose", None), migration("other", None, "9.9"))
    found = release_steps(graph("1.0"), migrations)
    assert [name for step in found for name in step.migrations] == ["loose", "other"]


def test_release_steps_expand_for_a_contract_without_depends_on() -> None:
    """Otherwise its own gate would refuse it."""
    revisions = [
        Revision("e1", labels=EXPAND, release="1.0"),
        Revision("e2", down=("e1",)),
        Revision("c1", labels=CONTRACT, requires=()),
        Revision("c2", down=("c1",), requires=(), release="1.0"),
    ]
    assert release_steps(Graph(revisions), {}) == [
        ReleaseStep("1.0", "e2", (), "c2"),
        ReleaseStep(None, "e2", (), "c2"),
    ]


def test_release_step_has_the_data_migrations_that_its_contract_requires() -> None:
    """Without a revision and a release of their own; those that they come after, too."""
    first = dataclasses.replace(migration("first", None), after=())
    then = dataclasses.replace(migration("then", None), after=("first",))
    other = migration("other", None)
    revisions = [
        dataclasses.replace(revision, requires=("then",)) if revision.id == "c1" else revision
        for revision in graph("1.0", "2.0").revisions.values()
    ]
    assert [step.migrations for step in release_steps(Graph(revisions), named(first, then, other))] == [
        ("first", "then"),
        (),
        ("other",),
    ]
