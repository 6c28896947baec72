"""The statements that ``op.create_sync`` has made in this process.

A trigger is never proved to be harmless by its text. These are known: the engine has rendered them, and they
only assign the columns of the shape that a statement did not write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_texts: dict[str, object] = {}
"""Each statement with the definition of its sync."""
_OBJECT = re.compile(r"online_migrate_sync_\w+")


def remember(texts: Iterable[str], definition: object = None) -> None:
    """Stores statements that create a sync, with its definition."""
    _texts.update((text.strip(), definition) for text in texts)


def definition_of(text: str) -> object:
    """Returns the definition of the sync that a statement creates; None if it creates none."""
    return _texts.get(text.strip())


def creates_sync(text: str) -> bool:
    """Returns True for a statement that was stored."""
    return text.strip() in _texts


def sync_object(text: str) -> str:
    """Returns the name of the trigger, or of the function, that the statement creates."""
    found = _OBJECT.search(text)
    return "" if found is None else found.group()
