"""Settings by which a tree is adopted whose files must not be changed."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config
from oslo_config import cfg

from online_migrate import command, exceptions, state
from online_migrate.config import Settings, read_settings
from online_migrate.context import CommandContext
from online_migrate.runtime.env_needs import missing_need, provided
from online_migrate.runtime.hidden_tables import engine_tables_hidden
from online_migrate.script.declarations import ScriptDeclarations
from online_migrate.script.graph import UNDECLARED, Graph, Revision
from online_migrate.script.project import Project
from tests.support import project as trees

CALLED: list[str] = []
EXPAND, CONTRACT = frozenset({"expand"}), frozenset({"contract"})
SCRIPTS = (
    Revision("e1", labels=EXPAND),
    Revision("C1", labels=CONTRACT, depends_on=("e1",)),
    Revision("c2", down=("C1",), requires=("m",)),
    Revision("c3", down=("c2",)),
)


def completed(**settings: str) -> Graph:
    """The graph of SCRIPTS with these settings; ``_`` stands for the dot of a name."""
    parsed = Settings.parse({n.replace("__", "."): v for n, v in settings.items()}, origin="x")
    declared = ScriptDeclarations.of(parsed)
    return Graph(declared.complete(Graph(SCRIPTS)), declared.history_in([r.id for r in SCRIPTS]))


def test_requires_of_scripts_without_requires() -> None:
    """By revision, whose name an ini file has in lower case; by * for all others; the script itself wins."""
    graph = completed(requires__c1="a, b", **{"requires__*": "none"})
    assert {r.id: r.requires for r in graph.revisions.values()} == {
        "e1": UNDECLARED,
        "C1": ("a", "b"),
        "c2": ("m",),
        "c3": (),
    }
    assert completed(requires__c1="none").revisions["c3"].requires is UNDECLARED


def test_requires_by_default_is_said(tmp_path: Path) -> None:
    """A contract script that is written later gets the requires of * as well: each command says so."""
    settings = {"requires.C1": "none", "requires.*": "none"}
    with trees.Project.create(tmp_path, f"sqlite:///{tmp_path}/a.db", **settings) as sample:
        sample.expand('op.create_table("t", sa.Column("a", sa.Integer))', "e1")
        for revision, requires in {"C1": None, "c2": (), "c3": None}.items():
            sample.contract("pass", revision, requires=requires)
        said: list[str] = []
        sample.apply_expand()
        assert command.gate(sample.site(echo=said.append)) == []
        assert said == ["gate c3: requires none, by requires.* in [online_migrate]"]
        said.clear()
        assert command.gate(sample.site(echo=said.append), "c2") == []
        assert said == []
        assert command.status(sample.site()).as_dict()["requires_by_default"] == {"c3": ()}
        shown = sample.run("status").out
        assert "c3: requires none, by requires.* in [online_migrate]" in shown
        command.contract(sample.site(echo=said.append))
        assert [line for line in said if "requires" in line] == [
            "contract c3: requires none, by requires.* in [online_migrate]"
        ]
        assert command.status(sample.site()).requires_by_default == {}
        text = sample.config_file.read_text().replace("requires.* = none", "requires.* = a, b")
        sample.config_file.write_text(text)
        sample.contract("pass", "c4", requires=None)
        assert command.status(sample.site()).requires_by_default == {"c4": ("a", "b")}
        said.clear()
        assert command.gate(sample.site(echo=said.append))
        assert said == ["gate c4: requires a, b, by requires.* in [online_migrate]"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"requires__c1": ""}, "requires.c1: it names no data migration; write none"),
        ({"requires__c1": "none, a"}, "write none"),
        ({"requires__*": " "}, "requires.*: it names no data migration"),
        ({"requires__c9": "none"}, "no script has the revision id c9"),
        ({"requires__e1": "none"}, "e1 is on the expand branch, not on contract"),
        ({"requires__c2": "none"}, "the script declares requires itself"),
        ({"additive__c3": "drop-column a.b: unused"}, "c3 is on the contract branch, not on expand"),
        ({"additive__e1": "drop-column a.b"}, "is not an operation: and its reason"),
        ({"history": "e1, e9"}, "history: no script has the revision id e9"),
    ],
)
def test_bad_declarations_are_refused(settings: dict[str, str], said: str) -> None:
    """Nothing is taken for granted: a name that does not exist, and a value that says nothing."""
    with pytest.raises(exceptions.ConfigBroken) as error:
        completed(**settings)
    assert said in str(error.value)


def test_additive_of_a_script_that_must_not_be_changed() -> None:
    """An operation on each line, with its reason."""
    graph = completed(additive__e1="drop-column a.b: unused: since 2\n\nadd-unique a.x: is unique")
    assert graph.revisions["e1"].additive == (
        ("drop-column a.b", "unused: since 2"),
        ("add-unique a.x", "is unique"),
    )


def test_declarations_in_both_kinds_of_files(tmp_path: Path) -> None:
    """A table in TOML, and a dotted name, mean the same as in an ini file."""
    (tmp_path / "alembic.ini").write_text("[online_migrate]\nrequires.A1 = none\nenv-x = 1\n")
    with pytest.raises(exceptions.ConfigBroken, match="no setting 'env-x'"):
        read_settings(tmp_path / "alembic.ini")
    (tmp_path / "alembic.ini").write_text("[online_migrate]\nrequires.A1 = none\n")
    assert read_settings(tmp_path / "alembic.ini").requires == (("a1", "none"),)
    (tmp_path / "alembic.ini").unlink()
    (tmp_path / "pyproject.toml").write_text('[tool.online_migrate.requires]\nA1 = "none"\n')
    assert read_settings(tmp_path / "pyproject.toml").requires == (("A1", "none"),)


def test_documented_example_is_the_tested_one() -> None:
    """test_openstack_trees.py uses the files of examples/openstack-trees."""
    root = Path(__file__).parents[2]
    example = (root / "examples" / "openstack-trees" / "glance.ini").read_text()
    settings = "".join(line for line in example.splitlines(keepends=True) if not line.startswith("#"))
    assert settings in (root / "docs" / "openstack-trees.md").read_text()


# --- what env.py needs ---------------------------------------------------------------------------


def called_with(url: str | None) -> str:
    """A function that env_attributes names."""
    return f"called with {url}"


def set_up() -> None:
    """A function that env_setup names."""
    CALLED.append("set up")


def test_needs_of_env_py_are_provided_and_removed() -> None:
    """Attributes, also on the object itself; the option in existing objects and in those made later."""
    url = "mysql+pymysql://u:p@localhost/d"
    config = Config()
    own = "configured=tests.unit.test_untouched_trees:called_with, conf=oslo_config.cfg:CONF"
    settings = Settings(env_attributes=own, oslo_option="database.connection")
    before = dict(os.environ)
    with provided(config, settings, url):
        assert config.attributes["configured"] == config.configured == f"called with {url}"  # type: ignore[attr-defined]
        assert config.attributes["conf"].database.connection == url
        assert config.attributes["configure_logger"] is False
        made = cfg.ConfigOpts()
        made.register_opts([cfg.StrOpt("connection")], "database")
        made([], default_config_files=[])
        assert made.database.connection == url
    assert not config.attributes
    assert not hasattr(config, "configured")
    assert cfg.CONF.database.connection is None
    assert dict(os.environ) == before


def test_connection_for_env_py(tmp_path: Path) -> None:
    """An env.py may take its connection from the attributes."""
    with provided(Config(), Settings(), None):
        pass
    config = Config()
    with provided(config, Settings(env_attributes="connection"), f"sqlite:///{tmp_path}/a.db"):
        assert isinstance(config.attributes["connection"], sa.Connection)
    with pytest.raises(exceptions.URLMissing), provided(config, Settings(env_attributes="connection"), None):
        pass


@pytest.mark.parametrize(
    "settings",
    [
        {"env_attributes": "x=no_such_module:y"},
        {"env_attributes": "x=os:no_such_name"},
        {"env_attributes": "x"},
        {"oslo_option": "connection"},
    ],
)
def test_bad_needs_are_refused(settings: dict[str, str]) -> None:
    """By the name of the setting."""
    with pytest.raises(exceptions.ConfigBroken) as error, provided(Config(), Settings(**settings), None):  # type: ignore[arg-type]
        pass
    assert next(iter(settings)) in str(error.value)


def as_octavia_does(config: Config) -> None:
    """Ends as octavia's env.py does outside of its own command."""
    try:
        _ = config.octavia_config  # type: ignore[attr-defined]
    except AttributeError:
        sys.exit(1)


