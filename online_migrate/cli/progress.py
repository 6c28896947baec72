"""Progress on stderr: progress bars on a terminal, lines of text otherwise."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from online_migrate.cli.output import duration
from online_migrate.migrate.progress import Listener, Snapshot
from online_migrate.migrate.status import Outcome, Result

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_EVERY = 5.0
"""Seconds between two progress lines."""


@contextlib.contextmanager
def listener(*, verbose: bool = False, as_json: bool = False) -> Iterator[Listener]:
    """Returns the listener that prints the progress of a command on stderr.

    *verbose*: prints a line for every chunk. *as_json*: each line is a JSON document.
    """
    if as_json:
        yield Events(every=0.0 if verbose else _EVERY)
    elif verbose or not sys.stderr.isatty():
        yield Lines(every=0.0 if verbose else _EVERY, verbose=verbose)
    else:
        with _rich() as bars:
            yield Bars(bars)


class Lines:
    """Prints a line when a data migration starts, every few seconds, and when it ends."""

    def __init__(self, *, every: float = _EVERY, verbose: bool = False) -> None:
        self._every = every
        self._verbose = verbose
        self._last = 0.0

    def started(self, snapshot: Snapshot) -> None:
        self._last = time.monotonic()
        of = "" if snapshot.total is None else f" of {snapshot.total:,}"
        click.echo(f"{snapshot.name}: {snapshot.done:,}{of} row(s) done so far", err=True)

    def advanced(self, snapshot: Snapshot) -> None:
        if time.monotonic() - self._last < self._every:
            return
        self._last = time.monotonic()
        of = "" if snapshot.total is None else f" of {snapshot.total:,}"
        line = f"{snapshot.name}: {snapshot.done:,}{of} row(s), {_pace(snapshot)}"
        if self._verbose and snapshot.chunk:
            line += f"; {snapshot.chunk}"
        click.echo(line, err=True)

    def finished(self, result: Result) -> None:
        click.echo(f"{result.name}: {result.outcome.value}", err=True)


class Events:
    """Prints the same events as :class:`Lines`, each as one JSON document on one line."""

    def __init__(self, *, every: float = _EVERY) -> None:
        self._every = every
        self._last = 0.0

    def started(self, snapshot: Snapshot) -> None:
        self._say("started", snapshot)

    def advanced(self, snapshot: Snapshot) -> None:
        if time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self._say("chunk", snapshot)

    def finished(self, result: Result) -> None:
        facts = dataclasses.asdict(result) | {"outcome": result.outcome.name.lower()}
        click.echo(json.dumps({"event": "finished", **facts}, ensure_ascii=False), err=True)

    @staticmethod
    def _say(event: str, snapshot: Snapshot) -> None:
        facts = dataclasses.asdict(snapshot)
        click.echo(json.dumps({"event": event, **facts}, ensure_ascii=False), err=True)


def _pace(snapshot: Snapshot) -> str:
    left = "" if snapshot.seconds_left is None else f", {duration(snapshot.seconds_left)} left"
    several = f", {snapshot.workers} workers" if snapshot.workers > 1 else ""
    size = "" if snapshot.chunk_size is None else f", chunk size {snapshot.chunk_size:,}"
    waits = f", waiting: {snapshot.waits_for}" if snapshot.waits_for else ""
    return f"{snapshot.rate:,.0f} rows/s{left}{size}{several}{waits}"


def _rich() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        console=Console(stderr=True),
    )


class Bars:
    """Shows a progress bar for each data migration."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def started(self, snapshot: Snapshot) -> None:
        self._tasks[snapshot.name] = self._bars.add_task(
            snapshot.name, total=snapshot.total, completed=snapshot.done, pace=""
        )

    def advanced(self, snapshot: Snapshot) -> None:
        total = None if snapshot.total is None else max(snapshot.total, snapshot.done)
        self._bars.update(
            self._tasks[snapshot.name], completed=snapshot.done, total=total, pace=_pace(snapshot)
        )

    def finished(self, result: Result) -> None:
        task = self._tasks.get(result.name)
        if task is not None:
            self._bars.update(task, pace=result.outcome.name.lower())
        elif result.outcome is not Outcome.CONTRACTED:
            self._bars.console.print(f"{result.name}: {result.outcome.value}")
