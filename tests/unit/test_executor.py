"""The guard of a revision's statements stands in the way of every engine, however many there were before."""

from __future__ import annotations

import gc

import sqlalchemy as sa

from online_migrate.ddl.executor import install


def test_an_engine_that_comes_after_others_is_watched_as_well() -> None:
    """Engines go, and new ones get their addresses, while their dialects live on."""
    dialects = []
    for _ in range(200):
        engine = sa.create_engine("sqlite://")
        install(engine)
        assert list(engine.dialect.dispatch.do_execute), len(dialects)
        dialects.append(engine.dialect)
        del engine
        gc.collect()


def test_an_engine_is_watched_once() -> None:
    """Else each statement would be taken to the server twice."""
    engine = sa.create_engine("sqlite://")
    for _ in range(3):
        install(engine)
    assert len(list(engine.dialect.dispatch.do_execute)) == 1
