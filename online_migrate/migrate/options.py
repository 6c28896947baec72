"""The options of a run of data migrations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from online_migrate.config import Settings
from online_migrate.ddl.session import require_connections
from online_migrate.declared import Option, flags_of
from online_migrate.dialects import dialect_of
from online_migrate.migrate.pace import Pace

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

FLAGS: Mapping[str, Option] = flags_of(Settings, "migrate")
"""The settings that have a flag of ``migrate``, by name."""


class MigrateOptions:
    """The limits of a run, and the settings that are overridden for this run only.

    *max_count*: the maximum number of rows to migrate, in all data migrations together. *max_time*: seconds
    after which no further chunk is started. *overrides*: settings that have a flag (see
    :class:`~online_migrate.config.Settings`); None: the project's setting is used. ``replicas`` is a sequence
    of URLs.

    Raises :class:`TypeError` for an unknown keyword.
    """

    def __init__(
        self, *, max_count: int | None = None, max_time: float | None = None, **overrides: Any
    ) -> None:
        unknown = sorted(set(overrides) - set(FLAGS))
        if unknown:
            raise TypeError(f"MigrateOptions has no option {unknown[0]!r}; it has {', '.join(FLAGS)}")
        self.max_count = max_count
        self.max_time = max_time
        self.overrides = {name: value for name, value in overrides.items() if value not in (None, (), [])}

    def apply_to(self, settings: Settings) -> Settings:
        """Returns *settings* with the overrides applied."""
        values = dict(self.overrides)
        for name, value in values.items():
            if FLAGS[name].path:
                # A path on the command line is relative to the working directory.
                values[name] = str(Path(value).absolute())
            if FLAGS[name].multiple:
                values[name] = " ".join([value] if isinstance(value, str) else value)
        return dataclasses.replace(settings, **values)


def pace_of(settings: Settings) -> Pace:
    """Returns the pace that *settings* configure."""
    return Pace.named(
        settings.pace,
        chunk_time=settings.chunk_time,
        sleep_ratio=settings.nice,
        batch_size=settings.batch_size,
    )


def require_connections_of(engine: Engine, settings: Settings) -> None:
    """Refuses a run that needs more connections than the server, or the database user, allows.

    The second connection of a worker and the connection of its prefetcher are not counted: a worker runs
    without them. *engine*: has connected once.
    """
    if dialect_of(engine).single_writer:
        return
    adaptive = pace_of(settings).adaptive
    # The heartbeat, the throttlers, and the latency probe.
    needed = settings.workers + 2 + adaptive
    options = ["--workers 1"] if settings.workers > 1 else []
    options += ["--pace full"] if adaptive else []
    fewer = f", or use fewer: {' '.join(options)}" if options else ""
    require_connections(engine, needed, "migrate", fewer=fewer)
