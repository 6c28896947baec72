"""Lines and texts of Python source: of an assignment, a data migration, the statement around a line. Pure."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from online_migrate.python_source import syntax_tree


def _tree(path: str) -> ast.Module | None:
    try:
        return _parsed(Path(path).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None


@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> ast.Module:
    return syntax_tree(text)


def line_of_assignment(path: str, *variables: str) -> int:
    """Returns the line of the first of *variables* that the module assigns; 1 if it assigns none of them."""
    tree = _tree(path)
    found: dict[str, int] = {}
    for node in tree.body if tree is not None else ():
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name):
                found.setdefault(target.id, node.lineno)
    return next((found[variable] for variable in variables if variable in found), 1)


def line_of_text(path: str, text: str, variable: str) -> int:
    """Returns the line of *text* in the assignment of *variable*, or else that of the assignment."""
    tree = _tree(path)
    for node in tree.body if tree is not None else ():
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.lineno == line_of_assignment(path, variable):
            for each in ast.walk(node):
                if isinstance(each, ast.Constant) and each.value == text:
                    return each.lineno
    return line_of_assignment(path, variable)


def line_of_data_migration(path: str, name: str) -> int:
    """Returns the line that defines a data migration: its variable, its function, or its ``name=``."""
    node = _data_migration(path, name)
    return line_of_assignment(path, name) if node is None else node.lineno


def argument_of_data_migration(path: str, name: str, argument: str) -> str | None:
    """Returns the text of an argument of the data migration's definition, on one line; None without it."""
    node = _data_migration(path, name)
    for each in ast.walk(node) if node is not None else ():
        if isinstance(each, ast.keyword) and each.arg == argument:
            return ast.unparse(each.value)
    return None


def _data_migration(path: str, name: str) -> ast.stmt | None:
    tree = _tree(path)
    body = tree.body if tree is not None else []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return node
        if _names(node, name):
            return node
    line = line_of_assignment(path, name)
    return next((n for n in body if n.lineno == line and isinstance(n, ast.Assign | ast.AnnAssign)), None)


def _names(node: ast.stmt, name: str) -> bool:
    """Returns True if a call in the statement has ``name="..."`` with this name."""
    return any(
        isinstance(each, ast.keyword)
        and each.arg == "name"
        and isinstance(each.value, ast.Constant)
        and each.value.value == name
        for each in ast.walk(node)
    )


def lines_of_statement(path: str, line: int) -> range:
    """Returns the lines of the innermost simple statement around *line*."""
    tree = _tree(path)
    best = range(line, line + 1)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.stmt) and not hasattr(node, "body"):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            if line in lines:
                best = lines
    return best
