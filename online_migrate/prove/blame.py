"""Which revision is to blame for a finding. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence


def blamed(table: str, revision: str, applied: Sequence[str], sources: Mapping[str, str]) -> str:
    """Returns the revision to blame for what is seen on *table* after *revision*.

    *revision* itself if its script names the table, else the last one of *applied* that does; if none does,
    *revision*. *sources*: the text of each script.
    """
    for one in [revision, *reversed(applied)]:
        if names_table(sources.get(one, ""), table):
            return one
    return revision


def names_table(source: str, table: str) -> bool:
    """Returns True if a script contains the name of a table as a word."""
    name = table.rpartition(".")[2]
    return bool(name) and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", source) is not None
