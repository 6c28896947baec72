"""The guard of a revision's statements is installed on every engine, however many existed before."""

from __future__ import annotations

import gc

import sqlalchemy as sa

from online_migrate.ddl.executor import install


def test_guard_is_installed_on_every_new_engine() -> None:
    """Engines are freed and new ones reuse their addresses, while their dialects stay alive."""
    dialects = []
    for _ in range(200):
        engine = sa.create_engine("sqlite://")
        install(engine)
        assert list(engine.dialect.dispatch.do_execute), len(dialects)
        dialects.append(engine.dialect)
        del engine
        gc.collect()


def test_guard_is_installed_once_per_engine() -> None:
    """Otherwise each statement would be sent to the server twice."""
    engine = sa.create_engine("sqlite://")
    for _ in range(3):
        install(engine)
    assert len(list(engine.dialect.dispatch.do_execute)) == 1
