"""Splits a SQL text into tokens as each server reads them. Pure.

sqlglot's tokenizer supports many servers and drops comments that some of them execute. These tokens decide
whether a statement may run without a lock, so an ambiguous text raises :class:`Unreadable` in
:func:`readings`.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import re
from collections.abc import Iterator, Sequence

from online_migrate.sql.parse import Unreadable

MYSQL = frozenset({"mysql", "mariadb"})
_SPACE = " \t\n\r\f\v"
_NOT_ASCII = r"[^\x00-\x7f]"
"""Not a range that begins at U+0080: Python would compile a set of all its characters, which takes 17 ms."""
_WORD = re.compile(rf"(?:[A-Za-z0-9_]|{_NOT_ASCII})(?:[A-Za-z0-9_$]|{_NOT_ASCII})*")
_NUMBER = re.compile(rf"\d+(\.\d*)?([eE][+-]?\d+)?(?![A-Za-z0-9_$]|{_NOT_ASCII})")
_VARIABLE = re.compile(r"@@?[A-Za-z0-9_.$]+")
_PLAIN = re.compile(r"""[^'"`\]\\]+""")
_DOLLAR = re.compile(rf"\$((?:[A-Za-z_]|{_NOT_ASCII})(?:[A-Za-z0-9_]|{_NOT_ASCII})*)?\$")
_EXECUTABLE = re.compile(r"/\*M?!\d*")
_NEWLINE = re.compile(r"\n")
_END_OF_LINE = re.compile(r"[\n\r]")
_CONTINUATION = re.compile(r"[ \t\f\v]*(?:--[^\n\r]*)?[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*[\n\r])*'")
"""Between two parts of one text of PostgreSQL: white space and comments, with a line break."""
_PREFIX = re.compile(r"[eEnNxXbB]|_[A-Za-z0-9]+")


class Sort(enum.Enum):
    """The kind of a token."""

    WORD = "a keyword or a name without quotes"
    NAME = "a quoted name; on MySQL and MariaDB also a text in double quotes"
    STRING = "a text"
    NUMBER = "a number"
    VARIABLE = "a variable of MySQL or MariaDB"
    MARK = "one other character"


@dataclasses.dataclass(frozen=True)
class Token:
    """A token, and the position in the text at which it ends."""

    sort: Sort
    text: str
    end: int = dataclasses.field(default=0, compare=False)
    written: str = dataclasses.field(default="", compare=False)
    """The token as the text has it, with its quotes."""
    spaced: bool = dataclasses.field(default=True, compare=False)
    """True: white space or a comment comes before it."""

    @functools.cached_property
    def word(self) -> str:
        """The word in upper case, or the mark; empty for a token that cannot be a keyword."""
        if self.sort is Sort.MARK:
            return self.text
        return self.text.upper() if self.sort is Sort.WORD and self.text.isascii() else ""

    @property
    def names(self) -> bool:
        """True if the token can be a name."""
        return self.sort in (Sort.WORD, Sort.NAME)


def readings(text: str, server: str) -> tuple[tuple[Token, ...], ...]:
    """Returns the different ways in which a server of this kind may read *text*, without empty readings.

    MySQL and MariaDB skip or execute ``/*! ... */`` depending on their version, and treat a backslash in a
    string as an escape depending on ``sql_mode``; PostgreSQL depending on ``standard_conforming_strings``.
    Raises :class:`Unreadable`, also if only one of the ways fails and *text* may hold several statements.
    """
    found, failure = _read(text, server)
    if failure is not None and (not found or ";" in text):
        raise Unreadable(failure)
    return tuple(tokens for tokens in found if tokens) or ((),)


def successful_readings(text: str, server: str) -> tuple[tuple[Token, ...], ...]:
    """Returns the different readings of *text* in which every comment and quote is closed.

    A text that the server accepts is read in one of these ways. It may also be empty: only a comment.
    """
    return _read(text, server)[0]


@functools.lru_cache(maxsize=512)
def _read(text: str, server: str) -> tuple[tuple[tuple[Token, ...], ...], str | None]:
    """Returns the different readings of *text*, and the reason why another reading failed; None: none did."""
    found: list[tuple[Token, ...]] = []
    failure: str | None = None
    # Without a backslash and without a comment every reading is the same.
    for backslash in (True, False) if server != "sqlite" and "\\" in text else (False,):
        for execute in (True, False) if server in MYSQL and "/*" in text else (True,):
            try:
                tokens = tuple(_Reader(text, server, backslash=backslash, execute=execute).tokens())
            except Unreadable as error:
                failure = str(error)
            else:
                if tokens not in found:
                    found.append(tokens)
    return tuple(found), failure


def with_comments_executed(text: str, server: str) -> str:
    """Returns *text* with the contents of each ``/*! ... */`` in place of the comment.

    Returns *text* itself for a server that executes no comments, and if it cannot be read.
    """
    if server not in MYSQL or "/*" not in text:
        return text
    reader = _Reader(text, server)
    try:
        collections.deque(reader.tokens(), maxlen=0)
    except Unreadable:
        return text
    parts, at = [], 0
    for start, content, end in reader.executable:
        parts += [text[at:start], " ", text[content : end - 2], " "]
        at = end
    return "".join((*parts, text[at:]))


class _Reader:
    """One reading of a text."""

    def __init__(self, text: str, server: str, *, backslash: bool = True, execute: bool = True) -> None:
        self._text = text
        self._server = server
        self._mysql = server in MYSQL
        self._backslash = backslash and server != "sqlite"
        self._execute = execute
        self._at = 0
        self._start = 0
        self._last = -1
        self.executable: list[tuple[int, int, int]] = []
        """The executable comments that were read: where each begins, its contents begin, and it ends."""

    def tokens(self) -> Iterator[Token]:
        while self._at < len(self._text):
            if self._text[self._at] in _SPACE:
                self._at += 1
            elif self._starts_comment():
                yield from self._comment()
            else:
                self._start = self._at
                yield self._token()
                self._last = self._at

    def _next(self, length: int = 1) -> str:
        return self._text[self._at : self._at + length]

    # --- comments --------------------------------------------------------------------------------

    def _starts_comment(self) -> bool:
        two = self._next(2)
        if two == "--":
            after = self._text[self._at + 2 : self._at + 3]
            return not self._mysql or not after or after in _SPACE or ord(after) < 32
        return two == "/*" or (self._mysql and two[0] == "#")

    def _comment(self) -> Iterator[Token]:
        if self._next(2) != "/*":
            # PostgreSQL ends a comment at a carriage return as well; the other servers do not.
            end = (_END_OF_LINE if self._server == "postgresql" else _NEWLINE).search(self._text, self._at)
            self._at = len(self._text) if end is None else end.start()
            return
        start = self._at
        executable = _EXECUTABLE.match(self._text, start) if self._mysql else None
        self._at = self._end_of_comment()
        if executable is None:
            return
        content = self._text[executable.end() : self._at - 2]
        if "/*" in content:
            raise self._unreadable("a comment inside a comment that the server executes", start)
        self.executable.append((start, executable.end(), self._at))
        if self._execute:
            inner = _Reader(content, self._server, backslash=self._backslash)
            yield from (dataclasses.replace(token, end=self._at) for token in inner.tokens())

    def _end_of_comment(self) -> int:
        depth, at = 0, self._at
        while True:
            found = re.compile(r"/\*|\*/").search(self._text, at)
            if found is None:
                raise self._unreadable("a comment that is not closed", self._at)
            at = found.end()
            if found.group() == "*/":
                depth -= 1
            elif depth == 0 or self._server == "postgresql":
                depth += 1
            if depth == 0:
                return at

    # --- tokens ----------------------------------------------------------------------------------

    def _made(self, sort: Sort, text: str) -> Token:
        """Returns the token that ends here."""
        written = self._text[self._start : self._at]
        return Token(sort, text, self._at, written, self._start != self._last)

    def _token(self) -> Token:
        character = self._next()
        if character == "'":
            return self._quoted("'", Sort.STRING, backslash=self._backslash)
        if character == '"':
            return self._quoted('"', Sort.NAME, backslash=self._backslash and self._mysql)
        if character == "`" and self._server != "postgresql":
            return self._quoted("`", Sort.NAME)
        if character == "[" and self._server == "sqlite":
            return self._quoted("]", Sort.NAME, doubled=False)
        dollar = _DOLLAR.match(self._text, self._at) if self._server == "postgresql" else None
        if dollar is not None:
            return self._dollar_quoted(dollar.group())
        for sort, pattern in ((Sort.VARIABLE, _VARIABLE), (Sort.NUMBER, _NUMBER), (Sort.WORD, _WORD)):
            found = pattern.match(self._text, self._at) if sort is not Sort.VARIABLE or self._mysql else None
            if found is not None:
                return self._word(sort, found.group())
        self._at += 1
        return self._made(Sort.MARK, character)

    def _word(self, sort: Sort, text: str) -> Token:
        self._at += len(text)
        if sort is Sort.WORD and self._next() == "'" and _PREFIX.fullmatch(text):
            escapes = self._backslash or (self._server == "postgresql" and text in "eE")
            return self._quoted("'", Sort.STRING, backslash=escapes)
        return self._made(sort, text)

    def _quoted(self, quote: str, sort: Sort, *, backslash: bool = False, doubled: bool = True) -> Token:
        start, parts = self._at, []
        self._at += 1
        while self._at < len(self._text):
            character = self._next()
            if character == "\\" and backslash:
                parts.append(self._next(2))
                self._at += 2
            elif character == quote and doubled and self._next(2) == quote * 2:
                parts.append(quote)
                self._at += 2
            elif character == quote:
                self._at += 1
                goes_on = _CONTINUATION.match(self._text, self._at) if self._continues(sort) else None
                if goes_on is not None:
                    self._at = goes_on.end()
                    continue
                return self._made(sort, "".join(parts) if sort is Sort.NAME else "")
            else:
                run = _PLAIN.match(self._text, self._at)
                parts.append(run.group() if run else character)
                self._at += len(parts[-1])
        raise self._unreadable("a quoted text or name that is not closed", start)

    def _continues(self, sort: Sort) -> bool:
        """True if a text of this server goes on after a line break, with the escapes of its first part."""
        return sort is Sort.STRING and self._server == "postgresql"

    def _dollar_quoted(self, tag: str) -> Token:
        end = self._text.find(tag, self._at + len(tag))
        if end < 0:
            raise self._unreadable("a dollar-quoted text that is not closed", self._at)
        self._at = end + len(tag)
        return self._made(Sort.STRING, "")

    def _unreadable(self, what: str, start: int) -> Unreadable:
        line = self._text.count("\n", 0, start) + 1
        return Unreadable(f"line {line} starts {what}")


# --- statements ----------------------------------------------------------------------------------

_ROUTINES = frozenset({"TRIGGER", "PROCEDURE", "FUNCTION", "EVENT"})
_WITHOUT_BODY = frozenset(
    {"VIEW", "TABLE", "TYPE", "INDEX", "SEQUENCE", "ROLE", "USER", "SCHEMA", "DATABASE", "DOMAIN"}
)
_BLOCKS = frozenset({"IF", "LOOP", "WHILE", "REPEAT", "FOR"})
_BEFORE_STATEMENT = frozenset({";", ":", "THEN", "ELSE", "DO", "BEGIN", "LOOP", "REPEAT", "ROW"})

_LONGEST_HEAD = 16
"""The number of words within which CREATE names the kind of a routine."""


def split(tokens: Sequence[Token]) -> list[list[Token]]:
    """Splits tokens into statements; a semicolon in the body of a trigger or a routine does not end one.

    A name such as ``begin`` does not begin a body, for example of a parameter or of a column of a view.
    Raises :class:`Unreadable` for a body that does not end.
    """
    parts: list[list[Token]] = [[]]
    depth, parentheses, creates, has_body = 0, 0, False, False
    for token in tokens:
        part, word = parts[-1], token.word
        if word == ";" and depth == 0:
            parts.append([])
            continue
        if not part:
            creates, has_body, parentheses = word == "CREATE", False, 0
        parentheses += {"(": 1, ")": -1}.get(word, 0)
        creates = creates and (has_body or word not in _WITHOUT_BODY)
        if has_body and (depth or (not parentheses and part[-1].word not in _ROUTINES)):
            depth += _change_of_depth(part, word)
        part.append(token)
        if creates and len(part) <= _LONGEST_HEAD and word in _ROUTINES:
            has_body = True
    if depth != 0:
        raise Unreadable("the body of a routine or a trigger is not closed")
    return [part for part in parts if part]


def _change_of_depth(part: Sequence[Token], word: str) -> int:
    """Returns the change of the block depth that a word of a body causes."""
    before = part[-1].word
    if word == "END":
        return -1
    if before == "END":
        return 0  # END IF, END LOOP, END CASE
    if word in ("BEGIN", "CASE"):
        return 1
    return int(word in _BLOCKS and before in _BEFORE_STATEMENT)
