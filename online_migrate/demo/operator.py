"""The operator: runs the commands of online-migrate and prints their results.

Each command has its own :class:`~online_migrate.context.CommandContext`, as in a shell.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from online_migrate import command, exceptions
from online_migrate.command import CommandContext, Outcome, Result
from online_migrate.demo.narrator import Narrator
from online_migrate.demo.traffic import Traffic
from online_migrate.exceptions import Blocker
from online_migrate.migrate.progress import NullListener, Snapshot


class Watch(NullListener):
    """Prints the result and the duration of a ``migrate``."""

    def __init__(self, narrator: Narrator) -> None:
        self._narrator = narrator
        self._begun = 0.0

    def started(self, snapshot: Snapshot) -> None:
        self._begun = time.monotonic()

    def finished(self, result: Result) -> None:
        seconds = time.monotonic() - self._begun
        line = f"{result.name}: {result.done:,} row(s) migrated; {result.outcome.value}"
        if result.error:
            line += f": {result.error}"
        rate = f", {result.done / seconds:,.0f} rows/s" if result.done >= 1000 else ""
        colour = {Outcome.FAILED: "red", Outcome.COMPLETE: "green"}.get(result.outcome)
        self._narrator.result(f"{line}  ({seconds:.2f} s{rate})", colour=colour)


class Operator:
    """Runs commands on the project and the database of the demo, under traffic."""

    def __init__(self, config_file: Path, url: str, narrator: Narrator) -> None:
        self._config_file = config_file
        self._url = url
        self._narrator = narrator
        self.traffic: Traffic | None = None

    @contextlib.contextmanager
    def _typed(self, line: str) -> Iterator[CommandContext]:
        """Prints a command line, yields its context, then prints the traffic during the command."""
        self._narrator.command(line)
        traffic = self.traffic
        before = {name: traffic.records[name].total for name in traffic.running} if traffic else {}
        if traffic is not None:
            traffic.during = line
        context = CommandContext(
            config_file=self._config_file,
            given_url=self._url,
            echo=self._narrator.result,
            listener=Watch(self._narrator),
        )
        try:
            yield context
        finally:
            if "engine" in vars(context):
                context.engine.dispose()
            if traffic is not None:
                traffic.during = ""
        if traffic is not None and line != "gate":
            self._meanwhile(traffic, before)

    def _meanwhile(self, traffic: Traffic, before: dict[str, int]) -> None:
        traffic.check()
        shares = []
        for name, count in before.items():
            record = traffic.records[name]
            shares.append((name, record.total - count, record.longest(since=count)))
        self._narrator.meanwhile(shares)

    def init(self) -> None:
        """Runs ``online-migrate init``."""
        with self._typed("init") as context:
            written = command.init(context)
            folder = self._config_file.parent
            for path in written.paths:
                end = "/" if path.is_dir() else ""
                self._narrator.result(f"written: {path.relative_to(folder)}{end}")

    def expand(self, target: str | None = None) -> None:
        """Runs ``online-migrate expand``."""
        with self._typed("expand" if target is None else f"expand {target}") as context:
            revisions = command.expand(context, target)
            self._narrator.result(f"expand: applied {', '.join(revisions)}", colour="green")

    def migrate(self, name: str | None = None) -> None:
        """Runs ``online-migrate migrate``."""
        line = "migrate" if name is None else f"migrate {name}"
        with self._typed(line) as context:
            results = command.migrate(context, [name] if name else [])
        failed = [result for result in results if result.outcome is Outcome.FAILED]
        if failed:
            raise exceptions.Failed(message=f"data migration {failed[0].name}: {failed[0].error}")

    def gate(self) -> list[Blocker]:
        """Runs ``online-migrate gate``. Returns the blockers."""
        with self._typed("gate") as context:
            blockers = command.gate(context)
            if blockers:
                self._narrator.result(f"gate: closed, {len(blockers)} blocker(s)", colour="yellow")
                self._narrator.blockers(blockers)
                self._narrator.result("(exit code 3)")
            else:
                self._narrator.result("gate: open", colour="green")
        return blockers

    def contract(self) -> None:
        """Runs ``online-migrate contract``, which must succeed."""
        with self._typed("contract") as context:
            done = command.contract(context)
            self._narrator.result(f"contract: applied {', '.join(done.revisions)}", colour="green")

    def contract_refused(self) -> bool:
        """Runs ``online-migrate contract``. True if it was refused."""
        with self._typed("contract") as context:
            try:
                command.contract(context)
            except exceptions.GateClosed as closed:
                self._narrator.result(f"Error: {closed}", colour="yellow")
                self._narrator.result(f"  -> {closed.hint}")
                self._narrator.result(f"(exit code {closed.exit_code})")
                return True
        return False
