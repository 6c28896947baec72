"""The clients of the RPC APIs in release 2026.2."""

from __future__ import annotations

import oslo_messaging
from oslo_messaging import Target

from online_migrate.openstack.rpc import PinnedClient

from .data_migrations import GIB
from .objects import Volume


class SchedulerAPI:
    """volume-scheduler, from 1.0 on."""

    def __init__(self, transport: oslo_messaging.RPCTransport, serializer: oslo_messaging.Serializer) -> None:
        target = Target(topic="volume-scheduler", version="1.0")
        self._client = oslo_messaging.get_rpc_client(transport, target, serializer=serializer)

    def create(self, volume: Volume) -> Volume:
        """Creates a volume on a host that the scheduler chooses."""
        return self._client.call({}, "create", volume=volume)


class VolumeAPI:
    """volume-volume, 1.3: ``resize(volume_id, size)``; 1.4: ``resize(volume_id, size_bytes)``."""

    def __init__(self, client: PinnedClient) -> None:
        self._client = client

    def create(self, volume: Volume) -> Volume:
        """Creates a volume on its host."""
        return self._client.prepare(server=volume.host, version="1.0").call({}, "create", volume=volume)

    def resize(self, host: str, volume_id: int, size_bytes: int) -> None:
        """Changes the size of a volume. Its process may run the old release until the pin is 1.4."""
        message = self._client.prepare(server=host)
        if self._client.can_send("1.4"):
            message = message.prepare(version="1.4")
            message.call({}, "resize", volume_id=volume_id, size_bytes=size_bytes)
        else:
            message = message.prepare(version="1.3")
            message.call({}, "resize", volume_id=volume_id, size=size_bytes // GIB)
