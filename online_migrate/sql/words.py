"""Statements that are read word by word. Pure.

sqlglot gives some statements back as they are, and takes the body of a trigger for several statements.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from online_migrate.sql.effect import Effect
from online_migrate.sql.parse import READERS
from online_migrate.sql.reading import Found, folded

_ROUTINES = frozenset({"PROCEDURE", "FUNCTION", "EVENT"})
_HEAD = 8000
"""So many characters are read word by word: the names are at the beginning, and a body may be long."""


class Words:
    """Statements that sqlglot gives back as they are, and bodies that it takes for several statements."""

    def __init__(self, statement: str, server: str) -> None:
        import sqlglot
        from sqlglot.errors import SqlglotError

        self._server = server
        read = READERS[server]
        self._tokens: Sequence[Any] = ()
        with contextlib.suppress(SqlglotError):
            self._tokens = sqlglot.tokenize(statement[:_HEAD], read)
        self.verb = self._word(0)
        if self.verb == "RENAME":
            # To sqlglot the rest is one word.
            with contextlib.suppress(SqlglotError):
                rest = [token for text in self._tokens[1:2] for token in sqlglot.tokenize(text.text, read)]
                self._tokens = [*self._tokens[:1], *rest]

    def _word(self, at: int) -> str:
        if at >= len(self._tokens) or self._tokens[at].token_type.name in ("IDENTIFIER", "STRING"):
            return ""
        return str(self._tokens[at].text).upper()

    def effects(self) -> Found | None:
        """None: its tree is to be read."""
        if self.verb == "CREATE":
            return self._created()
        if self.verb == "RENAME" and self._word(1) in ("TABLE", "TABLES"):
            return self._renamed()
        if self.verb == "ALTER" and self._word(1) == "TYPE":
            return self._altered_type()
        if self.verb == "ALTER" and "VALIDATE" in (self._word(at) for at in range(3, 8)):
            return self._validated()
        return None

    def _created(self) -> Found | None:
        kinds = _ROUTINES | {"TRIGGER"}
        heads = ("TABLE", "VIEW", "INDEX", "SELECT", "AS", "BEGIN")
        at = next((at for at in range(1, 24) if self._word(at) in kinds or self._word(at) in heads), 0)
        kind = self._word(at)
        if kind not in kinds:
            return None
        at += 1
        guarded = self._word(at) == "IF"
        at += 3 if guarded else 0
        schema, name, at = self._name(at)
        if not name:
            return Found(complete=False)
        table = self._table_after(at) if kind == "TRIGGER" else None
        what = "trigger" if kind == "TRIGGER" else "routine"
        if kind == "EVENT":
            return Found(complete=False)
        return Found([Effect(what, name, table, schema, guarded=guarded)])

    def _table_after(self, at: int) -> str | None:
        for place in range(at, min(at + 40, len(self._tokens))):
            if self._word(place) == "ON":
                return self._name(place + 1)[1] or None
        return None

    def _renamed(self) -> Found:
        effects: list[Effect] = []
        at = 2
        while at < len(self._tokens):
            old_schema, old, at = self._name(at)
            if not old or self._word(at) != "TO":
                return Found(complete=False)
            schema, new, at = self._name(at + 1)
            effects.append(Effect("table", old, None, old_schema, present=False))
            effects.append(Effect("table", new, None, schema))
            if self._word(at) not in (",", ";", ""):
                return Found(complete=False)
            at += 1
        return Found(effects)

    def _altered_type(self) -> Found:
        schema, name, at = self._name(2)
        if [self._word(at), self._word(at + 1)] != ["ADD", "VALUE"]:
            return Found(complete=False)
        at += 2
        guarded = self._word(at) == "IF"
        at += 3 if guarded else 0
        if at >= len(self._tokens):
            return Found(complete=False)
        return Found([Effect("enum value", self._tokens[at].text, name, schema, guarded=guarded)])

    def _validated(self) -> Found:
        at = 2
        while self._word(at) in ("IF", "EXISTS", "ONLY"):
            at += 1
        schema, table, at = self._name(at)
        if [self._word(at), self._word(at + 1)] != ["VALIDATE", "CONSTRAINT"]:
            return Found(complete=False)
        _none, name, _at = self._name(at + 2)
        facts = {"validated": True}
        return Found([Effect("constraint", name, table, schema, changed=True, facts=facts)])

    def _name(self, at: int) -> tuple[str | None, str, int]:
        """(schema, name, where the next word stands) of what is named at a place."""
        if at >= len(self._tokens):
            return None, "", at
        first = self._plain(at)
        if self._word(at + 1) == ".":
            return first, self._plain(at + 2), at + 3
        return None, first, at + 1

    def _plain(self, at: int) -> str:
        if at >= len(self._tokens):
            return ""
        token = self._tokens[at]
        return folded(str(token.text), token.token_type.name == "IDENTIFIER", self._server)
