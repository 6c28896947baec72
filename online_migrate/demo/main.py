"""The demo: five typical schema changes, from the first to the last command, under live traffic."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from online_migrate import exceptions
from online_migrate.ddl.session import connect
from online_migrate.demo import database
from online_migrate.demo.application import Version1, Version2, read_new_shape
from online_migrate.demo.ledger import Ledger, compare
from online_migrate.demo.narrator import Narrator
from online_migrate.demo.operator import Operator
from online_migrate.demo.traffic import Traffic, sample_rows
from online_migrate.dialects import safe_url

PROJECT = resources.files("online_migrate.demo") / "project"
"""The scripts of the five changes."""
MIGRATIONS = ("display_name", "size_bytes", "split_name", "attachments", "zone")
"""The data migrations, in the order of the changes."""
_BEFORE = "e0_tables"
"""The expand revision of version 1 of the application."""


@dataclasses.dataclass(frozen=True)
class Pace:
    """The duration and the rate of the traffic between two commands."""

    seconds: float = 1.5
    writes: int = 60
    """Minimum number of writes of each running version, even if that takes longer."""
    rate: float = 100.0
    """Writes per second of each version."""


def run(
    *, rows: int = 20_000, url: str | None = None, echo: Callable[[str], None], pace: Pace | None = None
) -> int:
    """Runs the demo on an empty database: *url*, or a temporary SQLite file. Prints with *echo*.

    Returns the exit code: 0 if every acknowledged write is in the database at the end, else 2. Drops all its
    tables at the end. Raises :class:`~online_migrate.exceptions.UsageError` if the database is not empty.
    """
    begun = time.monotonic()
    narrator = Narrator(echo)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="online-migrate-demo-")))
        location = database.Database(url) if url else database.temporary(folder)
        where = location.url
        stack.enter_context(database.clean_database(where))
        ledger = Ledger(sample_rows(rows))
        traffic = Traffic(where, ledger, rate=(pace or Pace()).rate, setup=location.setup)
        stack.enter_context(_stopped_at_the_end(traffic))
        operator = Operator(folder / "alembic.ini", where, narrator)
        story = Story(narrator, operator, traffic, pace or Pace())
        _introduce(narrator, where, folder, is_given=url is not None)
        story.run(folder)
        code = _verify(narrator, where, traffic)
    narrator.line(f"total time: {time.monotonic() - begun:.1f} s")
    narrator.ending(f"scripts of the five changes: {PROJECT}", "create a project: online-migrate init")
    return code


@contextlib.contextmanager
def _stopped_at_the_end(traffic: Traffic) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):
            # The first error is raised, not an error of the clean-up.
            traffic.stop_all()
        raise
    traffic.stop_all()


def _introduce(narrator: Narrator, url: str, folder: Path, *, is_given: bool) -> None:
    narrator.title("Five changes to a live database, while the old and the new version of an application run")
    narrator.line(f"database  {database.describe(url)}, {safe_url(url) if is_given else 'a temporary file'}")
    narrator.line(f"project   {folder}")
    narrator.changes()


def _copy(source: Traversable, target: Path) -> None:
    for entry in source.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            (target / entry.name).mkdir(exist_ok=True)
            _copy(entry, target / entry.name)
        elif entry.name.endswith(".py"):
            (target / entry.name).write_text(entry.read_text(encoding="utf-8"), encoding="utf-8")


@dataclasses.dataclass(frozen=True)
class Story:
    """The chapters of the demo, in order."""

    narrator: Narrator
    operator: Operator
    traffic: Traffic
    pace: Pace

    def run(self, folder: Path) -> None:
        """Runs all chapters."""
        self._version_1_is_live(folder)
        self._expand()
        self._rolling_upgrade()
        self._migrate()
        self._gate_is_closed()
        self._version_1_is_stopped()
        self._contract()

    def _wait_for_traffic(self) -> None:
        self.traffic.wait_for(self.pace.writes, self.pace.seconds)

    def _version_1_is_live(self, folder: Path) -> None:
        self.narrator.chapter("Version 1 of the application is live")
        self.operator.init()
        _copy(PROJECT, folder)
        self.narrator.note("the scripts of the five changes are copied into the project")
        self.operator.expand(_BEFORE)
        rows = self.traffic.ledger.rows
        database.fill(self.traffic.url, {key: row for key, row in rows.items() if row is not None})
        self.traffic.start(Version1)
        self.operator.traffic = self.traffic
        self.narrator.note(
            f"{len(rows):,} rows are loaded; version 1 inserts, updates and deletes, "
            f"about {self.pace.rate:,.0f} times per second"
        )
        self._wait_for_traffic()

    def _expand(self) -> None:
        self.narrator.chapter(
            "Expand: the new columns and tables are added",
            "Version 1 does not use them and continues without a change.",
        )
        self.operator.expand()
        self._wait_for_traffic()

    def _rolling_upgrade(self) -> None:
        self.narrator.chapter(
            "Rolling upgrade: version 2 starts, version 1 still runs",
            "Version 2 writes the old and the new columns; version 1 writes the old columns only.",
            "No row has been migrated yet, so the gate is closed:",
        )
        self.traffic.start(Version2)
        self._wait_for_traffic()
        self._must(bool(self.operator.gate()), "the gate is open although no row was migrated")

    def _migrate(self) -> None:
        self.narrator.chapter(
            "Migrate: the rows are migrated in chunks, while both versions write",
            "A row that version 1 changes after its migration becomes pending again.",
        )
        for name in MIGRATIONS:
            self.operator.migrate(name)

    def _gate_is_closed(self) -> None:
        self.narrator.chapter(
            "Contract is refused: version 1 still runs",
            "All rows were migrated, but version 1 still writes rows with the old columns only.",
            "The gate counts the pending rows again; it does not rely on the recorded status:",
        )
        self._wait_for_traffic()
        self._must(bool(self.operator.gate()), "the gate is open although version 1 writes")
        self._must(self.operator.contract_refused(), "contract was not refused although version 1 writes")

    def _version_1_is_stopped(self) -> None:
        self.narrator.chapter(
            "The last instance of version 1 is stopped",
            "Its last rows are migrated; no new pending rows can appear after that.",
        )
        self.traffic.stop(Version1.name)
        self.operator.migrate()
        blockers = self.operator.gate()
        if blockers:
            raise exceptions.GateClosed(blockers, hint="the demo ends here and drops its tables")

    def _contract(self) -> None:
        self.narrator.chapter(
            "Contract: the old columns are dropped",
            "The pending rows are counted again under the lock of each destructive statement. Version 2 "
            "continues with the new columns only; its sizes are no longer limited to whole gigabytes.",
        )
        self.operator.contract()
        self._wait_for_traffic()
        self.traffic.stop_all()
        self.narrator.note("the tables after contract:")
        for line in database.columns(self.traffic.url):
            self.narrator.note(f"  {line}")

    @staticmethod
    def _must(holds: bool, otherwise: str) -> None:
        if not holds:
            raise exceptions.Failed(message=otherwise, hint="this is a bug in online-migrate")


def _verify(narrator: Narrator, url: str, traffic: Traffic) -> int:
    """Compares the acknowledged writes with the database. Returns the exit code."""
    expected = traffic.ledger.rows
    with database.opened(url) as engine, connect(engine) as connection:
        wrong = compare(expected, read_new_shape(connection))
    records = list(traffic.records.values())
    misread = [difference for record in records for difference in record.misread]
    present = sum(row is not None for row in expected.values())
    narrator.ledger(records)
    narrator.verdict(present=present, deleted=len(expected) - present, wrong=wrong, misread=len(misread))
    narrator.wrong_rows([*wrong, *misread])
    return 2 if wrong or misread else 0
