"""Hand-written alternatives to this engine: ``python -m benchmarks.by_hand WHAT URL SECONDS``.

They fill ``size_bytes`` or ``label``. *SECONDS*: the time after which a slow alternative may stop, because
its rate is known by then. The number of filled rows is counted in the table afterwards, because with a
trigger the application fills some of them itself.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, registry

from benchmarks.shape import volumes

GB = 1024**3


def single_update(url: str, patience: float) -> None:
    """Fills the column with one UPDATE of the whole table."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE volumes SET size_bytes = size_gb * CAST({GB} AS {_big(engine)})"))


def _big(engine: sa.Engine) -> str:
    return "BIGINT" if engine.dialect.name == "postgresql" else "SIGNED"


def keyset(size: int) -> Callable[[str, float], None]:
    """Returns a loop over key ranges of *size* rows, the usual first implementation of a backfill."""

    def run(url: str, patience: float) -> None:
        engine = sa.create_engine(url)
        last = ""
        upper = sa.text("SELECT id FROM volumes WHERE id > :last ORDER BY id LIMIT 1 OFFSET :n")
        end = sa.text("SELECT max(id) FROM volumes WHERE id > :last")
        update = sa.text(
            f"UPDATE volumes SET size_bytes = size_gb * CAST({GB} AS {_big(engine)}) "
            "WHERE id > :last AND id <= :upper AND size_bytes IS NULL"
        )
        with engine.connect() as connection:
            while True:
                with connection.begin():
                    found = connection.scalar(upper, {"last": last, "n": size - 1})
                    found = found or connection.scalar(end, {"last": last})
                    if found is None:
                        break
                    connection.execute(update, {"last": last, "upper": found})
                    last = found

    return run


def _trigger() -> str:
    """Returns a trigger equivalent to the one that pgroll installs.

    It copies every column into a variable for use in the expression, checks the schema version of the
    session, and marks the row as filled.
    """
    copies = " ".join(f'"{c.name}" volumes."{c.name}"%%TYPE := NEW."{c.name}";' for c in volumes().columns)
    return f"""
        ALTER TABLE volumes ADD COLUMN unfilled boolean DEFAULT true;
        CREATE OR REPLACE FUNCTION volumes_size_bytes() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE {copies} path text;
        BEGIN
            SELECT current_setting INTO path FROM current_setting('search_path');
            IF path <> 'the_new_version' THEN
                NEW.size_bytes := size_gb * CAST({GB} AS BIGINT);
                NEW.unfilled := false;
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER volumes_size_bytes BEFORE INSERT OR UPDATE ON volumes
        FOR EACH ROW EXECUTE FUNCTION volumes_size_bytes();
    """


_TOUCH = """
    WITH batch AS (SELECT id FROM volumes WHERE unfilled AND id > :last
                   ORDER BY id LIMIT 1000 FOR NO KEY UPDATE),
         touched AS (UPDATE volumes SET id = volumes.id FROM batch WHERE volumes.id = batch.id
                     RETURNING volumes.id)
    SELECT max(id) FROM touched
"""


def touch(url: str, patience: float) -> None:
    """Fills the column in the way of pgroll: a trigger computes it, and 1,000 rows at a time are updated.

    Source: pgroll, pkg/backfill.
    """
    engine = sa.create_engine(url)
    last = ""
    with engine.connect() as connection:
        with connection.begin():
            connection.exec_driver_sql(_trigger())
        while last is not None:
            with connection.begin():
                last = connection.scalar(sa.text(_TOUCH), {"last": last})


def cinder(url: str, patience: float) -> None:
    """Runs Cinder's loop: count the remaining rows, load 50 unmigrated objects, change them, commit.

    Stops after *patience* seconds.
    """
    engine = sa.create_engine(url)
    model = type("Volume", (), {})
    registry().map_imperatively(model, volumes())
    began = time.monotonic()
    while time.monotonic() - began < patience:
        with Session(engine) as session, session.begin():
            left: Any = session.query(model).filter(model.size_bytes.is_(None))  # type: ignore[attr-defined]
            if not left.count():
                break
            for volume in left.limit(50):
                volume.size_bytes = volume.size_gb * GB


def orm(url: str, patience: float) -> None:
    """Runs an ORM loop without counting: 1,000 objects at a time, in the order of their key.

    Stops after *patience* seconds.
    """
    engine = sa.create_engine(url)
    model = type("Volume", (), {})
    registry().map_imperatively(model, volumes())
    last, began = "", time.monotonic()
    while time.monotonic() - began < patience:
        with Session(engine) as session, session.begin():
            query: Any = session.query(model).filter(model.id > last)  # type: ignore[attr-defined]
            found = query.order_by(model.id).limit(1000).all()  # type: ignore[attr-defined]
            if not found:
                break
            for volume in found:
                volume.label = f"{volume.display_name} ({volume.host})"
            last = found[-1].id


_ALL: Mapping[str, Callable[[str, float], None]] = {
    "single": single_update,
    "keyset": keyset(5_000),
    "touch": touch,
    "cinder": cinder,
    "orm": orm,
}


if __name__ == "__main__":
    _ALL[sys.argv[1]](sys.argv[2], float(sys.argv[3]))
