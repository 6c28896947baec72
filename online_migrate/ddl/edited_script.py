"""Notices that the script of a half-applied revision was changed in a part that has been executed.

The statements that were executed must be the first ones of the script, in their order. They are compared only
if the script's syntax tree has changed, and only if the script asks the database nothing: a script that looks
for a table before it creates it sends other statements when it is run again.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

from online_migrate import exceptions, state
from online_migrate.ddl.journal_entries import SCRIPT, STEP, JournalEntries
from online_migrate.python_source import syntax_tree
from online_migrate.sql.statement import shorten
from online_migrate.state import Entry


def source_digest(path: str) -> str:
    """Returns the digest of a script without its comments and its layout; empty if it cannot be read."""
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        tree = syntax_tree(Path(path).read_bytes())
        return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return ""


class EditedScript:
    """Compares the statements of a script with those that an earlier run executed.

    *source*: see :func:`source_digest`. *was_applied*: whether a statement that was begun is done.
    """

    def __init__(
        self,
        revision: str,
        command: str,
        source: str,
        entries: JournalEntries,
        was_applied: Callable[[Entry], bool],
    ) -> None:
        self._revision = revision
        self._command = command
        self._key = SCRIPT + source[: -len(SCRIPT)] if source else ""
        self._entries = entries
        self._was_applied = was_applied
        self._executed: list[Entry] = []
        self._position = 0
        self._number = 0

    def open(self) -> None:
        """Reads what earlier runs executed."""
        known = {entry.digest for entry in self._entries.scripts}
        changed = bool(self._key and known and self._key not in known)
        executed = [entry for entry in self._entries.statements if entry.digest[0] != STEP]
        self._executed = executed if changed else []
        self._position = self._number = 0

    def script_asks(self) -> None:
        """Is called when the script sends a query: what it sends then depends on the database."""
        self._executed = []

    def check(self, digest: str, occurrence: int, statement: str) -> None:
        """Is called for each statement of the script, before it is sent or skipped.

        Raises :class:`~online_migrate.exceptions.ScriptEdited` if another one was executed in its place.
        """
        self._number += 1
        if not self._executed:
            self._record()
            return
        expected = self._executed[0]
        if (expected.digest, expected.occurrence) == (digest, occurrence):
            self._position = expected.position
            self._next()
            return
        key = (digest, occurrence)
        later = any((entry.digest, entry.occurrence) == key for entry in self._executed)
        if not later and self._was_undone(expected):
            return
        if self._was_begun_only(expected):
            self._check_again(digest, occurrence, statement)
            return
        there, executed = shorten(statement, 80), shorten(expected.statement, 80)
        change = f"statement {self._number} is now {there!r}, and {executed!r} was executed there"
        if later:
            change = f"{executed!r}, which was executed before {there!r}, is missing or comes later"
        raise self._refusal(change)

    def _check_again(self, digest: str, occurrence: int, statement: str) -> None:
        """Compares the statement with the next one that was executed."""
        self._number -= 1
        self.check(digest, occurrence, statement)

    def end(self) -> None:
        """Is called at the end of the script: raises ScriptEdited if an executed statement is missing."""
        while self._executed:
            expected = self._executed[0]
            if not self._was_begun_only(expected):
                raise self._refusal(f"{shorten(expected.statement, 80)!r}, which was executed, is missing")

    def _next(self) -> None:
        self._executed = self._executed[1:]
        if not self._executed:
            self._record()

    def _record(self) -> None:
        """Records the script once all of its executed statements have been found in it."""
        known = self._entries.scripts
        if not self._key or any(entry.digest == self._key for entry in known):
            return
        entry = self._entries.new(self._key, 0, f"script of {self._revision}", counted=False)
        self._entries.put(dataclasses.replace(entry, state="done", done_at=state.now()))
        for old in known:
            self._entries.remove(old)

    def _was_undone(self, expected: Entry) -> bool:
        """Returns True if the record of a statement before *expected* was deleted: it was undone."""
        used = self._entries.positions
        missing = [p for p in range(self._position + 1, expected.position) if p not in used]
        if missing:
            self._position = missing[0]
        return bool(missing)

    def _was_begun_only(self, expected: Entry) -> bool:
        """Returns True, and deletes the record, if the run ended before the server executed the statement."""
        if expected.done or self._was_applied(expected):
            return False
        self._entries.remove(expected)
        self._next()
        return True

    def _refusal(self, change: str) -> exceptions.ScriptEdited:
        return exceptions.ScriptEdited(revision=self._revision, change=change, command=self._command)
