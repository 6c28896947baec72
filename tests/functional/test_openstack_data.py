"""OpenStack's own data migrations, called by ``counted``, with real rows in their real schema.

The data modules are those of docs/openstack.md. The real packages are in an environment of their own, in
which one process for each project runs the commands. Each test has one database.
"""

from __future__ import annotations

import datetime
import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.functional.test_docs import ROOT, blocks_of
from tests.functional.test_openstack_trees import environment, result, settings, start
from tests.servers import Database, Server
from tests.support.project import Ran, execute, scalar

pytestmark = [pytest.mark.needs("openstack"), pytest.mark.timeout(300)]

NOW = datetime.datetime(2026, 1, 1)
MARKER = "00000000-0000-0000-0000-000000000000"
"""The UUID of the row that nova makes as a marker."""


def modules() -> Mapping[str, str]:
    """The data modules of docs/openstack.md: path -> text."""
    said = {block.not_run or "": block.text for block in blocks_of(ROOT / "docs" / "openstack.md")}
    found = {re.search(r"runs it as (\S+)", why): text for why, text in said.items()}
    return {match[1]: text for match, text in found.items() if match is not None}


class Manage:
    """Commands of online-migrate on a tree of OpenStack, in the environment that has its packages."""

    def __init__(self, tree: str, database: Database, folder: Path, **variables: str) -> None:
        self._data = folder / "data"
        self._data.mkdir(parents=True)
        self._config = settings(tree, folder)
        self._plain = self._config.read_text(encoding="utf-8")
        self.set(batch_size=1000)
        self._url = database.url
        self._schema = start("own", self._config, self._url, "heads")
        # The configuration of ironic; oslo.config reads it from the environment.
        variables = {"OS_DEFAULT__ENABLED_INSPECT_INTERFACES": "agent", **variables}
        self._errors = (folder / "stderr").open("w+", encoding="utf-8")
        module, pipe = "tests.support.openstack_data", subprocess.PIPE
        self._process = environment(module, stdin=pipe, stderr=self._errors, **variables)

    def __enter__(self) -> Manage:
        result(self._schema)
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def set(self, *, batch_size: int) -> None:
        """Writes the settings."""
        more = f"[online_migrate]\ndata_location = {self._data}\nbatch_size = {batch_size}\n"
        text = self._plain.replace("[online_migrate]\n", more)
        self._config.write_text(text, encoding="utf-8")

    def data(self, path: str) -> None:
        """Writes a data module of the page."""
        (self._data / Path(path).name).write_text(modules()[path], encoding="utf-8")

    def __call__(self, *arguments: str) -> Ran:
        """Runs a command, and returns its result."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = json.dumps(["-c", str(self._config), "--url", self._url, *arguments])
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, Path(self._errors.name).read_text(encoding="utf-8")[-3000:]
        return Ran(**json.loads(answer))


def insert(database: Database, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts rows; a column that must not be NULL and has no value gets 0 or the text ``0``."""
    reflected = sa.Table(table, sa.MetaData(), autoload_with=database.engine, resolve_fks=False)
    needed = {
        column.name: NOW if column.type.python_type is datetime.datetime else column.type.python_type(0)
        for column in reflected.c
        if not column.nullable and not column.primary_key and column.server_default is None
    }
    if "deleted" in reflected.c:
        needed["deleted"] = reflected.c.deleted.type.python_type(0)
    with database.engine.begin() as connection:
        connection.execute(sa.insert(reflected), [{**needed, **row} for row in rows])


