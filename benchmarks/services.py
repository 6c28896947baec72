"""What live services cost: ``python -m benchmarks.services --url URL [--services 1000]``.

Measures, in an empty database: the command ``gate`` with that many live services of two releases, the part of
it that reads and judges the registry, and a heartbeat with its statements.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from online_migrate import command, state
from online_migrate.contract.live_services import LiveServices
from online_migrate.dialects import create_engine
from online_migrate.script.init import init
from online_migrate.services.registration import Registration
from online_migrate.services.service import report

REVISIONS = 100
"""Contract revisions that each service survives."""
_SCRIPT = """
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = {revision!r}, {down!r}, {label!r}, {depends!r}
requires = ()
def upgrade(): {body}
def downgrade(): pass
"""


def main() -> int:
    """Runs the benchmark, and prints the result as a row of a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.services", description=__doc__)
    parser.add_argument("--url", required=True, help="an empty database")
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(measure(options.url, options.services, options.rounds, Path(folder)))
    return 0


def measure(url: str, count: int, rounds: int, folder: Path) -> str:
    """Returns the measurements as text."""
    context = command.CommandContext(config_file=_project(folder), given_url=url)
    command.expand(context)
    engine = create_engine(url)
    with engine.begin() as connection:
        for number in range(count):
            state.insert_service(connection, _service(number))
    gate = _median(rounds, lambda: command.gate(context))
    services = LiveServices.of(context.project)
    with engine.connect() as connection:
        check = _median(rounds, lambda: services.check(connection, [f"c{REVISIONS + 1}"]))
    beat, statements = _heartbeat(engine, rounds)
    blockers = len(command.gate(context))
    return (
        f"{count:,} services, {blockers} blocker(s): gate {gate * 1000:,.0f} ms, of which the services "
        f"{check * 1000:,.0f} ms; a heartbeat {beat * 1000:.2f} ms, {statements:g} statement(s)"
    )


def _heartbeat(engine: Engine, rounds: int) -> tuple[float, float]:
    """Returns the seconds of a heartbeat, and the number of its statements."""
    sent: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *event: sent.append(event[2]))
    sa.event.listen(engine, "commit", lambda *_: sent.append("COMMIT"))
    registration = Registration(_service(1_000_000))
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        registration.register(connection)
        statement = state.Beat(connection)
        sent.clear()
        beats = rounds * 20
        seconds = _median(beats, lambda: registration.beat(connection, statement))
        return seconds, len(sent) / beats


def _service(number: int) -> state.NewService:
    """Returns a process of one of ten services; every second one is of the release before."""
    revisions = [f"c{n}" for n in range(1, REVISIONS + 1)]
    return report(
        f"{number:032x}",
        f"service-{number % 10}",
        host=f"host-{number}",
        process=str(number),
        release="2026.1" if number % 2 else "2026.2",
        survives=revisions if number % 2 else [*revisions, f"c{REVISIONS + 1}"],
        versions={"volume-rpc": "3.10"},
        dead_after=3600,
    )


def _median(rounds: int, function: Callable[[], object]) -> float:
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def _project(folder: Path) -> Path:
    """Writes a project with one contract revision more than each second service survives."""
    folder.mkdir(exist_ok=True)
    config = folder / "alembic.ini"
    init(config)
    table = 'op.create_table("measured", sa.Column("id", sa.Integer, primary_key=True))'
    _script(folder, "expand", "e1", None, table)
    for number in range(1, REVISIONS + 2):
        down = f"c{number - 1}" if number > 1 else None
        _script(folder, "contract", f"c{number}", down, "pass")
    return config


def _script(folder: Path, branch: str, revision: str, down: str | None, body: str) -> None:
    text = _SCRIPT.format(
        revision=revision,
        down=down,
        label=None if down else (branch,),
        depends="e1" if branch == "contract" else None,
        body=body,
    )
    (folder / "migrations" / branch / f"{revision}.py").write_text(text)


if __name__ == "__main__":
    raise SystemExit(main())
