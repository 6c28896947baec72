"""Reads the options of a table of MySQL and MariaDB. Pure."""

from __future__ import annotations

from online_migrate.sql.lexer import Sort
from online_migrate.sql.operations.cursor import Cursor, unquoted

_OPTION_NAMES = """
    AUTO_INCREMENT AUTOEXTEND_SIZE AVG_ROW_LENGTH CHARSET CHECKSUM COLLATE COMMENT COMPRESSION CONNECTION
    DELAY_KEY_WRITE ENCRYPTION ENCRYPTED ENCRYPTION_KEY_ID ENGINE ENGINE_ATTRIBUTE INSERT_METHOD
    KEY_BLOCK_SIZE MAX_ROWS MIN_ROWS PACK_KEYS PAGE_CHECKSUM PAGE_COMPRESSED PAGE_COMPRESSION_LEVEL
    ROW_FORMAT SECONDARY_ENGINE_ATTRIBUTE SEQUENCE STATS_AUTO_RECALC STATS_PERSISTENT STATS_SAMPLE_PAGES
    TABLESPACE TABLE_CHECKSUM TRANSACTIONAL
"""
_OPTIONS = frozenset(_OPTION_NAMES.split())


def take_mysql_option(cursor: Cursor) -> tuple[str, str]:
    """Consumes one option, and returns its name in lower case and its value."""
    cursor.take("DEFAULT")
    if cursor.take("CHARACTER", "SET"):
        name = "charset"
    elif cursor.any_of("WITH") and cursor.take("SYSTEM", "VERSIONING"):
        return "system versioning", "with"
    elif cursor.next in _OPTIONS:
        name = cursor.token().word.lower()
    else:
        raise cursor.fail()
    cursor.take("=")
    token = cursor.rest[0] if cursor else None
    if token is not None and token.sort is Sort.STRING:
        return name, unquoted(cursor.token())
    return name, cursor.value()
