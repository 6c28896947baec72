"""What a process of this release reports, and its RPC endpoints."""

from __future__ import annotations

from pathlib import Path

from online_migrate import services

from .managers import ApiManager, SchedulerManager, VolumeManager
from .objects import MANIFESTS, VolumeObject

__all__ = ["MANAGERS", "MANIFESTS", "NAME", "SURVIVES", "VERSIONS", "VolumeObject"]

NAME = "2026.2"
SURVIVES = services.contract_revisions(Path(__file__).parents[1] / "alembic.ini")
"""The contract revisions that the code survives."""

MANAGERS = {
    "volume-api": ApiManager,
    "volume-scheduler": SchedulerManager,
    "volume-volume": VolumeManager,
}
VERSIONS = {
    "volume-api": {"volume-objects": MANIFESTS.newest},
    "volume-scheduler": {"volume-objects": MANIFESTS.newest},
    "volume-volume": {"volume-objects": MANIFESTS.newest, "volume-rpc": VolumeManager.target.version},
}
"""service -> the named versions that it reports."""
