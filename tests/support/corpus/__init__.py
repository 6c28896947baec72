"""The corpus: small scripts for each server, their verdicts, and the proof by the server. A file a family."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.corpus import (
    column_types,
    columns,
    constraints,
    contents,
    hidden,
    indexes,
    objects,
    statements,
    tables,
    tricks,
)
from tests.support.corpus.case import Case

FAMILIES: Mapping[str, list[Case]] = {
    "columns": columns.CASES,
    "types": column_types.CASES,
    "constraints": constraints.CASES,
    "indexes": indexes.CASES,
    "tables": tables.CASES,
    "objects": objects.CASES,
    "contents": contents.CASES,
    "statements": statements.CASES,
    "tricks": tricks.CASES,
    "hidden": hidden.CASES,
}

CASES: tuple[Case, ...] = tuple(case for cases in FAMILIES.values() for case in cases)
