"""Records the statements of every revision of the trees of OpenStack, on an empty database of a server.

It needs the packages of OpenStack, so it runs in an environment of its own, and imports nothing of this
project::

    python -m venv ENV
    ENV/bin/pip install cinder==29.0.0 nova==34.0.0 keystone==30.0.0 glance==33.0.0 neutron==29.0.0 \
        PyMySQL psycopg2-binary cryptography
    ENV/bin/python tests/support/openstack/record.py TREE URL FILE

TREE: a key of :data:`TREES`. URL: of a user that may create databases; the database
``om_TREE`` is dropped and created. FILE: ``statements/TREE-SERVER.json``.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationStep
from alembic.script import ScriptDirectory
from sqlalchemy import event

TREES = {
    "cinder": "cinder/db/migrations",
    "nova": "nova/db/main/migrations",
    "nova-api": "nova/db/api/migrations",
    "keystone": "keystone/common/sql/migrations",
    "glance": "glance/db/sqlalchemy/alembic_migrations",
    "neutron": "neutron/db/migration/alembic_migrations",
}
"""Tree -> the folder of its env.py, in the installed packages."""


def main(tree: str, url: str, file: str) -> None:
    """Writes the statements of each revision of a tree, and the error of one that fails."""
    script, config = _scripts(tree)
    engine = _empty_database(url, f"om_{tree.replace('-', '_')}")
    sent: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cu, statement, *_: sent.append(statement))
    found: dict[str, Any] = {}
    seen: set[str] = set()
    with engine.connect() as connection, EnvironmentContext(config, script, fn=lambda *_: []) as environment:
        environment.configure(connection=connection)
        # Some scripts change the version table.
        environment.get_context()._ensure_version_table()
        connection.commit()
        for revision in reversed(list(script.walk_revisions())):
            del sent[:]
            error = _run(script, revision, environment, connection)
            found[revision.revision] = {
                "branch": _branch(revision.path),
                "statements": [one for one in sent if not _is_repeated_read(one, seen)],
                "error": error,
            }
    Path(file).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _scripts(tree: str) -> tuple[ScriptDirectory, Config]:
    package = tree.partition("-")[0]
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    _configure(package)
    folder = Path(spec.origin).parent.parent / TREES[tree]
    versions = folder / "versions"
    branches = sorted(
        one for one in versions.rglob("*") if one.is_dir() and one.name in ("expand", "contract")
    )
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(map(str, [versions, *branches])))
    return ScriptDirectory.from_config(config), config


def _configure(package: str) -> None:
    """Registers the options that the scripts of a project read."""
    from oslo_config import cfg

    if package == "keystone":
        importlib.import_module("keystone.conf").configure()
    if package == "cinder":
        importlib.import_module("cinder.objects").register_all()
        for module in ("cinder.common.config", "cinder.quota", "cinder.db"):
            importlib.import_module(module)
    if package in ("keystone", "cinder"):
        cfg.CONF([], project=package)
    if package == "neutron":
        importlib.import_module("neutron.db.migration.cli")


def _empty_database(url: str, name: str) -> sa.Engine:
    with sa.create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name}"))
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    return sa.create_engine(sa.make_url(url).set(database=name))


def _run(
    script: ScriptDirectory, revision: Any, environment: EnvironmentContext, connection: sa.Connection
) -> str | None:
    step: Any = MigrationStep.upgrade_from_script(script.revision_map, revision)
    try:
        with Operations.context(environment.get_context()):
            step.migration_fn()
        connection.commit()
    except sa.exc.SQLAlchemyError as error:
        connection.rollback()
        return " ".join(str(error).split())[:200]
    return None


def _branch(path: str) -> str:
    """Returns expand or contract: the folder of the script, or a part of its name (glance)."""
    words = [Path(path).parent.name, *Path(path).stem.split("_")]
    branches = (word.rstrip("0123456789") for word in words)
    return next((word for word in branches if word in ("expand", "contract")), "")


def _is_repeated_read(statement: str, seen: set[str]) -> bool:
    """Returns True for a read that another revision has sent: reflection sends the same ones many times."""
    if not statement.lstrip().upper().startswith(("SELECT", "SHOW")):
        return False
    repeated = statement in seen
    seen.add(statement)
    return repeated


if __name__ == "__main__":
    main(*sys.argv[1:])
