"""Counts the rows of one data migration in this process, and notifies the listener."""

from __future__ import annotations

import threading
from typing import Any

from online_migrate.migrate.progress import Listener, RateMeter, Snapshot
from online_migrate.throttle import Throttling
from online_migrate.throttle.duty_cycle import AdaptiveDutyCycle
from online_migrate.throttle.latency_probe import LatencyProbe
from online_migrate.walk.chunk import Chunk
from online_migrate.walk.chunk_size import ChunkSize

RANGES_PER_WORKER = 4
"""The number of key ranges per worker into which the remaining rows are divided: the worker that ends last
has one of them at most."""


class ProgressReporter:
    """The progress of all workers of a run in this process. Thread-safe."""

    def __init__(self, meter: RateMeter, listener: Listener, throttling: Throttling) -> None:
        self._meter = meter
        self._listener = listener
        self._throttling = throttling
        self._lock = threading.Lock()
        self._worker_stats: dict[str, dict[str, Any]] = {}

    def start(self) -> None:
        """Notifies the listener of the start."""
        self._listener.started(self._snapshot(""))

    def add_worker(self, worker: str) -> None:
        """Adds a worker."""
        with self._lock:
            self._worker_stats[worker] = {}

    def remove_worker(self, worker: str) -> None:
        """Removes a worker."""
        with self._lock:
            self._worker_stats.pop(worker, None)

    def worker_stats(self) -> dict[str, dict[str, Any]]:
        """Returns the chunk size, the rate and the wait reason of every worker, for the heartbeat."""
        with self._lock:
            return {id: dict(facts) for id, facts in self._worker_stats.items()}

    def set_wait_reason(self, worker: str, reason: str | None) -> None:
        """Sets the reason why a worker waits; None: it does not wait."""
        with self._lock:
            if worker in self._worker_stats and self._worker_stats[worker].get("waits_for") != reason:
                self._worker_stats[worker]["waits_for"] = reason
                self._listener.advanced(self._snapshot(""))

    def chunk_committed(self, worker: str, rows: int, chunk: Chunk | str, size: ChunkSize | None) -> None:
        """Counts the *rows* migrated rows of a committed chunk, and notifies the listener.

        *size*: the worker's chunk size controller; None: the chunk size is not reported.
        """
        with self._lock:
            self._meter.add(rows)
            more: dict[str, Any] = {}
            if size is not None and worker in self._worker_stats:
                self._worker_stats[worker] |= {
                    "chunk_size": size.size,
                    "rate": self._meter.rate / len(self._worker_stats),
                }
                more = {"chunk_size": size.size, "resize_reason": size.resize_reason.value}
            self._listener.advanced(self._snapshot(str(chunk), **more))

    def set_totals(self, total: int, done: int, *, moved: int) -> None:
        """Sets the totals of a count in the background.

        *total*: all rows. *done*: rows that the count found migrated. *moved*: rows that this run had
        migrated when the count started.
        """
        with self._lock:
            self._meter.set_totals(total, max(0, done - moved))

    @property
    def fair_share_rows(self) -> int | None:
        """The share of the remaining rows for one key range, so that all workers end at about the same time.

        None where the number of remaining rows is not known.
        """
        with self._lock:
            left = self._meter.remaining
            return None if left is None else left // (RANGES_PER_WORKER * max(1, len(self._worker_stats)))

    def _snapshot(self, chunk: str, **more: Any) -> Snapshot:
        duty_cycle = self._throttling.duty_cycle
        waits = sorted({facts.get("waits_for") for facts in self._worker_stats.values()} - {None})  # type: ignore[type-var]
        return self._meter.snapshot(
            chunk,
            workers=max(1, len(self._worker_stats)),
            waits_for=", ".join(map(str, waits)),
            share=round(duty_cycle.duty_cycle, 3) if isinstance(duty_cycle, AdaptiveDutyCycle) else None,
            latency=_latency_text(self._throttling.latency_probe),
            **more,
        )


def _latency_text(probe: LatencyProbe | None) -> str:
    if probe is None or probe.latency is None or probe.baseline is None:
        return ""
    return f"{probe.latency}, baseline {probe.baseline}"
