"""A file in which a project records an interface, and the problems that a comparison with it finds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from online_migrate.exceptions import UsageError


@dataclasses.dataclass(frozen=True)
class Problem:
    """A difference between what is recorded and the code."""

    what: str
    """What changed."""
    hint: str = ""
    """What to do before it is recorded; empty if it only has to be recorded."""


def read_record(path: Path, keys: Set[str]) -> dict[str, Any]:
    """Returns what is recorded; empty if the file does not exist. *keys*: of each entry.

    Raises :class:`~online_migrate.exceptions.UsageError` if it cannot be read.
    """
    if not path.exists():
        return {}
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(message=f"{path} cannot be read: {error}") from error
    entries = found.values() if isinstance(found, dict) else [found]
    if not all(isinstance(one, dict) and one.keys() == keys for one in entries):
        raise UsageError(message=f"{path} cannot be read: an entry has other keys than {sorted(keys)}")
    record: dict[str, Any] = found
    return record


def write_record(path: Path, problems: Sequence[Problem], found: Mapping[str, Any], not_checked: str) -> None:
    """Writes what is *found*.

    Raises :class:`AssertionError` if one of the *problems* has a hint, and writes nothing then.
    """
    fail_with([one for one in problems if one.hint], path, "", not_checked)
    path.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def fail_with(problems: Sequence[Problem], path: Path, record: str, not_checked: str) -> None:
    """Raises :class:`AssertionError` with the *problems*, if there are any.

    *record*: the name of the function that records. *not_checked*: what such a comparison cannot see.
    """
    __tracebackhide__ = True
    if not problems:
        return
    lines = [f"{len(problems)} difference(s) from {path}:"]
    for one in problems:
        lines += [one.what, *([f"    -> {one.hint}"] if one.hint else [])]
    if record:
        then = "then " if any(one.hint for one in problems) else ""
        lines.append(f"{then}record it: online_migrate.openstack.testing.{record}({str(path)!r}, ...)")
    raise AssertionError("\n".join([*lines, f"not checked: {not_checked}"]))
