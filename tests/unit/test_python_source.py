"""Parsing of Python source."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator

import pytest

from online_migrate.python_source import syntax_tree

SOURCE = "\n".join(f"def f{n}(a, b=[1, 2, {{3: 4}}]):\n    return a + b[{n}](a, *b)" for n in range(50))


@pytest.fixture
def parsing_finalizer() -> Iterator[list[str]]:
    """Each of the first garbage collections parses a nested expression, as a logged traceback does."""
    runs: list[str] = []

    def parse(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and len(runs) < 2:
            runs.append(phase)
            ast.parse("(" * 20 + "1" + ")" * 20 + "+" + "-" * 40 + "1")

    threshold = gc.get_threshold()
    gc.callbacks.append(parse)
    gc.set_threshold(50)
    yield runs
    gc.set_threshold(*threshold)
    gc.callbacks.remove(parse)


def test_source_is_parsed_although_a_finalizer_parses_as_well(parsing_finalizer: list[str]) -> None:
    tree = syntax_tree(SOURCE)
    gc.set_threshold(0)
    assert parsing_finalizer
    assert ast.dump(tree) == ast.dump(ast.parse(SOURCE))


def test_syntax_error_is_raised() -> None:
    with pytest.raises(SyntaxError):
        syntax_tree("def")
