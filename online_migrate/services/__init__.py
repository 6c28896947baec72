"""The live services: which code runs, and what its processes keep from being contracted.

Each process of an application calls :func:`heartbeat`. The gate of contract reads what the processes report,
and :class:`Pins` returns the versions that all of them understand.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from online_migrate.services.pins import Pins
    from online_migrate.services.reported import ReportedService
    from online_migrate.services.shipped import contract_revisions
    from online_migrate.services.starting import Heartbeat, async_heartbeat, heartbeat

__all__ = ["Heartbeat", "Pins", "ReportedService", "async_heartbeat", "contract_revisions", "heartbeat"]

_MODULES = {
    "Heartbeat": "starting",
    "Pins": "pins",
    "ReportedService": "reported",
    "async_heartbeat": "starting",
    "contract_revisions": "shipped",
    "heartbeat": "starting",
}


def __getattr__(name: str) -> Any:
    # The gate needs neither the thread of a heartbeat nor the scripts.
    try:
        module = _MODULES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
