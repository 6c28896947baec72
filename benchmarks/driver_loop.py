"""Loops over a bare driver: ``python -m benchmarks.driver_loop SERVER WHAT ROWS CONNECTION``.

*WHAT*: ``by_hand``, the statements that a careful DBA writes, or ``engine``, the statements that this engine
sends for a ``Backfill``. *ROWS*: the size of a chunk. *CONNECTION*: the arguments of the driver's connect
function as JSON: ``[[...], {...}]``. This module imports neither SQLAlchemy nor this engine.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

GB = 1024**3
LEASES = "benchmark_worker"
"""The name of a table like ``online_migrate_worker``."""
DRIVERS = {"postgresql": "psycopg2", "mysql": "pymysql"}
"""The driver, by server. MariaDB counts as ``mysql``."""
_BIG = {"postgresql": "BIGINT", "mysql": "SIGNED"}


def by_hand(connection: Any, server: str, size: int) -> None:
    """Fills the column in key ranges of *size* rows: find the end of the next range, UPDATE, commit."""
    cursor, lower = connection.cursor(), None
    while True:
        above = "TRUE" if lower is None else "id > %(lower)s"
        cursor.execute(
            f"SELECT id FROM volumes WHERE {above} ORDER BY id LIMIT 1 OFFSET {size - 1}", {"lower": lower}
        )
        found = cursor.fetchone()
        upper = None if found is None else found[0]
        inside = above if upper is None else f"{above} AND id <= %(upper)s"
        cursor.execute(
            f"UPDATE volumes SET size_bytes = size_gb * CAST({GB} AS {_BIG[server]}) "
            f"WHERE {inside} AND size_bytes IS NULL",
            {"lower": lower, "upper": upper},
        )
        connection.commit()
        if upper is None:
            return
        lower = upper


# --- the statements of the engine ----------------------------------------------------------------

_PENDING = "((volumes.size_bytes IS NULL) IS NOT FALSE)"
_EPOCH = {
    "postgresql": "CAST(floor(EXTRACT(epoch FROM clock_timestamp())) AS BIGINT)",
    "mysql": "unix_timestamp()",
}
_TABLE = {"postgresql": "volumes", "mysql": "volumes FORCE INDEX (`PRIMARY`)"}


def engine(connection: Any, server: str, size: int) -> None:
    """Fills the column with the engine's statements, one chunk after the other, on one connection.

    The transaction of a chunk: find its end; UPDATE its rows and count those that are still pending; advance
    the lease. The key range of the lease is the whole table.
    """
    cursor = connection.cursor()
    cursor.execute("SELECT max(id) FROM volumes")
    bounds = {"lower": None, "last": cursor.fetchone()[0]}
    connection.commit()
    while bounds["lower"] != bounds["last"]:
        cursor.execute(_end(server, bounds["lower"] is None), {**bounds, "skipped": size - 1})
        found = cursor.fetchone()
        chunk = {"lower": bounds["lower"], "upper": bounds["last"] if found is None else found[0]}
        done, still = _update(cursor, server, chunk)
        if still:
            raise RuntimeError(f"{still} rows are still pending after their UPDATE")
        _advance(cursor, server, chunk, done, is_last=chunk["upper"] == bounds["last"])
        connection.commit()
        bounds["lower"] = chunk["upper"]


def _inside(from_start: bool, upper: str) -> str:
    end = f"volumes.id <= %({upper})s"
    return end if from_start else f"volumes.id > %(lower)s AND {end}"


def _end(server: str, from_start: bool) -> str:
    limit = {"postgresql": "LIMIT 1 OFFSET %(skipped)s", "mysql": "LIMIT %(skipped)s, 1"}[server]
    where = _inside(from_start, "last")
    return f"SELECT volumes.id FROM {_TABLE[server]} WHERE {where} ORDER BY volumes.id {limit}"


def _update(cursor: Any, server: str, chunk: dict[str, Any]) -> tuple[int, int]:
    """Updates the rows of *chunk*; returns the number of updated rows, and of those still pending."""
    where = f"{_inside(chunk['lower'] is None, 'upper')} AND {_PENDING}"
    update = (
        f"UPDATE {_TABLE[server]} SET size_bytes=(CAST(volumes.size_gb AS "
        f"{'BIGINT' if server == 'postgresql' else 'SIGNED INTEGER'}) * {GB}) WHERE {where}"
    )
    if server == "postgresql":
        cursor.execute(
            f"WITH moved AS ({update} RETURNING (volumes.size_bytes IS NULL) IS NOT FALSE AS p) "
            "SELECT count(*) AS count_1, count(*) FILTER (WHERE moved.p) AS anon_1 FROM moved",
            chunk,
        )
        done, still = cursor.fetchone()
        return done, still
    cursor.execute(update, chunk)
    done = cursor.rowcount
    cursor.execute(f"SELECT volumes.id FROM {_TABLE[server]} WHERE {where} ORDER BY volumes.id", chunk)
    return done, len(cursor.fetchall())


def _advance(cursor: Any, server: str, chunk: dict[str, Any], done: int, *, is_last: bool) -> None:
    before = None if chunk["lower"] is None else _encoded(chunk["lower"])
    new = "extent=NULL, lower_key=NULL, upper_key=NULL" if is_last else "lower_key=%(upper)s"
    there = "lower_key IS NULL" if before is None else "lower_key = %(before)s"
    cursor.execute(
        f"UPDATE {LEASES} SET {new}, done=({LEASES}.done + %(more)s), heartbeat={_EPOCH[server]} "
        f"WHERE {LEASES}.id = %(worker)s AND {LEASES}.extent = %(held)s AND {LEASES}.{there}",
        {"upper": _encoded(chunk["upper"]), "before": before, "more": done, "worker": "worker", "held": 1},
    )
    if cursor.rowcount != 1:
        raise RuntimeError(f"the lease in {LEASES} does not begin at {before}")


def _encoded(key: Any) -> str:
    return json.dumps([key], ensure_ascii=False, separators=(",", ":"))


_ALL = {"by_hand": by_hand, "engine": engine}


def main(server: str, what: str, size: str, arguments: str) -> None:
    """Connects, and runs the loop *what* until no row is left."""
    positional, named = json.loads(arguments)
    connection = importlib.import_module(DRIVERS[server]).connect(*positional, **named)
    _ALL[what](connection, server, int(size))
    connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
