"""An error in the form in which it is recorded. Pure."""

from __future__ import annotations

from typing import Any

MAX_ERROR_LENGTH = 2_000
"""The maximum number of characters of a recorded error: an exception may contain a whole file."""


def truncate_error(error: Any) -> str:
    """Returns an error as text, of limited length, with characters that every server can store."""
    text = str(error).encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return text if len(text) <= MAX_ERROR_LENGTH else f"{text[:MAX_ERROR_LENGTH]} ..."
