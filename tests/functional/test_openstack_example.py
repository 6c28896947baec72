"""The example `examples/openstack`: an upgrade under load on every product, and mistakes that it shows."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers import Database
from tests.support.schema import query_all

EXAMPLE = Path(__file__).parents[2] / "examples" / "openstack"
_STEP = re.compile(r" *([\d.]+) +([\d,]+) +(\d+) +(\d+)  (\S.*)")
OLD = {"Volume 1.0 (size)", "resize(volume_id, size)"}
NEW = {"Volume 1.1 (size_bytes)", "resize(volume_id, size_bytes)"}


class Step(NamedTuple):
    """A line of the ledger, with the lines below it."""

    requests: int
    failed: int
    rows: int
    text: str
    details: list[str]

    @property
    def messages(self) -> set[str]:
        """The forms of the messages."""
        [line] = [line for line in self.details if line.startswith("messages: ")]
        return set(re.sub(r"(^messages:|,) \d+ ", "\n", line).strip().split("\n"))


def upgrade(url: str, *options: str) -> tuple[int, list[Step], str]:
    """Runs the example: its exit code, the ledger and the last line."""
    command = [sys.executable, str(EXAMPLE / "run.py"), "--url", url, *options]
    process = subprocess.run(command, text=True, capture_output=True, check=False)
    lines = process.stdout.splitlines()
    steps: list[Step] = []
    for line in lines[1:-1]:
        found = _STEP.fullmatch(line)
        if found:
            _seconds, requests, failed, rows, text = found.groups()
            steps.append(Step(int(requests.replace(",", "")), int(failed), int(rows), text, []))
        else:
            assert steps, process.stdout + process.stderr
            steps[-1].details.append(line.strip())
    assert steps, process.stderr
    print(process.stdout, process.stderr)
    return process.returncode, steps, lines[-1]


def commands(steps: list[Step]) -> list[str]:
    """The commands of the operator, with their exit codes."""
    return [step.text.removeprefix("$ volume-manage db ") for step in steps if step.text[0] == "$"]


@pytest.mark.each_product
def test_upgrade_under_load(database: Database) -> None:
    code, steps, verdict = upgrade(database.url)
    assert code == 0
    last = steps[-1]
    assert verdict == f"{last.requests:,} requests, 0 failed; {last.rows:,} rows, 0 lost or wrong"
    assert {step.failed for step in steps} == {0}
    assert all(before.requests < after.requests for before, after in itertools.pairwise(steps))
    done = commands(steps)
    assert done.pop(3) in ("online_data_migrations: exit code 0", "online_data_migrations: exit code 1")
    assert done == [
        "expand --revision expand_2026_1: exit code 0",
        "expand: exit code 0",
        "online_data_migrations --max_count 50: exit code 1",
        "gate: exit code 3",
        "contract: exit code 3",
        "online_data_migrations: exit code 0",
        "gate: exit code 0",
        "contract: exit code 0",
        "check: exit code 0",
    ]
    # An old process is named as a blocker, until it is the last one that stops; then clients change the form.
    at = {step.text: number for number, step in enumerate(steps)}
    for name in ("gate", "contract"):
        refused = steps[at[f"$ volume-manage db {name}: exit code 3"]]
        assert any(line.startswith("service volume-volume: live: 1 process(es)") for line in refused.details)
    started = steps[at["four processes of 2026.1 run, users send requests"]]
    switched = steps[at["the clients have switched to the new forms"]]
    last_restart = at["volume-volume on host-2: 2026.2 is started, 2026.1 is drained"]
    restarts = [step for step in steps[:last_restart] if step.text.endswith("2026.1 is drained")]
    assert len(restarts) == 3
    before = [step.messages for step in (started, *restarts)]
    assert set.union(*before) & (OLD | NEW) == OLD
    assert switched.messages & (OLD | NEW) == NEW
    assert (
        at["$ volume-manage db contract: exit code 3"]
        < last_restart
        < at["$ volume-manage db gate: exit code 0"]
    )
    # Another reader than the example's own.
    [[rows, sizes]] = query_all(database, "SELECT count(*), count(size_bytes) FROM volumes")
    assert rows == sizes == last.rows > 200


@pytest.mark.parametrize("mistake", ["pins", "contract"])
def test_mistake_is_in_the_ledger(tmp_path: Path, mistake: str) -> None:
    code, steps, verdict = upgrade(f"sqlite:///{tmp_path}/volumes.db", "--break", mistake)
    assert code == 1
    counts = re.fullmatch(r"[\d,]+ requests, (\d+) failed; [\d,]+ rows, (\d+) lost or wrong", verdict)
    assert counts, verdict
    failed, wrong = map(int, counts.groups())
    assert failed == steps[-1].failed > 0
    assert (wrong > 0) == (mistake == "contract")
    first = next(step for step in steps if step.failed)
    reasons = {"pins": "2026.2 is started, 2026.1 is drained", "contract": "contract is forced"}
    assert reasons[mistake] in first.text


def test_volume_manage_is_a_program(tmp_path: Path) -> None:
    (tmp_path / "volume.conf").write_text(f"[database]\nconnection = sqlite:///{tmp_path}/volumes.db\n")
    command = [sys.executable, str(EXAMPLE / "volume_manage.py"), "--config-file", "volume.conf", "db"]
    for action, said in {"sync": "", "check": "nothing is left to do\n"}.items():
        process = subprocess.run(
            [*command, action], cwd=tmp_path, text=True, capture_output=True, check=False
        )
        assert process.returncode == 0, process.stderr
        assert process.stdout.endswith(said)
