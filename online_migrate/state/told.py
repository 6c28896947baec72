"""Texts that come from anywhere, an error message for one, as the bookkeeping tables can hold them."""

from __future__ import annotations

from typing import overload

from sqlalchemy.engine import Connection

from online_migrate.dialects import dialect_of


@overload
def storable(connection: Connection, text: str) -> str: ...
@overload
def storable(connection: Connection, text: None) -> None: ...
def storable(connection: Connection, text: str | None) -> str | None:
    r"""*text* with an escape such as ``\u0436`` for each character that the database cannot hold.

    To record why a row failed must not fail itself.
    """
    if text is None or (text.isascii() and "\0" not in text):
        return text
    encoding = dialect_of(connection).text_encoding(connection)
    return text.replace("\0", r"\x00").encode(encoding, "backslashreplace").decode(encoding)
