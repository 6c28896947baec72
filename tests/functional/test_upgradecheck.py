"""The checks of oslo.upgradecheck before services are restarted with the new release."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from oslo_config import cfg
from oslo_upgradecheck import upgradecheck
from oslo_upgradecheck.upgradecheck import Code, Result

from online_migrate.openstack.upgradecheck import Check, checks
from tests.servers import Database
from tests.support.project import Project, execute

pytestmark = pytest.mark.each_product


@pytest.fixture
def project(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Three rows to migrate."""
    monkeypatch.delenv("ONLINE_MIGRATE_URL", raising=False)
    execute(
        database.engine,
        "CREATE TABLE volumes (id INTEGER PRIMARY KEY, gb INTEGER)",
        *[f"INSERT INTO volumes (id, gb) VALUES ({i}, {i})" for i in (1, 2, 3)],
    )
    with Project.create(tmp_path / "project", database.url) as written:
        yield written


def _release(project: Project, name: str, column: str, **heading: str) -> None:
    """Adds the scripts of one release, which fill *column*."""
    expand = project.expand(f'op.add_column("volumes", sa.Column("{column}", sa.Integer))', **heading)
    project.data(
        f"{expand}_{name}",
        f'{name} = Backfill(table="volumes", values=lambda t: {{"{column}": t.c.gb}}, '
        f'pending=lambda t: t.c.{column}.is_(None), revision="{expand}")',
    )
    project.contract('op.execute("UPDATE volumes SET gb = gb")', requires=(name,), **heading)


def _checked(project: Project, database: object) -> tuple[Code, list[tuple[Code, str]]]:
    """Runs the program's check, and returns its code and the result of each check."""
    found = []

    def kept(check: Check) -> Check:
        def run(commands: object) -> Result:
            result = check(commands)
            found.append((result.code, result.details or ""))
            return result

        return run

    class Commands(upgradecheck.UpgradeCommands):
        _upgrade_checks = tuple(
            (name, kept(check))
            for name, check in checks(project.config_file, database)  # type: ignore[arg-type]
        )

    return Commands().check(), found


def test_pending_rows_of_the_previous_release(
    database: Database, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failure while they are pending; those of the new release are not; the gate is a warning."""
    conf = cfg.ConfigOpts()
    file = project.folder / "volume.conf"
    file.write_text(f"[database]\nconnection = {database.url}\n")
    conf(args=[], default_config_files=[str(file)])
    _release(project, "old", "a", release="2026.1")
    project.apply_expand()
    _release(project, "new", "b", release="2026.2")
    code, [rows, gate] = _checked(project, conf)
    assert (code, rows[0], gate[0]) == (Code.FAILURE, Code.FAILURE, Code.WARNING)
    assert "not complete: old (not started, 3 row(s) pending); run: db online_data_migrations" in rows[1]
    assert "contract c1: old: it has no record of a run; 3 row(s) of volumes are pending" in gate[1]
    assert "| Check: Data migrations of the previous release" in capsys.readouterr().out
    project.migrate("old")
    code, [rows, gate] = _checked(project, conf)
    assert (code, rows, gate) == (Code.SUCCESS, (Code.SUCCESS, ""), (Code.SUCCESS, ""))
    project.apply_expand()
    assert _checked(project, conf)[1][0] == (Code.SUCCESS, "")
    execute(database.engine, "INSERT INTO volumes (id, gb) VALUES (4, 4)")
    code, [rows, gate] = _checked(project, conf)
    assert (rows[0], "old (complete, 1 row(s) pending)" in rows[1]) == (Code.FAILURE, True)


def test_project_without_releases_and_server_that_is_down(database: Database, project: Project) -> None:
    """Without releases an incomplete data migration is a warning; what cannot be checked is a failure."""
    _release(project, "fill", "a")
    assert _checked(project, database.url)[1][0] == (Code.SUCCESS, "")
    project.apply_expand()
    code, [rows, gate] = _checked(project, database.engine)
    assert (code, rows[0], gate[0]) == (Code.WARNING, Code.WARNING, Code.WARNING)
    code, found = _checked(project, "postgresql+psycopg2://u:secret@127.0.0.1:1/nothing")
    assert code is Code.FAILURE
    assert all(said.startswith("Cannot connect to") and "secret" not in said for _, said in found)


def test_rows_that_cannot_be_placed_or_counted(database: Database, project: Project) -> None:
    """What a contract revision of a previous release requires is checked; an unknown count is not zero."""
    expand = project.expand('op.add_column("volumes", sa.Column("a", sa.Integer))', release="2026.1")
    counted = "counted(lambda context, count: (0, 0), table='volumes', pending=lambda t: t.c.a.is_(None), "
    project.data(
        "old",
        "from online_migrate import Removed\n"
        f"loose = {counted}name='loose')\n"
        "gone = Removed(table='volumes', pending=lambda t: t.c.missing.is_(None), removed_in='2026.1')\n"
        f"dropped = Backfill(table='volumes', values=lambda t: {{'a': t.c.gb}}, revision='{expand}', "
        "pending=lambda t: t.c.a.is_(None))\n"
        f"newest = {counted}name='newest')\n",
    )
    project.contract(
        'op.execute("UPDATE volumes SET gb = gb")', requires=("loose", "gone", "dropped"), release="2026.1"
    )
    project.apply_expand()
    project.migrate("dropped")
    project.expand('op.add_column("volumes", sa.Column("b", sa.Integer))', release="2026.2")
    project.contract('op.execute("UPDATE volumes SET gb = gb")', requires=("newest",), release="2026.2")
    execute(database.engine, "UPDATE volumes SET a = NULL WHERE id = 1")
    _, [rows, _] = _checked(project, database.url)
    assert rows[0] is Code.FAILURE
    assert "loose (not started, 1 row(s) pending)" in rows[1]
    assert "gone (not started: The pending expression of 'gone' cannot be evaluated" in rows[1]
    assert "dropped (complete, 1 row(s) pending)" in rows[1]
    assert "newest" not in rows[1]
    execute(database.engine, "UPDATE volumes SET a = 1", "ALTER TABLE volumes RENAME COLUMN a TO c")
    _, [rows, _] = _checked(project, database.url)
    assert rows[0] is Code.FAILURE
    assert "dropped (complete: The pending expression of 'dropped' cannot be evaluated" in rows[1]
