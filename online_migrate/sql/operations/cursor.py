"""The tokens of a statement, consumed from left to right; what is not known raises :class:`Unknown`. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from online_migrate.sql.catalog_effects.reading import folded
from online_migrate.sql.classification.queries import closing
from online_migrate.sql.classification.verdict import by_commas
from online_migrate.sql.lexer import Sort, Token
from online_migrate.sql.operations.operation import Unrecognized
from online_migrate.sql.operations.parts import Name


class Unknown(Exception):
    """A part of a statement that the reader does not know."""


class KeywordCursor:
    """The tokens of a statement, consumed from left to right: its keywords and marks."""

    def __init__(self, tokens: Sequence[Token], server: str) -> None:
        self.tokens = tokens
        self.server = server
        self.at = 0

    def __bool__(self) -> bool:
        return self.at < len(self.tokens)

    @property
    def rest(self) -> Sequence[Token]:
        """The tokens that are not consumed yet."""
        return self.tokens[self.at :]

    @property
    def next(self) -> str:
        """The next word or mark; empty at the end and for a quoted name."""
        return self.tokens[self.at].word if self else ""

    def word(self, offset: int) -> str:
        """Returns the word or mark *offset* tokens after the next one; empty if there is none."""
        at = self.at + offset
        return self.tokens[at].word if at < len(self.tokens) else ""

    def fail(self) -> Unknown:
        """Returns the exception that names the words at this position."""
        return Unknown(written(self.rest[:6]) or f"the end of {written(self.tokens[:6])}")

    # --- keywords --------------------------------------------------------------------------------

    def take(self, *words: str) -> bool:
        """Consumes *words* if all of them come next; returns whether they did."""
        if any(self.word(offset) != word for offset, word in enumerate(words)):
            return False
        self.at += len(words)
        return True

    def any_of(self, *words: str) -> str:
        """Consumes and returns the next word if it is one of *words*; otherwise returns an empty text."""
        found = self.next if self.next in words else ""
        self.at += bool(found)
        return found

    def expect(self, *words: str) -> None:
        """Consumes *words*, or raises :class:`Unknown`."""
        if not self.take(*words):
            raise self.fail()

    def end(self) -> None:
        """Raises :class:`Unknown` if tokens are left."""
        if self:
            raise self.fail()

    def guard(self) -> bool:
        """Consumes IF EXISTS or IF NOT EXISTS; returns whether it was there."""
        return self.take("IF", "EXISTS") or self.take("IF", "NOT", "EXISTS")

    @property
    def names(self) -> bool:
        """True if a name can come next."""
        return bool(self) and self.tokens[self.at].names

    def token(self) -> Token:
        """Consumes one token of any kind."""
        if not self:
            raise self.fail()
        self.at += 1
        return self.tokens[self.at - 1]


class Cursor(KeywordCursor):
    """Consumes names, values and groups in parentheses as well."""

    def name(self) -> str:
        """Consumes a name without qualifiers, and returns it as the catalog stores it."""
        if not self.names:
            raise self.fail()
        token = self.token()
        return folded(token.text, token.sort is Sort.NAME, self.server)

    def path(self) -> Name:
        """Consumes a name with its qualifiers."""
        parts = [self.name()]
        while self.next == "." and self.at + 1 < len(self.tokens) and self.tokens[self.at + 1].names:
            self.at += 1
            parts.append(self.name())
        return Name(parts[-1], parts[-2] if len(parts) > 1 else None)

    def paths(self) -> list[Name]:
        """Consumes names between commas."""
        found = [self.path()]
        while self.take(","):
            found.append(self.path())
        return found

    def value(self) -> str:
        """Consumes one name, number or text, with a sign if there is one, and returns it as written."""
        sign = self.any_of("-", "+")
        if not self or self.tokens[self.at].sort is Sort.MARK:
            raise self.fail()
        return sign + self.token().written

    def text(self) -> str:
        """Consumes a text in quotes, and returns its contents."""
        if not self or self.tokens[self.at].sort not in (Sort.STRING, Sort.NAME):
            raise self.fail()
        return unquoted(self.token())

    # --- parentheses -----------------------------------------------------------------------------

    def group(self) -> Cursor:
        """Consumes a pair of parentheses, and returns what is inside."""
        if self.next != "(":
            raise self.fail()
        start, end = self.at, closing(self.tokens, self.at)
        if self.tokens[end].word != ")":
            raise self.fail()
        self.at = end + 1
        return Cursor(self.tokens[start + 1 : end], self.server)

    def parts(self) -> list[Cursor]:
        """Consumes a pair of parentheses, and returns the parts between its commas."""
        return self.group().split()

    def split(self) -> list[Cursor]:
        """Consumes everything, and returns the parts between the commas."""
        rest, self.at = self.rest, len(self.tokens)
        return [Cursor(part, self.server) for part in by_commas(rest)]

    def remainder(self) -> Cursor:
        """Consumes everything, and returns it."""
        rest, self.at = self.rest, len(self.tokens)
        return Cursor(rest, self.server)

    def names_in_group(self) -> tuple[str, ...]:
        """Consumes a list of names in parentheses."""
        found = []
        for part in self.parts():
            found.append(part.name())
            part.end()
        return tuple(found)


def written(tokens: Sequence[Token]) -> str:
    """Returns the text of *tokens*; each comment and white space is one space."""
    parts = [f" {token.written}" if token.spaced else token.written for token in tokens]
    return "".join(parts).strip()


def unrecognized(tokens: Sequence[Token], unknown: Unknown) -> Unrecognized:
    """Returns the operation for *tokens*, of which a part is *unknown*."""
    head, part = written(tokens[:8]), str(unknown)
    return Unrecognized(what=head if part in head else f"{written(tokens[:3])} ... {part}")


def unquoted(token: Token) -> str:
    """Returns the contents of a text in quotes."""
    if token.sort is Sort.NAME:
        return token.text
    text = token.written
    if text.startswith("$"):
        tag = text[: text.index("$", 1) + 1]
        return text[len(tag) : -len(tag)]
    return text[text.index("'") + 1 : -1].replace("''", "'")
