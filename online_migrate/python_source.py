"""Parses Python source."""

from __future__ import annotations

import ast

_ATTEMPTS = 5


def syntax_tree(source: str | bytes) -> ast.Module:
    """Returns the syntax tree of *source*.

    CPython 3.11 raises SystemError if the garbage collector runs inside ast.parse and a finalizer parses as
    well, as a logged traceback does (python/cpython#106905). The call is then repeated.

    Raises SyntaxError and ValueError as ast.parse does.
    """
    for _attempt in range(_ATTEMPTS - 1):
        try:
            return ast.parse(source)
        except SystemError:
            continue
    return ast.parse(source)
