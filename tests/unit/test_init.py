"""What ``init`` and ``init --adopt`` write into files, as text."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from online_migrate import exceptions
from online_migrate.script import init as projects
from online_migrate.script.project import Project

LINEAR = """\
revision = "{revision}"
down_revision = {down!r}


def upgrade():
    pass


def downgrade():
    pass
"""


def linear_project(folder: Path, ini: str = "") -> Path:
    """An Alembic project with two revisions, one after the other."""
    versions = folder / "migrations" / "versions"
    versions.mkdir(parents=True)
    (folder / "migrations" / "env.py").write_text("from alembic import context\n")
    (folder / "migrations" / "script.py.mako").write_text("")
    (versions / "a1.py").write_text(LINEAR.format(revision="a1", down=None))
    (versions / "a2.py").write_text(LINEAR.format(revision="a2", down="a1"))
    config = folder / "alembic.ini"
    config.write_text(
        f"# ours\n[alembic]\nscript_location = %(here)s/migrations\n{ini}\n[loggers]\nkeys = root\n"
    )
    return config


def option(config: Path, name: str) -> str:
    parser = configparser.ConfigParser({"here": "HERE"})
    parser.read(config)
    return parser.get("alembic", name)


def test_what_init_writes_is_a_project(tmp_path: Path) -> None:
    """Every file of it is there, and the project can be read."""
    written = projects.init(tmp_path / "alembic.ini")
    assert all(path.exists() for path in written.paths)
    project = Project.load(tmp_path / "alembic.ini")
    assert project.graph.heads == {}
    assert project.data_migrations == {}


@pytest.mark.parametrize("name", ["alembic.ini", "migrations/env.py"])
def test_init_overwrites_nothing(name: str, tmp_path: Path) -> None:
    """A file that is there already: refused, and left as it is."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(exceptions.UsageError):
        projects.init(tmp_path / "alembic.ini")
    assert (tmp_path / name).read_text() == "mine"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [Path(name).name]


def test_adopt_keeps_what_it_does_not_change(tmp_path: Path) -> None:
    """Comments and sections stay; the two folders are added to where scripts are looked for."""
    config = linear_project(tmp_path)
    written = projects.adopt(config)
    text = config.read_text()
    assert text.startswith("# ours\n[alembic]\n")
    assert "[loggers]\nkeys = root" in text
    assert option(config, "version_locations").split(";") == [
        "HERE/migrations/versions",
        "HERE/migrations/expand",
        "HERE/migrations/contract",
    ]
    assert option(config, "path_separator") == ";"
    assert any("alembic upgrade a2" in line for line in written.to_do)


def test_adopt_twice_is_adopt_once(tmp_path: Path) -> None:
    """Nothing is added a second time."""
    config = linear_project(tmp_path)
    projects.adopt(config)
    once = config.read_text()
    projects.adopt(config)
    assert config.read_text() == once


def test_adopt_respells_what_the_new_separator_would_break(tmp_path: Path) -> None:
    """prepend_sys_path was split on colons and spaces; the old spelling of the separator goes."""
    ini = "prepend_sys_path = . src:lib\nversion_path_separator = os\n"
    config = linear_project(tmp_path, ini)
    projects.adopt(config)
    assert option(config, "prepend_sys_path") == ".;src;lib"
    assert "version_path_separator" not in config.read_text()


def test_adopt_replaces_an_option_of_several_lines(tmp_path: Path) -> None:
    """A value that goes on in the next lines is one value."""
    ini = "version_locations =\n    %(here)s/migrations/versions\npath_separator = newline\n"
    config = linear_project(tmp_path, ini)
    projects.adopt(config)
    assert config.read_text().count("version_locations") == 1
    assert option(config, "version_locations").count("HERE") == 3


def test_a_history_with_branches_is_not_adopted(tmp_path: Path) -> None:
    """Which of the heads would the base be? Refused, and alembic.ini is as before."""
    config = linear_project(tmp_path)
    (tmp_path / "migrations/versions/a3.py").write_text(LINEAR.format(revision="a3", down="a1"))
    before = config.read_text()
    with pytest.raises(exceptions.GraphBroken):
        projects.adopt(config)
    assert config.read_text() == before
    assert not (tmp_path / "migrations" / "expand").exists()
