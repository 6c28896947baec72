"""The order of imports in docs/architecture.md is the one that import-linter checks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_documented_layers_are_the_checked_ones() -> None:
    """Each layer, in the same order, with the same modules beside each other."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    checked = pyproject["tool"]["importlinter"]["contracts"][0]["layers"]
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    documented = re.findall(r"```text\n(.*?)```", text, re.DOTALL)[0]
    assert [set(layer.split(" | ")) for layer in re.split(r"\s*>\s*", documented.strip())] == [
        {module.removeprefix("online_migrate.") for module in layer.split(" | ")} for layer in checked
    ]
