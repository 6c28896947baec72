"""Hand-written alternatives to this engine: ``python -m benchmarks.by_hand WHAT URL SECONDS SHAPE``.

They fill ``size_bytes`` or ``label``. *SECONDS*: the time after which a slow alternative may stop, because
its rate is known by then. *SHAPE*: the shape of the table, see :mod:`benchmarks.shape`. The number of filled
rows is counted in the table afterwards, because with a trigger the application fills some of them itself.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, registry

from benchmarks.driver_loop import GB
from benchmarks.shape import volumes


def single_update(url: str, patience: float, shape: str) -> None:
    """Fills the column with one UPDATE of the whole table."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE volumes SET size_bytes = size_gb * CAST({GB} AS {_big(engine)})"))


def _big(engine: sa.Engine) -> str:
    return "BIGINT" if engine.dialect.name == "postgresql" else "SIGNED"


def keyset(size: int) -> Callable[[str, float, str], None]:
    """Returns a loop over key ranges of *size* rows, the usual first implementation of a backfill."""

    def run(url: str, patience: float, shape: str) -> None:
        engine = sa.create_engine(url)
        last: Any = None
        with engine.connect() as connection:
            while True:
                above = _above(last)
                upper = f"SELECT id FROM volumes WHERE {above} ORDER BY id LIMIT 1 OFFSET {size - 1}"
                end = f"SELECT max(id) FROM volumes WHERE {above}"
                update = (
                    f"UPDATE volumes SET size_bytes = size_gb * CAST({GB} AS {_big(engine)}) "
                    f"WHERE {above} AND id <= :upper AND size_bytes IS NULL"
                )
                bounds = {} if last is None else {"last": last}
                with connection.begin():
                    found = connection.scalar(sa.text(upper), bounds)
                    if found is None:
                        found = connection.scalar(sa.text(end), bounds)
                    if found is None:
                        break
                    connection.execute(sa.text(update), {**bounds, "upper": found})
                    last = found

    return run


def _above(last: Any) -> str:
    """Returns the condition of the rows above the key ``:last``; of all rows if *last* is None."""
    return "TRUE" if last is None else "id > :last"


def _trigger(shape: str) -> str:
    """Returns a trigger equivalent to the one that pgroll installs.

    It copies every column into a variable for use in the expression, checks the schema version of the
    session, and marks the row as filled.
    """
    copies = " ".join(
        f'"{c.name}" volumes."{c.name}"%%TYPE := NEW."{c.name}";' for c in volumes(shape).columns
    )
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
    WITH batch AS (SELECT id FROM volumes WHERE unfilled AND {above}
                   ORDER BY id LIMIT 1000 FOR NO KEY UPDATE),
         touched AS (UPDATE volumes SET id = volumes.id FROM batch WHERE volumes.id = batch.id
                     RETURNING volumes.id)
    SELECT max(id) FROM touched
"""


def touch(url: str, patience: float, shape: str) -> None:
    """Fills the column in the way of pgroll: a trigger computes it, and 1,000 rows at a time are updated.

    Source: pgroll, pkg/backfill.
    """
    engine = sa.create_engine(url)
    last: Any = None
    with engine.connect() as connection:
        with connection.begin():
            connection.exec_driver_sql(_trigger(shape))
        while True:
            statement = sa.text(_TOUCH.format(above=_above(last)))
            with connection.begin():
                last = connection.scalar(statement, {} if last is None else {"last": last})
            if last is None:
                break


def cinder(url: str, patience: float, shape: str) -> None:
    """Runs Cinder's loop: count the remaining rows, load 50 unmigrated objects, change them, commit.

    Stops after *patience* seconds.
    """
    engine = sa.create_engine(url)
    model = type("Volume", (), {})
    registry().map_imperatively(model, volumes(shape))
    began = time.monotonic()
    while time.monotonic() - began < patience:
        with Session(engine) as session, session.begin():
            left: Any = session.query(model).filter(model.size_bytes.is_(None))  # type: ignore[attr-defined]  # mapped at run time
            if not left.count():
                break
            for volume in left.limit(50):
                volume.size_bytes = volume.size_gb * GB


def orm(url: str, patience: float, shape: str) -> None:
    """Runs an ORM loop without counting: 1,000 objects at a time, in the order of their key.

    Stops after *patience* seconds.
    """
    engine = sa.create_engine(url)
    model = type("Volume", (), {})
    registry().map_imperatively(model, volumes(shape))
    last: Any = None
    began = time.monotonic()
    while time.monotonic() - began < patience:
        with Session(engine) as session, session.begin():
            query: Any = session.query(model)
            if last is not None:
                query = query.filter(model.id > last)  # type: ignore[attr-defined]  # mapped at run time
            found = query.order_by(model.id).limit(1000).all()  # type: ignore[attr-defined]  # mapped at run time
            if not found:
                break
            for volume in found:
                volume.label = f"{volume.display_name} ({volume.host})"
            last = found[-1].id


_ALL: Mapping[str, Callable[[str, float, str], None]] = {
    "single": single_update,
    "keyset": keyset(5_000),
    "touch": touch,
    "cinder": cinder,
    "orm": orm,
}


if __name__ == "__main__":
    _ALL[sys.argv[1]](sys.argv[2], float(sys.argv[3]), sys.argv[4])
