"""version_locations in a pyproject.toml: added or replaced; all other text is unchanged."""

from __future__ import annotations

import tomllib

import pytest

from online_migrate import exceptions
from online_migrate.script.configuration import with_toml_locations

WANTED = ["%(here)s/db/versions", "%(here)s/db/expand"]
TEXTS = [
    '[tool.alembic]\nscript_location = "db"\n',
    '[tool.alembic] # here\nscript_location = "db"\n[tool.other]\nx = 1\n',
    '# first\n[project]\nname = "x"\n\n[tool.alembic]\n# a comment\nscript_location = "db"\n'
    'version_locations = ["a"] # old\nprepend_sys_path = ["."]\n',
    '[tool.alembic]\nversion_locations = [\n    "a",\n    "b",\n]\nscript_location = "db"\n',
    '[tool.alembic]\nscript_location = "db"\n\n[[tool.alembic.post_write_hooks]]\nname = "ruff"\n',
]


@pytest.mark.parametrize("text", TEXTS)
def test_with_toml_locations_changes_only_the_locations(text: str) -> None:
    """The parsed documents differ only in the locations; no comment is lost."""
    changed = with_toml_locations(text, WANTED)
    before = tomllib.loads(text)
    before["tool"]["alembic"]["version_locations"] = WANTED
    assert tomllib.loads(changed) == before
    for comment in (line for line in text.splitlines() if line.startswith("#")):
        assert comment in changed


@pytest.mark.parametrize(
    "text",
    [
        'tool.alembic.script_location = "db"\n',
        '[tool]\nalembic = {script_location = "db"}\n',
        '[tool.alembic]\nscript_location = """\n[tool.alembic]\n"""\nversion_locations = ["a]"]\n',
    ],
)
def test_with_toml_locations_refuses_unsupported_forms(text: str) -> None:
    """The lines to add are in the hint."""
    with pytest.raises(exceptions.ConfigBroken) as refused:
        with_toml_locations(text, WANTED)
    assert '"%(here)s/db/expand",' in refused.value.hint
