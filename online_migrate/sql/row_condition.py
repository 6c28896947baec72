"""Recognises a condition on one row whose value depends on nothing but that row. Pure.

It is an allow-list: each word of the text is a column of the row, a known keyword, or a known function.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from online_migrate.sql.parse import READERS, Unreadable

_KEYWORDS = frozenset(
    (
        *("AND", "OR", "NOT", "XOR", "IS", "NULL", "TRUE", "FALSE", "IN", "BETWEEN", "LIKE"),
        *("ESCAPE", "CASE", "WHEN", "THEN", "ELSE", "END", "AS", "DIV", "MOD", "NEW", "SIGNED"),
        *("UNSIGNED", "INTEGER", "CHAR", "BINARY", "DECIMAL", "DATE", "DATETIME", "DOUBLE"),
    )
)
_FUNCTIONS = frozenset(
    (
        *("ABS", "ASCII", "BIT_LENGTH", "CAST", "CEIL", "CEILING", "CHAR_LENGTH"),
        *("CHARACTER_LENGTH", "COALESCE", "CONCAT", "CONCAT_WS", "CRC32", "EXTRACT", "FLOOR"),
        *("GREATEST", "HEX", "IF", "IFNULL", "INSTR", "ISNULL", "JSON_EXTRACT", "JSON_UNQUOTE"),
        *("JSON_VALID", "LEAST", "LEFT", "LENGTH", "LOCATE", "LOWER", "LPAD", "LTRIM", "MD5"),
        *("MOD", "NULLIF", "OCTET_LENGTH", "REPLACE", "REVERSE", "RIGHT", "ROUND", "RPAD"),
        *("RTRIM", "SHA1", "SHA2", "SIGN", "STRCMP", "SUBSTR", "SUBSTRING", "TRIM", "TRUNCATE"),
        *("UNHEX", "UPPER"),
    )
)


def unknown_parts(text: str, server: str, columns: Collection[str]) -> list[str]:
    """Returns the words and operators of *text* that are not known to depend on the row alone.

    *columns*: those of the row; each is named ``NEW.column``. Raises
    :class:`~online_migrate.sql.parse.Unreadable`.
    """
    return list(dict.fromkeys(_unknown(_tokens(text, server), frozenset(columns))))


def values_used(text: str, server: str, columns: Collection[str]) -> list[str]:
    """Returns those of *columns* that *text* uses in another way than ``NEW.column IS [NOT] NULL``."""
    tokens = [word for word, _quoted in _tokens(text, server)]
    found = []
    for i, word in enumerate(tokens):
        if word in columns and i >= 2 and tokens[i - 2].upper() == "NEW":
            after = [following.upper() for following in tokens[i + 1 : i + 4]]
            if after[:2] != ["IS", "NULL"] and after != ["IS", "NOT", "NULL"]:
                found.append(word)
    return list(dict.fromkeys(found))


def _unknown(tokens: list[tuple[str, bool]], columns: frozenset[str]) -> Iterator[str]:
    for i, (word, quoted) in enumerate(tokens):
        following = tokens[i + 1][0] if i + 1 < len(tokens) else ""
        is_column = i >= 2 and tokens[i - 1][0] == "." and tokens[i - 2][0].upper() == "NEW"
        if is_column:
            if word not in columns:
                yield word
        elif quoted or not (word[:1].isalpha() or word[:1] in "_@/"):
            continue
        elif word[:1] in "@/":
            yield word
        elif following == "(" and word.upper() in _FUNCTIONS:
            continue
        elif not _KEYWORDS.issuperset(word.upper().split()):
            yield word  # a token may be a type of two words: SIGNED INTEGER


def _tokens(text: str, server: str) -> list[tuple[str, bool]]:
    """Returns the tokens of *text*: (text, is a quoted name or a string)."""
    import sqlglot
    from sqlglot import TokenType
    from sqlglot.errors import SqlglotError

    quoted = (TokenType.IDENTIFIER, TokenType.STRING)
    try:
        found = sqlglot.tokenize(text, read=READERS[server])
    except SqlglotError as error:
        raise Unreadable(str(error)) from error
    return [(token.text, token.token_type in quoted) for token in found]
