"""What a statement does to the rows and the schema, as far as its text tells. Pure."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

from online_migrate.sql.lexer import Sort, Token


class Impact(enum.Enum):
    """What a statement does."""

    READ = "changes nothing"
    ROWS = "writes rows"
    DESTRUCTIVE = "may take away data or definitions: only under the lock"
    ADDITIVE = "adds or rebuilds, and loses nothing: safe without the lock"
    CONTROL = "changes the transaction, the lock or the session under which rows are counted"
    REFUSED = "not known to be safe, and it cannot run under the lock"


@dataclasses.dataclass(frozen=True)
class Classification:
    """The impact of a statement; *reason* and *hint* are for a refusal."""

    impact: Impact
    reason: str = ""
    hint: str = ""
    recorded: bool = True
    """False: a query or a setting. The journal neither records nor skips it."""
    in_place: bool = False
    """ADDITIVE only if the server converts no value, which ``ALGORITHM=INPLACE`` makes it say."""
    rewinds: bool = False
    """It rolls back to a savepoint, and with it a lock that was taken later."""


READ = Classification(Impact.READ, recorded=False)
ROWS = Classification(Impact.ROWS)
DESTRUCTIVE = Classification(Impact.DESTRUCTIVE)
ADDITIVE = Classification(Impact.ADDITIVE)
IN_PLACE = Classification(Impact.ADDITIVE, in_place=True)

LATER = "move it into a contract revision after this one, with requires = (): it runs there without the lock"


def refused(reason: str, hint: str = LATER, *, recorded: bool = True) -> Classification:
    """REFUSED, with the reason and what to write instead."""
    return Classification(Impact.REFUSED, reason, hint, recorded=recorded)


def control(reason: str, hint: str) -> Classification:
    """CONTROL, with the reason for which a script with a lock is refused."""
    return Classification(Impact.CONTROL, reason, hint, recorded=False)


class Words:
    """The tokens of a statement, read from the left."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._tokens)

    @property
    def rest(self) -> Sequence[Token]:
        """The tokens that are not read yet."""
        return self._tokens[self._at :]

    @property
    def next(self) -> str:
        """The next word or mark."""
        return self._tokens[self._at].word if self else ""

    def take(self, *words: str) -> bool:
        """Reads these words if they come next, all of them."""
        if tuple(token.word for token in self.rest[: len(words)]) != words:
            return False
        self._at += len(words)
        return True

    def any_of(self, *words: str) -> str:
        """Reads the next word if it is one of these, and gives it."""
        found = self.next if self.next in words else ""
        self._at += bool(found)
        return found

    def name(self) -> str:
        """Reads a name with its qualifiers and gives its last part; empty: there is none."""
        if not self or not self.rest[0].names:
            return ""
        found = self.rest[0].text
        self._at += 1
        while self.next == "." and len(self.rest) > 1 and self.rest[1].names:
            found = self.rest[1].text
            self._at += 2
        return found

    def value(self) -> bool:
        """Reads one name, number, text or variable."""
        if not self or self.rest[0].sort is Sort.MARK:
            return False
        self._at += 1
        return True

    def number(self) -> bool:
        """Reads a number."""
        if not self or self.rest[0].sort is not Sort.NUMBER:
            return False
        self._at += 1
        return True

    def any_(self) -> None:
        """Reads one token, whatever it is."""
        self._at += bool(self)


def by_commas(tokens: Sequence[Token]) -> list[Sequence[Token]]:
    """The parts between the commas that stand in no parenthesis."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token.word, 0)
        if depth == 0 and token.word == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return [*parts]
