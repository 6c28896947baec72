"""What the catalog shows of the statements that a revision has begun."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from sqlalchemy.engine import Connection

from online_migrate.dialects import Dialect
from online_migrate.sql.catalog_effects.effect import Expected, Verdict, judge
from online_migrate.sql.operations.parts import Name
from online_migrate.sql.statement import first_word
from online_migrate.state import Entry

_EFFECTS = 60_000
"""Characters of the effects that are stored, as JSON in ASCII."""


class StatementEffects:
    """Compares the effects of statements with the catalog.

    *connection*: the connection on which the catalog is read. *commit*: the transaction is ended after each
    read, because the connection has no other use.
    """

    def __init__(self, dialect: Dialect, connection: Connection, *, commit: bool) -> None:
        self._dialect = dialect
        self._connection = connection
        self._ends_transaction = commit

    def expected(self, statement: str) -> Expected:
        """Returns the effects that *statement* will have."""
        return self._dialect.expected(statement)

    def before(self, expected: Expected) -> str:
        """Returns, as text for the journal, the effects of a statement and which of them hold already."""
        return _stored(expected, self._held(expected))

    def before_guarded(self, statement: str) -> str | None:
        """Returns the same for a CREATE ... IF NOT EXISTS; None for any other statement."""
        if first_word(statement, self._dialect.name) != "CREATE" or "EXISTS" not in statement.upper():
            return None
        return self.before(self.expected(statement))

    def verdict(self, entry: Entry) -> Verdict:
        """Returns what the catalog shows of a statement that was begun."""
        if entry.before_text is None:
            return Verdict.NOT_DONE
        expected, before = self._recorded(entry)
        verdict = judge(before, self._held(expected))
        if verdict is Verdict.UNDECIDED and expected.repeatable:
            return Verdict.NOT_DONE
        return verdict

    def taken_away(self, entry: Entry) -> set[str]:
        """Returns the names of the columns and tables that are gone once the statement is done."""
        if entry.before_text is None:
            return set()
        expected, _before = self._recorded(entry)
        return {e.name for e in expected.effects if not e.present and e.object in ("column", "table")}

    def reason(self, entry: Entry) -> str:
        """Returns what the catalog shows, as text for the operator."""
        expected, before = self._recorded(entry)
        if not expected.effects:
            return "its effect cannot be read from the catalog"
        words = {True: "in effect", False: "not in effect", None: "different or not readable"}
        pairs = zip(expected.effects, before, self._held(expected), strict=True)
        return "; ".join(
            f"{effect}{'' if effect.present else ' (dropped)'}: before {words[earlier]}, now {words[now]}"
            for effect, earlier, now in pairs
        )

    def undo(self, statement: str) -> str | None:
        """Returns the definition of what *statement* drops, as text for the journal; None if it has none."""
        if first_word(statement, self._dialect.name) != "DROP":
            return None
        definition = self._dialect.undo_of_drop(self._connection, statement)
        self._commit()
        return None if definition is None else json.dumps(definition)

    def created_tables(self, entry: Entry) -> list[Name]:
        """Returns the tables of a CREATE TABLE that were not there before it was sent."""
        if entry.before_text is None:
            return []
        expected, before = self._recorded(entry)
        pairs = zip(expected.effects, before, strict=False)
        return [
            Name(effect.name, effect.schema)
            for effect, held in pairs
            if effect.object == "table" and effect.present and not effect.changed and held is False
        ]

    def _recorded(self, entry: Entry) -> tuple[Expected, list[bool | None]]:
        """Returns the effects of a statement, and which of them held before it was sent."""
        try:
            data = json.loads(entry.before_text or "")
        except ValueError:
            data = None
        if isinstance(data, dict):
            return Expected.from_data(data["expected"]), data["before"]
        # An entry of an older version of the engine, which did not record them. A statement that adds or
        # removes an object succeeds only if the effect did not hold before; for a change nothing is known.
        expected = self._dialect.expected(entry.statement)
        return expected, [None if effect.changed else False for effect in expected.effects]

    def _held(self, expected: Expected) -> list[bool | None]:
        held = [self._dialect.holds(self._connection, effect) for effect in expected.effects]
        self._commit()
        return held

    def _commit(self) -> None:
        if self._ends_transaction:
            self._connection.commit()


def _stored(expected: Expected, held: Sequence[bool | None]) -> str:
    """Returns the effects and which of them hold, as stored; only the first ones if there are too many."""
    for count in (len(held), 100, 20, 0):
        part = dataclasses.replace(expected, effects=expected.effects[:count])
        text = json.dumps({"expected": part.to_data(), "before": list(held[:count])})
        if len(text) <= _EFFECTS:
            break
    return text
