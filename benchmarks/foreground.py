"""The simulated application: timed selects and updates by key, at a fixed rate.

It is a separate process, so that no contender runs in it. It runs until its stdin is closed.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

_THREADS = 4


def main(url: str, rate: float) -> None:
    """Runs *rate* statements per second until stdin is closed; prints the latencies as one JSON document.

    For each kind of statement: [start on the monotonic clock in seconds, latency in milliseconds].
    """
    engine = sa.create_engine(url, pool_size=_THREADS, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        ids = list(connection.scalars(sa.text("SELECT id FROM volumes ORDER BY id")))
        # The first and the last row are left out: they show when a contender begins and ends.
        ids = random.Random(1).sample(ids[1:-1], min(len(ids) - 2, 20_000))
    end = threading.Event()
    found: dict[str, list[tuple[float, float]]] = {"select": [], "update": []}
    threads = [
        threading.Thread(target=_work, args=(engine, ids, rate / _THREADS, end, found, i), daemon=True)
        for i in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.read()
    end.set()
    for thread in threads:
        thread.join(60)
    print(json.dumps(found))


def _work(
    engine: sa.Engine,
    ids: list[Any],
    rate: float,
    end: threading.Event,
    found: dict[str, list[tuple[float, float]]],
    seed: int,
) -> None:
    choose = random.Random(seed)
    select = sa.text("SELECT status, size_gb FROM volumes WHERE id = :id")
    update = sa.text("UPDATE volumes SET status = :status WHERE id = :id")
    with engine.connect() as connection:
        kinds: list[tuple[str, Callable[[Any], object]]] = [
            ("select", lambda id: connection.execute(select, {"id": id}).all()),
            ("update", lambda id: connection.execute(update, {"id": id, "status": str(choose.random())[:8]})),
        ]
        due = time.monotonic() + choose.random() / rate
        while not end.wait(max(0.0, due - time.monotonic())):
            name, do = kinds[choose.random() < 0.5]
            began = time.monotonic()
            do(choose.choice(ids))
            found[name].append((began, (time.monotonic() - began) * 1000))
            due = max(due + choose.expovariate(rate), time.monotonic() - 1.0)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
