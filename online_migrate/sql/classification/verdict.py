"""The classification of a statement by its impact on rows and schema, derived from its text. Pure."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

from online_migrate.sql.lexer import Sort, Token


class Impact(enum.Enum):
    """The impact of a statement."""

    READ = "changes nothing"
    ROWS = "writes rows"
    DESTRUCTIVE = "may drop data or definitions: runs only under the lock"
    ADDITIVE = "adds or rebuilds without loss: safe without the lock"
    CONTROL = "changes the transaction, the lock or the session under which rows are counted"
    REFUSED = "not known to be safe, and it cannot run under the lock"


@dataclasses.dataclass(frozen=True)
class Classification:
    """The impact of a statement; *reason* and *hint* are used when it is refused."""

    impact: Impact
    reason: str = ""
    hint: str = ""
    recorded: bool = True
    """False: a query or a setting, which the journal neither records nor skips."""
    in_place: bool = False
    """ADDITIVE only if the server converts no value; with ``ALGORITHM=INPLACE`` it refuses a conversion."""
    rewinds: bool = False
    """It rolls back to a savepoint, which releases the locks acquired after the savepoint."""


READ = Classification(Impact.READ, recorded=False)
ROWS = Classification(Impact.ROWS)
DESTRUCTIVE = Classification(Impact.DESTRUCTIVE)
ADDITIVE = Classification(Impact.ADDITIVE)
IN_PLACE = Classification(Impact.ADDITIVE, in_place=True)

LATER = "move it into a contract revision after this one, with requires = (): there it runs without the lock"


def refused(reason: str, hint: str = LATER, *, recorded: bool = True) -> Classification:
    """Returns REFUSED with the reason, and with the safe form as the hint."""
    return Classification(Impact.REFUSED, reason, hint, recorded=recorded)


def control(reason: str, hint: str) -> Classification:
    """Returns CONTROL with the reason for which it is refused in a script that holds a lock."""
    return Classification(Impact.CONTROL, reason, hint, recorded=False)


class Words:
    """The tokens of a statement, consumed from left to right."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._tokens)

    @property
    def rest(self) -> Sequence[Token]:
        """The tokens that are not consumed yet."""
        return self._tokens[self._at :]

    @property
    def next(self) -> str:
        """The next word or mark; empty at the end."""
        return self._tokens[self._at].word if self else ""

    def take(self, *words: str) -> bool:
        """Consumes *words* if all of them come next; returns whether they did."""
        if tuple(token.word for token in self.rest[: len(words)]) != words:
            return False
        self._at += len(words)
        return True

    def any_of(self, *words: str) -> str:
        """Consumes and returns the next word if it is one of *words*; otherwise returns an empty text."""
        found = self.next if self.next in words else ""
        self._at += bool(found)
        return found

    def path(self) -> Sequence[Token]:
        """Consumes a name with its qualifiers, and returns its parts; empty if there is no name."""
        if not self or not self.rest[0].names:
            return ()
        start = self._at
        self._at += 1
        while self.next == "." and len(self.rest) > 1 and self.rest[1].names:
            self._at += 2
        return self._tokens[start : self._at : 2]

    def name(self) -> str:
        """Consumes a name with its qualifiers and returns its last part; empty if there is no name."""
        path = self.path()
        return path[-1].text if path else ""

    def value(self) -> bool:
        """Consumes one name, number, text or variable; returns whether there was one."""
        if not self or self.rest[0].sort is Sort.MARK:
            return False
        self._at += 1
        return True

    def number(self) -> bool:
        """Consumes a number; returns whether there was one."""
        if not self or self.rest[0].sort is not Sort.NUMBER:
            return False
        self._at += 1
        return True

    def any_(self) -> None:
        """Consumes one token of any kind."""
        self._at += bool(self)


def by_commas(tokens: Sequence[Token]) -> list[Sequence[Token]]:
    """Returns the parts between the commas that are not inside parentheses or brackets."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token.word, 0)
        if depth == 0 and token.word == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return [*parts]
