"""version_locations in a pyproject.toml: added or replaced, everything else stays."""

from __future__ import annotations

import tomllib

import pytest

from online_migrate import exceptions
from online_migrate.revision.configuration import with_toml_locations

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
def test_only_the_locations_change(text: str) -> None:
    """Parsed, it is the same but for them; no comment is lost."""
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
def test_what_is_not_understood_is_left_to_the_user(text: str) -> None:
    """The lines to write are in the hint."""
    with pytest.raises(exceptions.ConfigBroken) as refused:
        with_toml_locations(text, WANTED)
    assert '"%(here)s/db/expand",' in refused.value.hint