def test_missing_need_is_named_with_its_file() -> None:
    """The attribute that env.py reads, also behind the exit of env.py; the option of oslo.config."""
    with pytest.raises(SystemExit) as ended:
        as_octavia_does(Config())
    said = str(missing_need(ended.value, "a.ini"))
    assert "env_attributes = octavia_config=MODULE:OBJECT into [online_migrate] of a.ini" in said
    assert "oslo_option" in str(missing_need(cfg.NoSuchGroupError("database"), "a.ini"))
    assert missing_need(ValueError("x"), "a.ini") is None


# --- a tree with a folder for each release -------------------------------------------------------

SCRIPT = """revision = {revision!r}
down_revision = {down!r}
branch_labels = {labels!r}
def upgrade():
    pass
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The settings of a tree in the layout of keystone and neutron; its env.py fails if it is run."""
    scripts = (
        ("base.py", "r1", None, None),
        ("one/expand/e1.py", "e1", "r1", "expand"),
        ("one/contract/c1.py", "c1", "r1", "contract"),
        ("two/expand/e2.py", "e2", "e1", None),
    )
    for name, revision, down, labels in scripts:
        path = tmp_path / "tree" / "versions" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SCRIPT.format(revision=revision, down=down, labels=labels))
    (tmp_path / "tree" / "env.py").write_text("raise SystemExit(1)\n")
    ini = tmp_path / "alembic.ini"
    ini.write_text(
        "[alembic]\nscript_location = %(here)s/tree\nversion_locations = %(here)s/tree/versions\n"
        "recursive_version_locations = true\npath_separator = newline\n"
        "[online_migrate]\nenv_setup = tests.unit.test_untouched_trees:set_up\n"
    )
    return ini


