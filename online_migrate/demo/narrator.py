"""The output of the demo: chapters, command lines with their results, and the ledger."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

import click

from online_migrate.demo.ledger import Difference
from online_migrate.demo.traffic import Record, Wait
from online_migrate.exceptions import Blocker

_WIDTH = 96
_SHOWN = 4
"""Number of blockers, and of wrong rows, that are printed."""

CHANGES = (
    ("", "change", "old", "new", "data migration"),
    ("1", "rename a column", "volumes.name", "volumes.display_name", "Backfill"),
    ("2", "change unit and type", "volumes.size_gb", "volumes.size_bytes", "Backfill"),
    ("3", "split a column", "accounts.full_name", "accounts.first_name, .last_name", "@row_migration"),
    ("4", "move to another table", "volumes.attached_to", "attachments.host", "@batch_migration"),
    ("5", "set NOT NULL", "-", "volumes.zone NOT NULL", "Backfill"),
)


class Narrator:
    """Prints the demo line by line."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        self._echo = echo
        self._chapter = 0

    def title(self, text: str) -> None:
        """Prints the title."""
        self._echo(click.style(text, bold=True))

    def chapter(self, title: str, *sentences: str) -> None:
        """Starts the next chapter, with an introduction."""
        self._chapter += 1
        self._echo("")
        self._echo(click.style(f"{self._chapter}. {title}", bold=True))
        self.text(*sentences)

    def text(self, *sentences: str) -> None:
        """Prints wrapped sentences."""
        for line in textwrap.wrap(" ".join(sentences), _WIDTH - 3):
            self.line(line)

    def line(self, line: str) -> None:
        """Prints one line."""
        self._echo(f"   {line}")

    def command(self, line: str) -> None:
        """Prints a command line."""
        self._echo("")
        self._echo(click.style(f"   $ online-migrate {line}", fg="cyan"))

    def result(self, line: str, *, colour: str | None = None) -> None:
        """Prints a line of the result of a command."""
        self._echo("     " + (click.style(line, fg=colour) if colour else line))

    def note(self, line: str) -> None:
        """Prints a note that is not output of the command."""
        self._echo(click.style(f"     ~ {line}", dim=True))

    def ending(self, *lines: str) -> None:
        """Prints the closing lines."""
        self._echo("")
        for line in lines:
            self.line(line)

    def changes(self) -> None:
        """Prints the table of the five changes."""
        widths = [max(len(row[column]) for row in CHANGES) for column in range(len(CHANGES[0]))]
        self._echo("")
        for row in CHANGES:
            self.line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def blockers(self, blockers: Sequence[Blocker]) -> None:
        """Prints the blockers of contract."""
        for blocker in blockers[:_SHOWN]:
            self.result(f"  {blocker.object}: {blocker.reason}")
            self.result(f"      -> {blocker.hint}")
        if len(blockers) > _SHOWN:
            self.result(f"  (... and {len(blockers) - _SHOWN} more)")

    def meanwhile(self, shares: Sequence[tuple[str, int, Wait]]) -> None:
        """Prints the writes of the application during a command: name, number, longest latency."""
        parts = [f"{name}: {writes:,} writes, longest latency {ms(wait)}" for name, writes, wait in shares]
        if parts:
            self.note(f"traffic  {';  '.join(parts)}")

    # --- the ledger ------------------------------------------------------------------------------

    def ledger(self, records: Sequence[Record]) -> None:
        """Prints the statistics of each version, in columns."""
        self._echo("")
        self._echo(click.style("Ledger", bold=True))
        rows: list[tuple[str, list[str]]] = [("", [record.name for record in records])]
        rows += [
            (f"rows {kind.rstrip('e')}ed", [f"{r.writes[kind]:,}" for r in records])
            for kind in ("insert", "update", "delete")
        ]
        rows.append(("writes acknowledged", [f"{r.total:,}" for r in records]))
        rows.append(("retries", [f"{r.retries:,}" for r in records]))
        rows.append(("median latency", [f"{r.typical() * 1000:.1f} ms" for r in records]))
        rows.append(("longest latency", [ms(r.longest()) for r in records]))
        rows.append(("  started during", [r.longest().during or "no command" for r in records]))
        width = max(len(cell) for _label, cells in rows for cell in cells) + 3
        for label, cells in rows:
            self.line(f"{label:<24}" + "".join(f"{cell:>{width}}" for cell in cells))

    def verdict(self, *, present: int, deleted: int, wrong: Sequence[Difference], misread: int) -> None:
        """Prints the result of the comparison of the ledger with the database."""
        counts = {kind: sum(d.kind == kind for d in wrong) for kind in ("lost", "wrong", "back", "unknown")}
        self._echo("")
        self.text(
            "Every acknowledged row was compared with the database after contract: "
            f"{present:,} rows must exist with all their values, {deleted:,} rows must not exist. "
            "During the run, each version compared every row with its last acknowledged state before it "
            "changed the row."
        )
        verdicts = {
            "rows lost": counts["lost"],
            "rows with a wrong value": counts["wrong"],
            "deleted rows that exist": counts["back"],
            "rows that were never written": counts["unknown"],
            "wrong values read during the run": misread,
        }
        self._echo("")
        for label, count in verdicts.items():
            self.line(click.style(f"{label}: {count:,}", fg="red" if count else "green", bold=count > 0))

    def wrong_rows(self, differences: Sequence[Difference]) -> None:
        """Prints some of the wrong rows."""
        for found in differences[:_SHOWN]:
            self.line(click.style(str(found), fg="red"))


def ms(wait: Wait) -> str:
    """Formats a latency."""
    return f"{wait.seconds * 1000:,.0f} ms"
