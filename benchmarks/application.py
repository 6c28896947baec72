"""Starts the simulated application beside a contender, and returns its latencies."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def application(url: str, rate: float) -> Iterator[dict[str, list[tuple[float, float]]]]:
    """Yields the latencies of :mod:`benchmarks.foreground`, which are filled in at the end of the block.

    For each kind of statement: [start on the monotonic clock in seconds, latency in milliseconds].
    """
    samples: dict[str, list[tuple[float, float]]] = {}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.foreground", url, str(rate)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise RuntimeError("the application did not start")
    time.sleep(1)
    yield samples
    out, _ = process.communicate()
    samples |= json.loads(out)