@pytest.fixture
def manage(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> Iterator[Manage]:
    with Manage(request.param, database, tmp_path) as commands:
        yield commands


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


NETWORK = json.dumps(
    [
        {
            "id": uuid(500),
            "address": "fa:16:3e:00:00:01",
            "type": "ovs",
            "network": {"id": uuid(600), "subnets": []},
        }
    ]
)
"""The network of an instance in nova's cache: one interface, which has no row."""

TRIGGERS = {
    "mariadb": (
        "CREATE TRIGGER poison BEFORE UPDATE ON volume_admin_metadata FOR EACH ROW "
        "IF OLD.id = 50 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'row 50 is poisoned'; END IF",
        "DROP TRIGGER poison",
    ),
    "postgresql": (
        "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF OLD.id = 50 THEN RAISE EXCEPTION 'row 50 is poisoned'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER poison BEFORE UPDATE ON volume_admin_metadata FOR EACH ROW EXECUTE FUNCTION poison()",
        "DROP TRIGGER poison ON volume_admin_metadata",
    ),
}
"""For each product: makes an update of row 50 fail, and undoes that."""


@pytest.mark.parametrize("manage", ["cinder"], indirect=True)
def test_cinder(manage: Manage, database: Database, server: Server) -> None:
    """120 rows: ``--max_count 7``, then all; a poisoned row, and the Backfill for the others."""
    insert(database, "volumes", [{"id": uuid(1)}])
    keys = [(i, "temporary") for i in range(1, 121)] + [(200, None), (201, "readonly")]
    rows = [{"id": id_, "key": key, "volume_id": uuid(1)} for id_, key in keys]
    insert(database, "volume_admin_metadata", rows)
    left = "SELECT count(*) FROM volume_admin_metadata WHERE id <= 120 AND deleted = false"
    manage.data("cinder/temporary.py")
    ran = manage("online_data_migrations", "--max_count", "7")
    assert ran.code == 1, ran
    assert "| temporary |          120 |         7 |" in ran.out
    assert scalar(database.engine, left) == 113
    ran = manage("online_data_migrations")
    assert ran.code == 0, ran
    assert "| temporary |          113 |       113 |" in ran.out
    assert scalar(database.engine, left) == 0

    poison, cure = TRIGGERS[server.product]
    execute(database.engine, "UPDATE volume_admin_metadata SET deleted = false", poison)
    ran = manage("online_data_migrations")
    assert ran.code == 2, ran
    assert "row 50 is poisoned" in ran.err
    assert 1 < scalar(database.engine, left) < 120
    manage.data("cinder/temporary_rows.py")
    ran = manage("online_data_migrations")
    assert ran.code == 2, ran
    assert scalar(database.engine, left) == 1
    execute(database.engine, cure)
    ran = manage("online_data_migrations")
    assert ran.code == 0, ran
    assert scalar(database.engine, left) == 0


@pytest.mark.parametrize("manage", ["nova"], indirect=True)
def test_nova(manage: Manage, database: Database) -> None:
    """60 instances whose node is gone, before 40 others; the marker row; four other functions."""
    nodes = [{"id": 7, "uuid": uuid(7), "host": "a", "hypervisor_hostname": "there", "mapped": 0}]
    insert(database, "compute_nodes", nodes)
    names = [(i, "gone" if i <= 60 else "there") for i in range(1, 101)]
    instances = [{"id": i, "uuid": uuid(i), "host": "a", "node": node} for i, node in names]
    insert(database, "instances", instances)
    insert(database, "block_device_mapping", [{"instance_uuid": uuid(i)} for i in range(1, 13)])
    insert(database, "pci_devices", [{"compute_node_id": 7, "address": str(i)} for i in range(9)])
    insert(database, "migrations", [{"id": i, "status": "done"} for i in range(1, 6)])
    manage.data("nova/cell.py")
    moved = "SELECT count(*) FROM instances WHERE compute_id = 7"
    for size in (50, 7):
        manage.set(batch_size=size)
        execute(database.engine, "UPDATE instances SET compute_id = NULL")
        ran = manage("online_data_migrations")
        assert ran.code == 2, ran
        assert "found 60 row(s) and migrated none of them" in ran.err
        assert scalar(database.engine, moved) == 40
    for table in ("block_device_mapping", "pci_devices", "migrations"):
        assert scalar(database.engine, f"SELECT count(*) FROM {table} WHERE uuid IS NULL") == 0
    assert scalar(database.engine, "SELECT cpu_allocation_ratio FROM compute_nodes") > 0
    execute(database.engine, "UPDATE instances SET node = 'there'")
    insert(database, "instances", [{"id": 101, "uuid": MARKER, "deleted": 101}])
    ran = manage("online_data_migrations")
    assert ran.code == 0, ran
    assert "|           61 |        60 |" in ran.out
    assert scalar(database.engine, "SELECT count(*) FROM instances WHERE compute_id IS NULL") == 1
    assert manage("online_data_migrations").code == 0


def _rows_of_two_databases(database: Database, api: Database) -> None:
    """Inserts what an old release of Nova left: in the database of the cell, and in the API database."""
    address = {"transport_url": "none:///", "database_connection": database.url}
    insert(
        api,
        "cell_mappings",
        [{"id": 1, "uuid": uuid(1), "name": "one", "disabled": False, **address}],
    )
    mapped = [{"id": i, "instance_uuid": uuid(i), "cell_id": 1, "project_id": "p"} for i in range(1, 13)]
    insert(api, "instance_mappings", mapped)
    instances = [
        {"uuid": uuid(i), "host": "a", "user_id": f"user {i}", "deleted": i if i > 10 else 0}
        for i in range(1, 13)
    ]
    insert(database, "instances", instances)
    insert(database, "instance_info_caches", [{"instance_uuid": uuid(1), "network_info": NETWORK}])
    limits = [{"project_id": f"p{i}", "resource": "cores", "hard_limit": i} for i in range(1, 6)]
    insert(database, "quotas", limits)
    insert(database, "quota_classes", [{"class_name": "default", "resource": "ram", "hard_limit": 9}])


def _migrate_the_cell(cell: Manage, database: Database, api: Database) -> None:
    """The functions that read or write both databases."""
    cell.data("nova/cell_and_api.py")
    ran = cell("online_data_migrations", "--max_count", "3")
    assert ran.code == 1, ran
    ran = cell("online_data_migrations")
    assert ran.code == 0, ran
    assert cell("online_data_migrations").code == 0
    assert scalar(api.engine, "SELECT count(*) FROM quotas WHERE resource = 'cores'") == 5
    assert scalar(database.engine, "SELECT count(*) FROM quotas WHERE deleted = 0") == 0
    assert scalar(api.engine, "SELECT hard_limit FROM quota_classes WHERE resource = 'ram'") == 9
    zoned = "SELECT count(*) FROM instances WHERE availability_zone = 'nova' AND deleted = 0"
    assert scalar(database.engine, zoned) == 10
    interfaces = f"SELECT count(*) FROM virtual_interfaces WHERE deleted = 0 AND uuid = '{uuid(500)}'"
    assert scalar(database.engine, interfaces) == 1


def _migrate_the_api(of_api: Manage, api: Database) -> None:
    of_api.data("nova/api.py")
    ran = of_api("online_data_migrations", "--max_count", "5")
    assert ran.code == 1, ran
    ran = of_api("online_data_migrations")
    assert ran.code == 0, ran
    queued = "SELECT count(*) FROM instance_mappings WHERE queued_for_delete = true"
    assert scalar(api.engine, queued) == 2
    assert scalar(api.engine, "SELECT count(DISTINCT user_id) FROM instance_mappings") == 12


@pytest.mark.timeout(600)
def test_nova_with_two_databases(database: Database, server: Server, tmp_path: Path) -> None:
    """The six functions that use the API database: two on it, four on the database of the cell."""
    with server.fresh_database(tmp_path, "api") as api:
        variables = {"OS_DATABASE__CONNECTION": database.url, "OS_API_DATABASE__CONNECTION": api.url}
        variables["OS_DEFAULT__TRANSPORT_URL"] = "fake://"  # nova sends a notification of each change
        with (
            Manage("nova", database, tmp_path / "cell", **variables) as cell,
            Manage("nova_api", api, tmp_path / "api", **variables) as of_api,
        ):
            _rows_of_two_databases(database, api)
            _migrate_the_cell(cell, database, api)
            _migrate_the_api(of_api, api)


@pytest.mark.parametrize("manage", ["glance"], indirect=True)
def test_glance(manage: Manage, database: Database) -> None:
    """The pair of train."""
    insert(database, "images", [{"id": uuid(1)}])
    meta = ['{"backend": "fast"}'] * 20 + ['{"store": "fast"}'] * 5
    rows = [{"id": i, "image_id": uuid(1), "value": "x", "meta_data": text} for i, text in enumerate(meta, 1)]
    insert(database, "image_locations", rows)
    manage.data("glance/stores.py")
    ran = manage("online_data_migrations")
    assert ran.code == 0, ran
    assert "|           20 |        20 |" in ran.out
    assert (
        scalar(database.engine, "SELECT count(*) FROM image_locations WHERE meta_data LIKE '%backend%'") == 0
    )
    assert manage("online_data_migrations").code == 0


@pytest.mark.parametrize("manage", ["ironic"], indirect=True)
def test_ironic(manage: Manage, database: Database) -> None:
    """All three functions; one of them spans all tables."""
    node = {"inspect_interface": "inspector", "provision_state": "available", "version": "1.30"}
    insert(database, "nodes", [{"id": i, "uuid": uuid(i), **node} for i in range(1, 31)])
    ports = [{"id": i, "uuid": uuid(i), "address": str(i), "version": "1.0"} for i in range(1, 11)]
    insert(database, "ports", ports)
    books = [{"id": i, "uuid": uuid(i), "name": f"CUSTOM_{i}", "version": "1.0"} for i in range(1, 6)]
    insert(database, "runbooks", books)
    manage.data("ironic/all.py")
    ran = manage("online_data_migrations", "--max_count", "20")
    assert ran.code == 1, ran
    assert "| migrate_to_builtin_inspection   |           30 |        20 |" in ran.out
    ran = manage("online_data_migrations")
    assert ran.code == 0, ran
    assert "| migrate_to_builtin_inspection   |           10 |        10 |" in ran.out
    assert "| migrate_runbook_names_to_traits |            5 |         5 |" in ran.out
    assert "| update_to_latest_versions       |           45 |        45 |" in ran.out
    assert scalar(database.engine, "SELECT count(*) FROM runbook_traits") == 5
    assert scalar(database.engine, "SELECT count(*) FROM nodes WHERE inspect_interface = 'agent'") == 30
    assert scalar(database.engine, "SELECT count(DISTINCT version) FROM nodes") == 1
