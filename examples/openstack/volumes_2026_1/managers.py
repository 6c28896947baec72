"""The RPC endpoints of the three services in release 2026.1."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from oslo_messaging import Target

from .db import VolumeTable
from .objects import Volume
from .rpc import SchedulerAPI, VolumeAPI

if TYPE_CHECKING:
    from processes import Parts


class ApiManager:
    """volume-api: what users call. Sizes are in GiB there."""

    target = Target(version="1.0")

    def __init__(self, parts: Parts) -> None:
        self._volumes = VolumeTable(parts.engine)
        self._scheduler_api = SchedulerAPI(parts.transport, parts.serializer)
        self._volume_api = VolumeAPI(parts.volume_client)

    def create(self, ctxt: Any, size: int) -> dict[str, int]:
        """Creates a volume."""
        volume = self._scheduler_api.create(Volume(id=None, host=None, size=size))
        return {"id": volume.id, "size": volume.size}

    def resize(self, ctxt: Any, volume_id: int, size: int) -> dict[str, int]:
        """Changes the size of a volume."""
        host, _size = self._volumes.get(volume_id)
        self._volume_api.resize(host, volume_id, size)
        return {"id": volume_id, "size": size}

    def show(self, ctxt: Any, volume_id: int) -> dict[str, int]:
        """Returns a volume."""
        _host, size = self._volumes.get(volume_id)
        return {"id": volume_id, "size": size}


class SchedulerManager:
    """volume-scheduler: chooses the host of a new volume."""

    target = Target(version="1.0")

    def __init__(self, parts: Parts) -> None:
        self._hosts = itertools.cycle(parts.hosts)
        self._volume_api = VolumeAPI(parts.volume_client)

    def create(self, ctxt: Any, volume: Volume) -> Volume:
        """Creates a volume on the next host."""
        volume.host = next(self._hosts)
        return self._volume_api.create(volume)


class VolumeManager:
    """volume-volume: one process on each host, which has the volumes of that host."""

    target = Target(version="1.3")

    def __init__(self, parts: Parts) -> None:
        self._volumes = VolumeTable(parts.engine)

    def create(self, ctxt: Any, volume: Volume) -> Volume:
        """Creates a volume."""
        volume.id = self._volumes.create(volume.host, volume.size)
        return volume

    def resize(self, ctxt: Any, volume_id: int, size: int) -> None:
        """Changes the size of a volume, in GiB."""
        self._volumes.resize(volume_id, size)
