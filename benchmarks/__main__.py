"""Compares all contenders: ``python -m benchmarks --url URL [--shape lean] [--load 200] [--curve]``.

Every round runs the contenders one after the other, each on a fresh copy of the table, so that other load on
the machine affects all of them. The results are the medians of the rounds, and their ratios.
"""

from __future__ import annotations

import argparse
import compileall
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

import benchmarks
import online_migrate
from benchmarks.application import application
from benchmarks.contenders import Contender, Run, contenders, curve
from benchmarks.shape import SHAPES, copy, fill
from benchmarks.window import Window

_SETTINGS = {
    "postgresql": "SELECT name, setting FROM pg_settings WHERE name IN ('shared_buffers', 'fsync', "
    "'synchronous_commit', 'wal_level', 'max_wal_size', 'autovacuum') ORDER BY name",
    "mysql": "SHOW VARIABLES WHERE Variable_name IN ('innodb_buffer_pool_size', 'sync_binlog', 'log_bin', "
    "'innodb_flush_log_at_trx_commit', 'innodb_flush_method', 'binlog_format')",
}


@dataclasses.dataclass(frozen=True)
class Latency:
    """The latency of the application's statements, in milliseconds."""

    p50: float
    p99: float
    worst: float

    def __str__(self) -> str:
        return f"{self.p50:.1f} / {self.p99:.1f} / {self.worst:.0f}"


@dataclasses.dataclass(frozen=True)
class Measured:
    """The measurements of one contender in one round."""

    run: Run
    rows: int
    """The rows with a value in the contender's column when it has finished or has reached its time limit."""
    select: Latency | None
    update: Latency | None
    start: float | None = None
    """Seconds from the start of the process until the first row is locked or filled; only with ``--load``."""
    moving: float | None = None
    """Rows per second from then on; only with ``--load``."""


