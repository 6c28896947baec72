"""OpenStack's trees as they are, adopted by the settings of examples/openstack-trees.

No file of theirs is changed. The real packages are in an environment of their own, which `make test` makes.
A test runs several processes at once: online-migrate on an empty database, and the tree's own scripts by
plain Alembic, through its own env.py, on another one. The two schemas must be equal.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pytest
import sqlalchemy as sa

from online_migrate.state import TABLES
from tests.servers import Database, Server

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "openstack-trees"
PYTHON = Path(os.environ.get("ONLINE_MIGRATE_TEST_OPENSTACK", ROOT / ".venv-openstack")) / "bin" / "python"

OLDER: Mapping[str, Sequence[str]] = {
    "keystone": ("11c3b243b4cb", "c88cdce8f248"),
    "glance": ("zed_expand01", "zed_contract01"),
    "cinder": ("b8660621f1b9",),
    "nova": ("1acf2c98e646",),
    "nova_api": ("b30f573d3377",),
    "placement": ("b5c396305c25",),
    "neutron": ("ad80a9f07c5c", "5c85685d616d"),
    "ironic": ("772c0e7e8299",),
    "octavia": ("db2a73e82626",),
    "manila": ("e975ea83b712",),
}
"""The trees, each with the revisions of an older release."""
FAILS_ON_POSTGRESQL = {
    "neutron": "CONVERT TO CHARACTER SET",
    "octavia": 'constraint "PRIMARY" of relation "listener_statistics" does not exist',
}
"""The trees whose own scripts fail on PostgreSQL, with the statement or the error."""

pytestmark = [pytest.mark.needs("openstack"), pytest.mark.timeout(600)]


def environment(
    module: str,
    *arguments: str,
    stdin: int | None = None,
    stderr: int | IO[str] = subprocess.PIPE,
    **more: str,
) -> subprocess.Popen[str]:
    """Starts a module of the tests in the environment with the real packages."""
    if not PYTHON.is_file():
        raise pytest.UsageError(f"{PYTHON} is missing, so no tree is tested; make .venv-openstack/.installed")
    path = os.pathsep.join([str(ROOT), os.environ.get("OS_EXTRA", "")])
    variables = {**os.environ, "PYTHONPATH": path, **more}
    line = [str(PYTHON), "-W", "ignore", "-m", module, *arguments]
    return subprocess.Popen(
        line, text=True, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, env=variables
    )


def start(verb: str, config: Path, url: str, *revisions: str) -> subprocess.Popen[str]:
    """Starts a process of tests/support/openstack_tree.py in the environment with the real packages."""
    return environment("tests.support.openstack_tree", verb, str(config), url, *revisions)


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The document of a process, which must end with success."""
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err[-3000:]
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def shape(database: Database) -> dict[str, object]:
    """The tables with all that the inspector finds, without those of online-migrate; and the version rows."""
    engine = sa.create_engine(database.url)
    inspector = sa.inspect(engine)
    found: dict[str, object] = {}
    for table in sorted(set(inspector.get_table_names()) - TABLES):
        columns = [
            (c["name"], repr(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(table)
        ]
        lists = ("get_foreign_keys", "get_indexes", "get_unique_constraints", "get_check_constraints")
        parts = [sorted(map(str, getattr(inspector, read)(table))) for read in lists]
        parts += [[str(inspector.get_pk_constraint(table)), str(inspector.get_table_options(table))]]
        found[table] = (columns, parts)
    with engine.connect() as connection:
        found["version"] = sorted(connection.scalars(sa.text("SELECT version_num FROM alembic_version")))
    engine.dispose()
    return found


@pytest.fixture(params=OLDER)
def tree(request: pytest.FixtureRequest) -> str:
    """The name of a tree."""
    name: str = request.param
    return name


@pytest.fixture
def databases(server: Server, tmp_path: Path, tree: str) -> Iterator[list[Database]]:
    """Three empty databases."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server.fresh_database(tmp_path, f"{tree}_{n}")) for n in range(3)]


def settings(tree: str, folder: Path, *, without: tuple[str, ...] = (), more: str = "") -> Path:
    """A copy of the settings of a tree, without the lines that begin so; *more*: added at the end."""
    path = folder / f"{tree}.ini"
    shutil.copy(EXAMPLES / f"{tree}.ini", path)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not (without and line.startswith(without))]
    path.write_text("".join(kept) + more, encoding="utf-8")
    return path


def test_tree_reaches_the_schema_of_its_own_command(
    tree: str,
    server: Server,
    databases: list[Database],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """From an empty database and from an older release; what is missing is said before."""
    config = settings(tree, tmp_path)
    empty, older, own = databases
    where, cannot = f"{tree} on {server.name}", limits(tree)
    if server.product == "postgresql" and tree in FAILS_ON_POSTGRESQL:
        assert_fails_as_its_own_command(config, empty, own, FAILS_ON_POSTGRESQL[tree])
        record_property(
            "seen", f"{where}: fails as its own command does ({FAILS_ON_POSTGRESQL[tree]}). {cannot}"
        )
        return
    running = [start("ours", config, empty.url), start("own", config, own.url, "heads")]
    # The way from an older release is tested once for each tree, on the server on which it is faster.
    is_older_tested = server.product == "postgresql" or tree in FAILS_ON_POSTGRESQL
    if is_older_tested:
        result(start("own", config, older.url, *OLDER[tree]))
        assert result(start("upgrade", config, older.url))["applied"]
    of_empty, _ = (result(process) for process in running)
    assert_says_what_is_missing(of_empty)
    assert shape(empty) == shape(own)
    if is_older_tested:
        assert shape(older) == shape(own)
    ways = "an empty database and an older release" if is_older_tested else "an empty database"
    tables = len(shape(own)) - 1
    record_property("seen", f"{where}: from {ways}, the {tables} tables of its own command. {cannot}")


def limits(tree: str) -> str:
    """What the tree cannot do, as the documentation lists it."""
    page = (ROOT / "docs" / "openstack-trees.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    found = {row[0].split()[0]: row[-1] for row in rows if len(row) == 5}
    of_cinder = found["cinder"].rstrip(".")
    return f"Limits: {found[tree.removesuffix('_api')].replace('as cinder', of_cinder)}"


def assert_says_what_is_missing(found: dict[str, Any]) -> None:
    before, after = found["before"], found["after"]
    base = before["missing"]["base"]
    assert len(base) == before["base"]
    assert before["position"]["base"] is None
    assert [before["gate"][0][0], before["gate"][0][1]] == ["base-not-applied", base[-1]]
    assert not before["complete"]
    assert before["plan"][: len(base)] == base
    assert "is behind the last base revision" in found["expand"]
    assert "in a package" in found["adopt"] or "already has expand" in found["adopt"]
    assert len(found["said"]) == 1, found["said"]
    assert "bypass the gate" in found["said"][0]
    assert found["again"] == []
    assert not any(after["missing"].values())
    assert (after["gate"], after["plan"], after["complete"]) == ([], [], True)


def assert_fails_as_its_own_command(config: Path, ours: Database, own: Database, error: str) -> None:
    running = [start("ours", config, ours.url), start("own", config, own.url, "heads")]
    for process in running:
        _, err = process.communicate(timeout=500)
        assert process.returncode != 0
        assert error in err, err[-2000:]


def test_gate_of_keystone_is_closed_while_expands_of_a_release_are_missing(
    database: Database, tmp_path: Path
) -> None:
    """Its contract scripts have no depends_on: each requires the expand scripts of its release and before."""
    config = settings("keystone", tmp_path, without=("history",), more="requires.* = none\n")
    result(start("own", config, database.url, "27e647c0fad4"))
    read = result(start("crossing", config, database.url))["read"]
    assert [(id, object) for id, object, _ in read["gate"]] == [
        ("expand-not-applied", name) for name in ("29e87d24a316", "b4f8b3f584e0", "11c3b243b4cb")
    ]
    assert all("has no depends_on" in reason for _, _, reason in read["gate"])


def test_expands_of_neutron_that_depend_on_a_contract(database: Database, tmp_path: Path) -> None:
    """The tree is read; expand, which would apply the contract revision, names it and the three expands."""
    without = ("history", "additive", "    add-unique")
    config = settings("neutron", tmp_path, without=without, more="requires.* = none\n")
    result(start("own", config, database.url, "kilo"))
    found = result(start("crossing", config, database.url))
    assert found["read"]["history"] == 133
    for name in ("e4e236b0e1ff", "e88badaa9591", "f010820fc498", "7d9d8eeec6ad"):
        assert name in found["expand"]
    assert "online-migrate contract 7d9d8eeec6ad" in found["expand"]


MISSING = {
    "glance": ("oslo_option", "oslo_option = database.connection"),
    "placement": ("oslo_option", "oslo_option = database.connection"),
    "octavia": ("env_attributes", "env_attributes = octavia_config=MODULE:OBJECT"),
    "neutron": ("env_attributes", "env_attributes = neutron_config=MODULE:OBJECT"),
}
"""Trees whose env.py fails without a setting, with the setting, and what the error says."""


@pytest.mark.parametrize("tree", MISSING)
def test_missing_configuration_of_env_py_is_named(tree: str, tmp_path: Path) -> None:
    """The error says which setting is missing, in which file, before any server is needed."""
    setting, said = MISSING[tree]
    config = settings(tree, tmp_path, without=(setting,))
    error = result(start("current", config, f"sqlite:///{tmp_path / 'empty.db'}"))["error"]
    assert said in error
    assert str(config) in error
