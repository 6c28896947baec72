"""stamp, current, history, heads: the position of a database on both branches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from online_migrate import command
from online_migrate.exceptions import OnlineMigrateError, Refused
from online_migrate.services.errors import ServiceRefused
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project
from tests.support.services import live

pytestmark = pytest.mark.each_product


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project with e1, e2, e3 and c1 (needs e1), c2 (needs e2), c3 (needs e3); all are empty."""
    with Project.create(tmp_path / "project", database.url) as project:
        for number in (1, 2, 3):
            project.expand("pass", f"e{number}", release=f"{number}.0")
            project.contract("pass", f"c{number}", depends_on=f"e{number}")
        yield project


CASES = (
    # rows before, arguments, rows after
    ([], ["heads"], ["c3"]),
    ([], ["e2"], ["e2"]),
    ([], ["e3", "c2"], ["c2", "e3"]),
    ([], ["expand@head"], ["e3"]),
    ([], ["contract@head"], ["c3"]),
    (["c3"], ["c1"], ["c1", "e3"]),
    (["c3"], ["base"], []),
    (["e3"], ["c1"], ["c1", "e3"]),
    (["c1", "e3"], ["e2"], ["c1", "e2"]),
    (["c1", "e3"], ["heads"], ["c3"]),
    (["c2", "e3"], ["e2"], ["c2"]),
)


@pytest.mark.parametrize(("before", "targets", "after"), CASES)
def test_stamp_moves_one_branch_and_keeps_the_other(
    project: Project, database: Database, before: list[str], targets: list[str], after: list[str]
) -> None:
    """The branch that is not named keeps its position, so that no expand runs again."""
    if before:
        command.stamp(project.site(), before)
    assert sorted(command.stamp(project.site(), targets)) == after
    assert schema.version_rows(database) == after


@pytest.mark.parametrize(
    ("before", "targets"),
    [
        (["e1"], ["c3"]),
        (["c3"], ["e1"]),
        (["e3"], ["e1", "c2"]),
        (["e1"], ["unknown"]),
        (["e1"], ["e"]),
        ([], ["e1", "e3"]),
    ],
)
def test_stamp_with_a_contradiction_is_refused(
    project: Project, database: Database, before: list[str], targets: list[str]
) -> None:
    """A contract without the expand it needs, an unknown or ambiguous name: exit code 127, no change."""
    if before:
        command.stamp(project.site(), before)
    rows = schema.version_rows(database)
    with pytest.raises(OnlineMigrateError) as refusal:
        command.stamp(project.site(), targets)
    assert refusal.value.exit_code == 127
    assert schema.version_rows(database) == rows


def test_current_check_heads_before_and_after_contract(project: Project, database: Database) -> None:
    """0 only when both branches are at their heads, also after the row of the expand branch was removed."""
    for verb, code in (("expand", 1), ("contract", 0)):
        assert schema.run(project, verb).code == 0
        assert schema.run(project, "current", "--check-heads").code == code, verb
    assert schema.version_rows(database) == ["c3"]
    positions = schema.run(project, "current", "--json").json
    assert (positions["expand"]["position"], positions["contract"]["position"]) == ("e3", "c3")
    project.expand("pass", "e4")
    assert schema.run(project, "current", "--check-heads").code == 1
    assert schema.run(project, "current").code == 0


def test_expand_after_a_stamp_repeats_no_revision(project: Project, database: Database) -> None:
    """From c3 back to c1: e2 and e3 remain recorded as applied."""
    assert schema.run(project, "upgrade").code == 0
    command.stamp(project.site(), ["c1"])
    assert project.apply_expand() == []
    assert command.contract(project.site()).revisions == ("c2", "c3")


def test_unknown_revision_in_the_version_table_is_named(project: Project, database: Database) -> None:
    """A version row without a script: exit code 127 with its name, for every command that reads it."""
    project.apply_expand()
    schema.run_all(database, "UPDATE alembic_version SET version_num = 'stranger'")
    for verb in ("status", "expand", "contract", "gate", "current", "plan"):
        refused = schema.run(project, verb)
        assert refused.code == 127, (verb, refused.output)
        assert "stranger" in refused.err
        assert "Traceback" not in refused.err


def test_history_and_heads_need_no_database(tmp_path: Path) -> None:
    """They read scripts only, so an unreachable server does not matter."""
    unreachable = "postgresql+psycopg2://unknown:secret@127.0.0.1:1/nothing"
    with Project.create(tmp_path / "project", unreachable) as project:
        project.expand("pass", "e1", release="2026.1")
        project.contract("pass", "c1")
        history = schema.run(project, "history")
        assert history.code == 0, history.output
        assert [line.split()[0] for line in history.out.splitlines()] == ["expand", "contract"]
        assert "2026.1" in history.out
        heads = schema.run(project, "heads", "--json").json
        assert [(line["revision"], line["phase"]) for line in heads] == [("e1", "expand"), ("c1", "contract")]


def test_stamp_while_columns_soak(database: Database, tmp_path: Path) -> None:
    """The soaking revision cannot be stamped; after a stamp of another one, old code still may not start."""
    with schema.volumes(
        tmp_path / "project", database, contract='op.drop_column("volumes", "legacy")'
    ) as project:
        schema.ready(project, database)
        command.soak(project.site())
        versions = schema.version_rows(database)
        with pytest.raises(Refused, match="c2 soaks"):
            command.stamp(project.site(), ["c2"])
        assert schema.version_rows(database) == versions
        command.stamp(project.site(), ["e2"])
        with pytest.raises(ServiceRefused), live(database):
            pass
        command.unsoak(project.site())
        with live(database):
            pass