def main() -> int:
    """Runs the benchmarks, and prints the report as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--url", required=True, help="an empty database; its table volumes is replaced")
    shapes = "cinder: Cinder's volumes; lean: ids in order, few columns, no secondary index"
    parser.add_argument("--shape", choices=list(SHAPES), default="cinder", help=shapes)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--load", type=float, default=0.0, help="application statements a second")
    parser.add_argument("--idle", type=float, default=10.0, help="seconds for which it is alone first")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds for the slow ones")
    parser.add_argument("--only", action="append", default=[], help="a part of a contender's name")
    parser.add_argument("--curve", action="store_true", help="the share of time against what users feel")
    parser.add_argument("--json", type=Path, help="write every single run to this file")
    options = parser.parse_args()
    engine = sa.create_engine(options.url)
    # An installed package is compiled; this environment may suppress the writing of byte code.
    for package in (online_migrate, benchmarks):
        compileall.compile_dir(Path(str(package.__file__)).parent, quiet=1)
    fill(engine, options.shape, options.rows)
    all_of_them = curve(options.shape) if options.curve else contenders(engine, options.shape)
    chosen = [c for c in all_of_them if not options.only or any(part in c.name for part in options.only)]
    found: dict[str, list[Measured]] = {contender.name: [] for contender in chosen}
    idle = _idle(engine, options) if options.load else None
    for number in range(options.rounds):
        # Each round begins with another contender: what the previous one has left to do for the server
        # (autovacuum, purge, a checkpoint) does not always affect the same contender.
        begin = number % len(chosen)
        for contender in chosen[begin:] + chosen[:begin]:
            measured = _measure(engine, options, contender)
            found[contender.name].append(measured)
            rate = measured.rows / measured.run.seconds
            print(f"round {number + 1}: {contender.name}: {rate:,.0f} rows/s", file=sys.stderr, flush=True)
    print(report(engine, options, idle, found))
    if options.json:
        everything = {name: [dataclasses.asdict(run) for run in runs] for name, runs in found.items()}
        options.json.write_text(json.dumps(everything, indent=1))
    return 0


def _measure(engine: sa.Engine, options: argparse.Namespace, contender: Contender) -> Measured:
    copy(engine, options.shape)
    if not options.load:
        run = contender.run(options.url, options.patience)
        return Measured(run, _done(engine, contender), None, None)
    with application(options.url, options.load) as samples, Window(engine, contender.column) as window:
        run = contender.run(options.url, options.patience)
    select, update = (_latency(samples, kind, window.began, window.ended) for kind in ("select", "update"))
    rows = _done(engine, contender)
    start = None if run.began is None else window.began - run.began
    return Measured(run, rows, select, update, start=start, moving=rows / (window.ended - window.began))


def _done(engine: sa.Engine, contender: Contender) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(sa.text(f"SELECT count({contender.column}) FROM volumes")) or 0)


def _idle(engine: sa.Engine, options: argparse.Namespace) -> Measured:
    copy(engine, options.shape)
    with application(options.url, options.load) as samples:
        began = time.monotonic()
        time.sleep(options.idle)
        ended = time.monotonic()
    select, update = (_latency(samples, kind, began, ended) for kind in ("select", "update"))
    return Measured(Run(options.idle), 0, select, update)


def _latency(samples: dict[str, list[tuple[float, float]]], kind: str, began: float, ended: float) -> Latency:
    values = sorted(took for at, took in samples[kind] if began <= at <= ended) or [0.0]
    return Latency(values[len(values) // 2], values[int(len(values) * 0.99)], values[-1])


def report(
    engine: sa.Engine, options: argparse.Namespace, idle: Measured | None, found: dict[str, list[Measured]]
) -> str:
    """Returns a Markdown table: the medians, and the speed relative to the first contender."""
    with engine.connect() as connection:
        version = connection.scalar(sa.text("SELECT version()"))
        settings = [tuple(row) for row in connection.execute(sa.text(_SETTINGS[_server(engine)]))]
    table = f"{options.rows:,} rows of the shape {options.shape}"
    lines = [
        f"{str(version).split(' on ')[0]}; {table}; {options.load:g} application statements a second",
        "",
    ]
    lines += [", ".join(f"{name}={value}" for name, value in settings), ""]
    first = next(iter(found))
    heads = ["", "rows/s", f"of the {first}", "client CPU, % of the time", "client MB"]
    if options.load:
        heads += ["start, s", "rows/s while rows move", "SELECT p50 / p99 / max, ms"]
        heads += ["UPDATE p50 / p99 / max, ms"]
    lines += [_line(heads), _line(["---"] * len(heads))]
    if idle is not None:
        lines.append(_line(["nothing", *[""] * 6, str(idle.select), str(idle.update)]))
    base = _median(found[first])
    for name, runs in found.items():
        rate = _median(runs)
        cpu = [run.run.cpu / run.run.seconds for run in runs if run.run.cpu is not None]
        memory = [run.run.memory for run in runs if run.run.memory is not None]
        cells = [name, f"{rate:,.0f}", f"{rate / base:.2f}"]
        cells.append(f"{statistics.median(cpu):.0%}" if cpu else "")
        cells.append(f"{max(memory) / 1e6:.0f}" if memory else "")
        if options.load:
            cells += [
                _number([run.start for run in runs], ".2f"),
                _number([run.moving for run in runs], ",.0f"),
            ]
            cells += [_middle([run.select for run in runs]), _middle([run.update for run in runs])]
        lines.append(_line(cells))
    return "\n".join(lines)


def _server(engine: sa.Engine) -> str:
    # SQLAlchemy's dialect name follows the URL: mysql:// and mariadb:// may refer to the same server.
    return "postgresql" if engine.dialect.name == "postgresql" else "mysql"


def _median(runs: Sequence[Measured]) -> float:
    return statistics.median(run.rows / run.run.seconds for run in runs)


def _number(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):{form}}" if known else ""


def _middle(latencies: Sequence[Latency | None]) -> str:
    some = [one for one in latencies if one is not None]
    return str(
        Latency(
            *(statistics.median(getattr(one, field) for one in some) for field in ("p50", "p99", "worst"))
        )
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
