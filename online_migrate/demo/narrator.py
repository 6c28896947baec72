"""How the story is told: chapters, command lines with their results, and the ledger."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

import click

from online_migrate.demo.ledger import Difference
from online_migrate.demo.traffic import Record, Wait
from online_migrate.exceptions import Blocker

_WIDTH = 96
_SHOWN = 4
"""Blockers, and rows that are not right, shown in full."""

CHANGES = (
    ("", "the change", "old shape", "new shape", "rows are moved by"),
    ("1", "another name", "volumes.name", "volumes.display_name", "Backfill"),
    ("2", "another unit and type", "volumes.size_gb", "volumes.size_bytes", "Backfill"),
    ("3", "one column into two", "accounts.full_name", "accounts.first_name, .last_name", "@row_migration"),
    ("4", "into another table", "volumes.attached_to", "attachments.host", "@batch_migration"),
    ("5", "must not be empty", "-", "volumes.zone NOT NULL", "Backfill"),
)


class Narrator:
    """Says what happens, a line at a time."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        self._echo = echo
        self._chapter = 0

    def title(self, text: str) -> None:
        """What all of it is about."""
        self._echo(click.style(text, bold=True))

    def chapter(self, title: str, *sentences: str) -> None:
        """The next chapter, and what is to be known before its first command."""
        self._chapter += 1
        self._echo("")
        self._echo(click.style(f"{self._chapter}. {title}", bold=True))
        self.text(*sentences)

    def text(self, *sentences: str) -> None:
        """Some sentences."""
        for line in textwrap.wrap(" ".join(sentences), _WIDTH - 3):
            self.line(line)

    def line(self, line: str) -> None:
        """One line, as it is."""
        self._echo(f"   {line}")

    def command(self, line: str) -> None:
        """A command line, as an operator would type it."""
        self._echo("")
        self._echo(click.style(f"   $ online-migrate {line}", fg="cyan"))

    def result(self, line: str, *, colour: str | None = None) -> None:
        """A line of a command's result."""
        self._echo("     " + (click.style(line, fg=colour) if colour else line))

    def aside(self, line: str) -> None:
        """What happened beside the command."""
        self._echo(click.style(f"     ~ {line}", dim=True))

    def ending(self, *lines: str) -> None:
        """Where to go from here."""
        self._echo("")
        for line in lines:
            self.line(line)

    def changes(self) -> None:
        """The five changes."""
        widths = [max(len(row[column]) for row in CHANGES) for column in range(len(CHANGES[0]))]
        self._echo("")
        for row in CHANGES:
            self.line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def blockers(self, blockers: Sequence[Blocker]) -> None:
        """What stands before contract."""
        for blocker in blockers[:_SHOWN]:
            self.result(f"  {blocker.object}: {blocker.reason}")
            self.result(f"      -> {blocker.hint}")
        if len(blockers) > _SHOWN:
            self.result(f"  (... and {len(blockers) - _SHOWN} more like these)")

    def meanwhile(self, shares: Sequence[tuple[str, int, Wait]]) -> None:
        """What the application did during a command: name, writes, the longest wait."""
        parts = [f"{name}: {writes:,} writes, longest wait {ms(wait)}" for name, writes, wait in shares]
        if parts:
            self.aside(f"meanwhile  {';  '.join(parts)}")

    # --- the ledger ------------------------------------------------------------------------------

    def ledger(self, records: Sequence[Record]) -> None:
        """What each version has done, in columns."""
        self._echo("")
        self._echo(click.style("The ledger", bold=True))
        rows: list[tuple[str, list[str]]] = [("", [record.name for record in records])]
        rows += [
            (f"rows {kind.rstrip('e')}ed", [f"{r.writes[kind]:,}" for r in records])
            for kind in ("insert", "update", "delete")
        ]
        rows.append(("writes acknowledged", [f"{r.total:,}" for r in records]))
        rows.append(("tries it had to repeat", [f"{r.retries:,}" for r in records]))
        rows.append(("typical wait (median)", [f"{r.typical() * 1000:.1f} ms" for r in records]))
        rows.append(("longest wait", [ms(r.longest()) for r in records]))
        rows.append(("  which began during", [r.longest().during or "nothing" for r in records]))
        width = max(len(cell) for _label, cells in rows for cell in cells) + 3
        for label, cells in rows:
            self.line(f"{label:<24}" + "".join(f"{cell:>{width}}" for cell in cells))

    def verdict(self, *, present: int, deleted: int, wrong: Sequence[Difference], misread: int) -> None:
        """Whether everything that was acknowledged is there."""
        counts = {kind: sum(d.kind == kind for d in wrong) for kind in ("lost", "wrong", "back", "unknown")}
        self._echo("")
        self.text(
            f"Every row was then looked up in the contracted database: {present:,} that have to be there "
            f"with all their values, {deleted:,} that must be gone. On the way, each version compared every "
            "row with what was last acknowledged before it changed it."
        )
        verdicts = {
            "rows lost": counts["lost"],
            "rows with a wrong value": counts["wrong"],
            "deleted rows that came back": counts["back"],
            "rows that nobody wrote": counts["unknown"],
            "wrong values seen on the way": misread,
        }
        self._echo("")
        for label, count in verdicts.items():
            self.line(click.style(f"{label}: {count:,}", fg="red" if count else "green", bold=count > 0))

    def wrong_rows(self, differences: Sequence[Difference]) -> None:
        """Some rows that are not as they should be."""
        for found in differences[:_SHOWN]:
            self.line(click.style(str(found), fg="red"))


def ms(wait: Wait) -> str:
    """A wait for a person."""
    return f"{wait.seconds * 1000:,.0f} ms"
