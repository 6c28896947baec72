"""What refuses the rename of a column, or rows of new code while it soaks: the soak is refused before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.test_soak import boxes, reasons, states
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project

DROP = 'op.drop_column("boxes", "old_name")\n'


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project whose contract drops the column old_name, which may be NULL."""
    with boxes(tmp_path / "project", database, DROP) as project:
        yield project


def refusal(project: Project, database: Database, *statements: str) -> str:
    """Executes *statements*; returns the one reason against the soak, which changes nothing."""
    schema.run_all(database, *statements)
    before = schema.Snapshot.of(database, "boxes")
    [reason] = reasons(project)
    assert schema.Snapshot.of(database, "boxes") == before
    assert states(database) == []
    return reason


def test_a_check_forbids_the_soak_of_a_column(database: Database, tmp_path: Path) -> None:
    """It would refuse each row of new code; also if the contract script drops it before the column."""
    crates = (
        "CREATE TABLE crates (id INT PRIMARY KEY, size INT, Name VARCHAR(9) DEFAULT 'size',"
        " CONSTRAINT has_size CHECK (\n(size\n IS NOT NULL)), CONSTRAINT named CHECK (Name <> 'size'))"
    )
    drops = 'op.drop_column("crates", "size")\n'
    if database.server.product != "sqlite":
        drops = 'op.execute("ALTER TABLE crates DROP CONSTRAINT has_size")\n' + drops
    with boxes(tmp_path / "project", database, drops) as project:
        schema.run_all(database, crates)
        [reason] = reasons(project)
        assert reason.startswith("column crates.size: check constraint ")
        assert ("is not null" if database.server.product == "sqlite" else "has_size") in reason.lower()
        assert "may refuse rows of new code" in reason
        schema.run_all(database, "INSERT INTO crates (id, size, Name) VALUES (1, 1, 'a')")


@pytest.mark.needs("lock_tables")  # the servers of the MySQL family
def test_a_partitioning_and_a_default_forbid_the_soak(project: Project, database: Database) -> None:
    """MySQL renames no such column; MariaDB does, and computes the default of new rows from NULL."""
    reason = refusal(
        project, database, "ALTER TABLE boxes ADD COLUMN copy VARCHAR(40) DEFAULT (CONCAT(old_name, '!'))"
    )
    assert "default of column copy is computed from it" in reason
    reason = refusal(
        project,
        database,
        "ALTER TABLE boxes DROP COLUMN copy",
        "ALTER TABLE boxes DROP PRIMARY KEY",
        "ALTER TABLE boxes PARTITION BY KEY (old_name) PARTITIONS 2",
    )
    assert "partitioning of table boxes uses it" in reason


@pytest.mark.needs("functional_indexes")
def test_a_functional_index_forbids_the_soak(database: Database, tmp_path: Path) -> None:
    """MySQL does not rename the column: no trigger is dropped before."""
    drops = 'op.execute("DROP TRIGGER boxes_copy")\nop.drop_index("ix_upper", "boxes")\n' + DROP
    with boxes(tmp_path / "project", database, drops) as project:
        reason = refusal(
            project,
            database,
            "CREATE INDEX ix_upper ON boxes ((UPPER(old_name)))",
            "CREATE TRIGGER boxes_copy BEFORE INSERT ON boxes FOR EACH ROW SET NEW.label = NEW.old_name",
        )
        assert "functional index ix_upper uses it" in reason
        assert schema.triggers(database) == ["boxes_copy"]


@pytest.mark.needs("lock_tables")
def test_the_check_of_a_json_column_is_no_reason(database: Database, tmp_path: Path) -> None:
    """On MariaDB the type JSON is a text with a CHECK, which is true for NULL."""
    from online_migrate import command

    with boxes(tmp_path / "project", database, DROP) as project:
        schema.run_all(database, "ALTER TABLE boxes MODIFY COLUMN old_name JSON")
        assert command.soak(project.site()).revisions == ("c1",)
        schema.run_all(database, "INSERT INTO boxes (id, label) VALUES (2, 'b')")


_POSTGRESQL = {
    "index": ("CREATE UNIQUE INDEX one_null ON boxes (old_name) NULLS NOT DISTINCT",),
    "domain": (
        "CREATE DOMAIN inner_word AS VARCHAR(20) CHECK (VALUE IS NOT NULL)",
        "CREATE DOMAIN word AS inner_word",
        "UPDATE boxes SET old_name = 'x'",
        "ALTER TABLE boxes ALTER COLUMN old_name TYPE word",
    ),
    "policy": ("CREATE POLICY named ON boxes USING (old_name = 'x')",),
    "check constraint": (
        "CREATE TABLE child () INHERITS (boxes)",
        "ALTER TABLE child ADD CONSTRAINT named CHECK (old_name IS NOT NULL)",
    ),
}


@pytest.mark.needs("row_security")
@pytest.mark.parametrize("kind", _POSTGRESQL)
def test_what_may_refuse_null_forbids_the_soak(project: Project, database: Database, kind: str) -> None:
    """A domain, an index that permits one NULL, a policy, a CHECK of a child table."""
    reason = refusal(project, database, *_POSTGRESQL[kind])
    assert f"column boxes.old_name: {kind} " in reason


@pytest.mark.needs("row_security")
def test_a_partition_key_forbids_the_soak(database: Database, tmp_path: Path) -> None:
    """A row of new code would have no partition."""
    with boxes(tmp_path / "project", database, 'op.drop_column("parts", "place")\n') as project:
        schema.run_all(
            database,
            "CREATE TABLE parts (id INT, place INT) PARTITION BY RANGE (place)",
            "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (9)",
        )
        [reason] = reasons(project)
        assert "partitioning of table parts uses it" in reason


def test_a_unique_column_with_a_default_does_not_soak(database: Database, tmp_path: Path) -> None:
    """The second row of new code would be refused; NULL, or a key with the primary key, is no duplicate."""
    drops = "".join(f'op.drop_column("crates", "{name}")\n' for name in ("code", "free", "kind"))
    with boxes(tmp_path / "project", database, drops) as project:
        schema.run_all(
            database,
            "CREATE TABLE crates (id INT PRIMARY KEY, code VARCHAR(9) DEFAULT 'none', free INT, "
            "kind VARCHAR(9) DEFAULT 'box', UNIQUE (free))",
            "CREATE UNIQUE INDEX ix_code ON crates (code)",
            "CREATE UNIQUE INDEX ix_kind ON crates (id, kind)",
        )
        [reason] = reasons(project)
        assert reason.startswith("column crates.code: unique key ix_code has it, and its default is the same")
