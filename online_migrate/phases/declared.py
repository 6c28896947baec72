"""The exceptions that a script declares: operations that are accepted although they are not additive. Pure.

A key is the id of a rule (``drop-column``), a rule with its object (``drop-column volumes.size``), or the
text of a statement. White space and the case of words do not count outside of quotes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from online_migrate.phases.rules import RULES
from online_migrate.phases.verdict import Verdict
from online_migrate.sql.lexer import Sort, Token, successful_readings


class DeclaredExceptions:
    """The exceptions of one script, and which of them have matched so far.

    *reasons*: key -> reason. *server*: postgresql, mysql, mariadb or sqlite.
    """

    def __init__(self, reasons: Mapping[str, str] | Iterable[tuple[str, str]], server: str) -> None:
        self._reasons = dict(reasons)
        self._server = server
        self._texts = {key: _normal(key, server) for key in self._reasons}
        self._matched: set[str] = set()
        self._covered: set[str] = set()

    @property
    def unmatched(self) -> list[str]:
        """The keys that have matched nothing, in the order of their declaration."""
        return [key for key in self._reasons if key not in self._matched]

    def accepts(self, statement: str, verdict: Verdict) -> bool:
        """Returns True if a key names the operation of *verdict*, or *statement*, which contains it.

        Once a key has matched, the same operation is accepted in each form of its statement: rendered, the
        text contains the values; executed, it has parameters.
        """
        if not self._reasons:
            return False
        text = _normal(statement, self._server)
        for key in self._reasons:
            if self._texts[key] == text or _folded(key) in (_folded(verdict.rule), _folded(str(verdict))):
                self._matched.add(key)
                self._covered.add(str(verdict))
            elif _names_table(key, verdict):
                # The operation may be additive on this server, or have another form: the key is not misspelt.
                self._matched.add(key)
        return str(verdict) in self._covered


def _folded(key: str) -> str:
    return " ".join(key.split()).casefold()


def _names_table(key: str, verdict: Verdict) -> bool:
    """Returns True if *key* is a rule with an object of the table that *verdict* is about."""
    rule, _, subject = _folded(key).partition(" ")
    table = _folded(verdict.object).partition(".")[0]
    return rule in RULES and bool(subject) and subject.partition(".")[0] == table


def _normal(text: str, server: str) -> tuple[str, ...]:
    """Returns the tokens of a statement in a form that is the same for each way to write it."""
    found = successful_readings(text, server)
    if not found or not found[0]:
        return tuple(text.split())
    tokens = [token for token in found[0] if token.word != ";"]
    return tuple(_word(token) for token in tokens)


def _word(token: Token) -> str:
    if token.sort is Sort.NAME:
        return token.text  # "size" is size; "Size" is another name
    return token.text.casefold() if token.sort is Sort.WORD else token.written