def test_releases_and_new_scripts_of_a_tree_with_folders(tree: Path, tmp_path: Path) -> None:
    """The folder is the release; a new script is put into the folder of its release, or of the last one."""
    context = CommandContext(tree)
    graph = context.project.graph
    # pytest imports this file under another name than the setting does.
    assert importlib.import_module("tests.unit.test_untouched_trees").CALLED == ["set up"]
    releases = {r.id: r.release for r in graph.revisions.values()}
    assert releases == {"r1": None, "e1": "one", "c1": "one", "e2": "two"}
    assert graph.expand_of("c1") == "e1"
    written = command.revision(context, "third", release="three", rev_ids=("e3", "c3"))
    three = tmp_path / "tree" / "versions" / "three"
    assert [path.parent for path in written] == [three / "expand", three / "contract"]
    again = Project.load(tree)
    assert (again.graph.revisions["e3"].down, again.graph.revisions["c3"].down) == (("e2",), ("c1",))
    written = command.revision(CommandContext(tree), "fourth", rev_ids=("e4", "c4"))
    assert [path.parent for path in written] == [three / "expand", three / "contract"]
    assert Project.load(tree).graph.heads["expand"] == "e4"  # type: ignore[index]


OWN_MODULE = """
import types

called = []
holder = types.SimpleNamespace(conf="the configuration")


def set_up():
    called.append(1)


def fails():
    raise ValueError("not today")
"""


def test_modules_of_settings_are_found_beside_alembic_ini_and_on_its_path(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For env_setup and env_attributes; with prepend_sys_path as well, which Alembic applies by itself."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_module_beside.py").write_text(OWN_MODULE)
    (tmp_path / "own_module_broken.py").write_text("raise ValueError('broken')\n")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "own_module_on_path.py").write_text(OWN_MODULE)
    before = tree.read_text().replace("path_separator", "prepend_sys_path = %(here)s/src\npath_separator")

    def project(**settings: str) -> Project:
        text = before.replace("env_setup = tests.unit.test_untouched_trees:set_up", "")
        tree.write_text(text + "".join(f"{name} = {value}\n" for name, value in settings.items()))
        return Project.load(tree)

    for module in ("own_module_beside", "own_module_on_path"):
        for _ in range(2):
            found = project(env_setup=f"{module}:set_up", env_attributes=f"conf={module}:holder.conf")
            found.load_graph()
            with provided(found.config, found.settings, None):
                assert found.config.attributes["conf"] == "the configuration"
        assert sys.modules[module].called == [1]
    for value, said in {
        "own_module_none:f": "own_module_none:f cannot be imported: ModuleNotFoundError",
        "own_module_broken:f": "own_module_broken:f cannot be imported: ValueError: broken",
        "own_module_beside:holder": "own_module_beside:holder is not a function",
        "own_module_beside:none": "own_module_beside:none cannot be imported: AttributeError",
        "own_module_beside:fails": "own_module_beside:fails failed: ValueError: not today",
    }.items():
        with pytest.raises(exceptions.ConfigBroken) as error:
            project(env_setup=value).load_graph()
        assert f"env_setup: {said}" in str(error.value)
    broken = project(env_attributes="conf=own_module_broken:f")
    with pytest.raises(exceptions.ConfigBroken) as error, provided(broken.config, broken.settings, None):
        pass
    assert "env_attributes: own_module_broken:f cannot be imported: ValueError: broken" in str(error.value)


def test_adopt_refuses_a_layout_to_which_it_cannot_add(tree: Path, tmp_path: Path) -> None:
    """Folders in folders, and a package; nothing is written."""
    for name in ("one", "two"):
        for path in (tmp_path / "tree" / "versions" / name).rglob("*.py"):
            path.unlink()
    before = tree.read_text()
    with pytest.raises(exceptions.ConfigBroken, match="recursive_version_locations"):
        command.adopt(CommandContext(tree))
    text = before.replace("%(here)s/tree\n", "online_migrate:expand\n", 1)
    text = text.replace("%(here)s/tree/versions\nrecursive_", "%(here)s/x\n#")
    tree.write_text(text)
    with pytest.raises(exceptions.ConfigBroken, match="in a package, online_migrate:expand"):
        command.adopt(CommandContext(tree))
    assert tree.read_text() == text


def test_bookkeeping_tables_are_hidden_from_scripts() -> None:
    """A script that reflects all tables finds those of the application only."""
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        state.metadata.create_all(connection)
        connection.exec_driver_sql("CREATE TABLE volumes (id INTEGER)")
        with engine_tables_hidden(connection):
            metadata = sa.MetaData()
            metadata.reflect(connection)
            assert list(metadata.tables) == ["volumes"]
        assert len(sa.inspect(connection).get_table_names()) > 1
