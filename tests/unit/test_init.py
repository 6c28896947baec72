"""The texts that ``init`` and ``init --adopt`` write into files."""

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


def test_init_writes_a_project(tmp_path: Path) -> None:
    """All its files exist, and the project can be loaded."""
    written = projects.init(tmp_path / "alembic.ini")
    assert all(path.exists() for path in written.paths)
    project = Project.load(tmp_path / "alembic.ini")
    assert project.graph.heads == {}
    assert project.data_migrations == {}


@pytest.mark.parametrize("name", ["alembic.ini", "migrations/env.py"])
def test_init_overwrites_nothing(name: str, tmp_path: Path) -> None:
    """An existing file: refused, and the file is unchanged."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(exceptions.UsageError):
        projects.init(tmp_path / "alembic.ini")
    assert (tmp_path / name).read_text() == "mine"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [Path(name).name]


def test_adopt_keeps_comments_and_sections(tmp_path: Path) -> None:
    """Comments and sections are kept; the two directories are added to the script locations."""
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


def test_adopt_is_idempotent(tmp_path: Path) -> None:
    """Nothing is added a second time."""
    config = linear_project(tmp_path)
    projects.adopt(config)
    once = config.read_text()
    projects.adopt(config)
    assert config.read_text() == once


def test_adopt_rewrites_options_for_new_separator(tmp_path: Path) -> None:
    """prepend_sys_path was split on colons and spaces; the deprecated separator option is removed."""
    ini = "prepend_sys_path = . src:lib\nversion_path_separator = os\n"
    config = linear_project(tmp_path, ini)
    projects.adopt(config)
    assert option(config, "prepend_sys_path") == ".;src;lib"
    assert "version_path_separator" not in config.read_text()


def test_adopt_replaces_multiline_option(tmp_path: Path) -> None:
    """A value that continues on the following lines is one value."""
    ini = "version_locations =\n    %(here)s/migrations/versions\npath_separator = newline\n"
    config = linear_project(tmp_path, ini)
    projects.adopt(config)
    assert config.read_text().count("version_locations") == 1
    assert option(config, "version_locations").count("HERE") == 3


def test_adopt_refuses_branched_history(tmp_path: Path) -> None:
    """The base would be ambiguous. Refused, and alembic.ini is unchanged."""
    config = linear_project(tmp_path)
    (tmp_path / "migrations/versions/a3.py").write_text(LINEAR.format(revision="a3", down="a1"))
    before = config.read_text()
    with pytest.raises(exceptions.GraphBroken):
        projects.adopt(config)
    assert config.read_text() == before
    assert not (tmp_path / "migrations" / "expand").exists()
