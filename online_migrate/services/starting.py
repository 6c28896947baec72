"""Starts the heartbeat of a process: with threads, for scripts, and for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL
from sqlalchemy.engine import Engine

from online_migrate import exceptions
from online_migrate.services import errors
from online_migrate.services.bind import engine_of
from online_migrate.services.reporting import Heartbeat, OnRefused
from online_migrate.services.service import report

if TYPE_CHECKING:
    from online_migrate import state

__all__ = ["Heartbeat", "async_heartbeat", "heartbeat"]


def heartbeat(
    bind: Engine | URL | str,
    service: str,
    *,
    survives: Collection[str],
    release: str | None = None,
    versions: Mapping[str, str] | None = None,
    dead_after: float = 60.0,
    interval: float | None = None,
    host: str | None = None,
    process: str | None = None,
    on_refused: OnRefused | None = None,
    pooler: str | None = None,
) -> Heartbeat:
    """Registers this process as one of *service*, and reports that it lives until it is stopped.

    *bind*: the application's engine, or the URL of the database. *survives*: the contract revisions that the
    code survives; see :func:`~online_migrate.services.contract_revisions`. *versions*: named versions, such
    as ``{"volume-rpc": "3.10"}``. *dead_after*: seconds of silence after which the process is stale.
    *interval*: seconds between two heartbeats; default: a sixth of *dead_after*. *host*, *process*: the name
    of this host and of this process; two live processes must not have the same. *on_refused*: called in the
    thread of the heartbeat, with the error, once the database has been contracted beyond what the code
    survives. Without it the error is only logged. *pooler*: ``session`` for a URL of a connection pooler that
    keeps one session of PostgreSQL for each client.

    Raises :class:`~online_migrate.services.errors.ServiceRefused` if it was contracted, or is being
    contracted, beyond that already, and :class:`~online_migrate.services.errors.VersionTooOld` if it reports
    an older version than every other process: see :class:`~online_migrate.services.Pins`. A lost connection
    is logged and replaced, and never raises an error here.
    """
    new, interval = _report(
        service, survives, release, versions or {}, dead_after, interval, host=host, process=process
    )
    engine = engine_of(bind, pooler)
    beat = Heartbeat(engine, new, interval=interval, on_refused=on_refused)
    beat.start()
    return beat


@contextlib.asynccontextmanager
async def async_heartbeat(
    bind: Engine | URL | str, service: str, *, on_refused: OnRefused | None = None, **more: Any
) -> AsyncIterator[Heartbeat]:
    """Does the same as :func:`heartbeat` without blocking the event loop, for the ``async with`` block.

    *bind*: of an asynchronous engine, its ``url``. *on_refused*: called in the event loop. *more*: the other
    arguments of :func:`heartbeat`. The heartbeats are sent by a thread: also a process whose event loop hangs
    can still write.
    """
    loop = asyncio.get_running_loop()
    in_loop: OnRefused | None = None
    if on_refused is not None:
        in_loop = _called_in(loop, on_refused)
    cancelled = threading.Event()
    started: list[Heartbeat] = []

    def start() -> None:
        started.append(heartbeat(bind, service, on_refused=in_loop, **more))
        if cancelled.is_set():
            started[0].stop()

    try:
        await asyncio.to_thread(start)
    except asyncio.CancelledError:
        # The thread continues. It stops the heartbeat, or the heartbeat is already in the list.
        cancelled.set()
        for beat in started:
            await asyncio.to_thread(beat.stop)
        raise
    [beat] = started
    try:
        yield beat
    finally:
        await asyncio.to_thread(beat.stop)


def _called_in(loop: asyncio.AbstractEventLoop, function: OnRefused) -> Callable[[exceptions.Refused], None]:
    def call(error: exceptions.Refused) -> None:
        loop.call_soon_threadsafe(function, error)

    return call


def _report(
    service: str,
    survives: Collection[str],
    release: str | None,
    versions: Mapping[str, str],
    dead_after: float,
    interval: float | None,
    *,
    host: str | None,
    process: str | None,
) -> tuple[state.NewService, float]:
    """Returns what the process reports, and the seconds between two heartbeats."""
    if not 1 <= dead_after < math.inf:
        raise errors.ServiceBroken(service=service, reason="dead_after must be at least 1 s")
    interval = dead_after / 6 if interval is None else interval
    if not 0 < interval <= dead_after / 2:
        raise errors.ServiceBroken(
            service=service, reason="interval must be above 0 and at most half of dead_after"
        )
    new = report(
        uuid.uuid4().hex,
        service,
        host=host or socket.gethostname(),
        process=process or str(os.getpid()),
        release=release,
        survives=survives,
        versions=versions,
        dead_after=math.ceil(dead_after),
    )
    return new, interval
