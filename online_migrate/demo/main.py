"""The story: five changes of typical kinds, from their first command to their last, under live traffic."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
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
"""The expand revision with which version 1 of the application was shipped."""


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long the demo looks at the traffic between two commands, and how dense that is."""

    seconds: float = 1.5
    writes: int = 60
    """Every version that runs makes so many writes at least, however long that takes."""
    rate: float = 100.0
    """Writes a second, by each version."""


def run(
    *, rows: int = 20_000, url: str | None = None, echo: Callable[[str], None], pace: Pace | None = None
) -> int:
    """Tells the story with *echo* on an empty database, a temporary SQLite file unless *url* names one.

    Gives the exit code: 0 if every acknowledged write is in the database at the end, else 2. Leaves
    nothing behind. Raises :class:`~online_migrate.exceptions.UsageError` if the database is not empty.
    """
    begun = time.monotonic()
    narrator = Narrator(echo)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_without_log_of_errors())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="online-migrate-demo-")))
        place = database.Place(url) if url else database.temporary(folder)
        where = place.url
        stack.enter_context(database.borrowed(where))
        ledger = Ledger(sample_rows(rows))
        traffic = Traffic(where, ledger, rate=(pace or Pace()).rate, setup=place.setup)
        stack.enter_context(_stopped_at_the_end(traffic))
        operator = Operator(folder / "alembic.ini", where, narrator)
        story = Story(narrator, operator, traffic, pace or Pace())
        _introduce(narrator, where, folder, is_given=url is not None)
        story.tell(folder)
        code = _account(narrator, where, traffic)
    narrator.line(f"total time: {time.monotonic() - begun:.1f} s")
    narrator.ending(f"the five changes, to read: {PROJECT}", "a project of your own: online-migrate init")
    return code


@contextlib.contextmanager
def _without_log_of_errors() -> Iterator[None]:
    """oslo.db logs every error that it has no class for; here the application expects some."""
    logger, handler = logging.getLogger("oslo_db"), logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextlib.contextmanager
def _stopped_at_the_end(traffic: Traffic) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):
            # What ended the story comes first.
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
    """The chapters, in their order."""

    narrator: Narrator
    operator: Operator
    traffic: Traffic
    pace: Pace

    def tell(self, folder: Path) -> None:
        """All of them."""
        self._version_1_is_live(folder)
        self._expand()
        self._rolling_upgrade()
        self._migrate()
        self._gate_stays_closed()
        self._version_1_is_gone()
        self._contract()

    def _look_on(self) -> None:
        self.traffic.wait_for(self.pace.writes, self.pace.seconds)

    def _version_1_is_live(self, folder: Path) -> None:
        self.narrator.chapter("Version 1 of the application is live")
        self.operator.init()
        _copy(PROJECT, folder)
        self.narrator.aside("the scripts of the five changes are copied into it")
        self.operator.expand(_BEFORE)
        rows = self.traffic.ledger.rows
        database.fill(self.traffic.url, {key: row for key, row in rows.items() if row is not None})
        self.traffic.start(Version1)
        self.operator.traffic = self.traffic
        self.narrator.aside(
            f"{len(rows):,} rows are loaded; version 1 inserts, updates and deletes, "
            f"about {self.pace.rate:,.0f} times a second"
        )
        self._look_on()

    def _expand(self) -> None:
        self.narrator.chapter(
            "Expand: the new shape is added beside the old one",
            "Version 1 knows nothing of it and goes on.",
        )
        self.operator.expand()
        self._look_on()

    def _rolling_upgrade(self) -> None:
        self.narrator.chapter(
            "Rolling upgrade: version 2 starts beside version 1",
            "Version 2 writes both shapes while the old one is there; version 1 writes the old one only.",
            "Nothing has been moved yet, so nothing may be taken away yet:",
        )
        self.traffic.start(Version2)
        self._look_on()
        self._must(bool(self.operator.gate()), "the gate is open although no row was moved")

    def _migrate(self) -> None:
        self.narrator.chapter(
            "Migrate: the rows move in chunks, while both versions write",
            "What version 1 changes after a row was moved makes that row pending again.",
        )
        for name in MIGRATIONS:
            self.operator.migrate(name)

    def _gate_stays_closed(self) -> None:
        self.narrator.chapter(
            "Too early: version 1 still runs",
            "Everything was moved, but version 1 goes on writing rows that only have the old shape.",
            "The gate counts rows; it does not believe that what was complete once still is:",
        )
        self._look_on()
        self._must(bool(self.operator.gate()), "the gate is open although version 1 writes")
        self._must(self.operator.contract_refused(), "contract was not refused although version 1 writes")

    def _version_1_is_gone(self) -> None:
        self.narrator.chapter(
            "The last instance of version 1 is stopped",
            "The rows that it wrote last are moved, and then there will be no more of them.",
        )
        self.traffic.stop(Version1.name)
        self.operator.migrate()
        blockers = self.operator.gate()
        if blockers:
            raise exceptions.GateClosed(blockers, hint="the demo ends here and takes its tables away")

    def _contract(self) -> None:
        self.narrator.chapter(
            "Contract: the old shape goes",
            "The rows are counted once more, under the lock of each destructive statement. Version 2 goes on "
            "in the new shape alone; from here on its sizes need not be whole gigabytes.",
        )
        self.operator.contract()
        self._look_on()
        self.traffic.stop_all()
        self.narrator.aside("the tables now:")
        for line in database.columns(self.traffic.url):
            self.narrator.aside(f"  {line}")

    @staticmethod
    def _must(holds: bool, otherwise: str) -> None:
        if not holds:
            raise exceptions.Failed(message=otherwise, hint="this is a bug in online-migrate")


def _account(narrator: Narrator, url: str, traffic: Traffic) -> int:
    """Compares what was acknowledged with what is there; gives the exit code."""
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
