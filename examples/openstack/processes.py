"""The processes of the services.

The transport of oslo.messaging is in memory, so they are threads of this process. Otherwise each has what a
process has: an engine, a heartbeat, pins, an RPC server, and the code of one release.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import oslo_messaging
import sqlalchemy as sa
from database import create_engine
from messages import Messages, WatchedEndpoint, WatchedSerializer
from mistakes import NewestPins
from oslo_messaging import Target

from online_migrate import services
from online_migrate.openstack.rpc import PinnedClient

HOSTS = ("host-1", "host-2")


@dataclasses.dataclass(frozen=True)
class Parts:
    """What the endpoints of a process use."""

    engine: sa.Engine
    transport: oslo_messaging.RPCTransport
    serializer: WatchedSerializer
    volume_client: PinnedClient
    hosts: Sequence[str] = HOSTS


@dataclasses.dataclass(frozen=True)
class Cloud:
    """What all processes share."""

    url: str
    transport: oslo_messaging.RPCTransport
    messages: Messages = dataclasses.field(default_factory=Messages)


class Process:
    """A process of a service, from its start on."""

    def __init__(
        self, release: ModuleType, service: str, host: str, cloud: Cloud, *, with_pins: bool = True
    ) -> None:
        self.name = f"{service} on {host}"
        self._release = release
        self._cloud = cloud
        self._engine = create_engine(cloud.url)
        pins = services.Pins(self._engine, expires=0.5) if with_pins else NewestPins(release)
        # Before the RPC server starts: no message can reach a process that the pins do not count.
        self._heartbeat = services.heartbeat(
            self._engine,
            service,
            survives=release.SURVIVES,
            release=release.NAME,
            versions=release.VERSIONS[service],
            host=host,
            process=f"{service} {release.NAME}",
        )
        self._server = self._rpc_server(Target(topic=service, server=host), pins)
        self._server.start()

    def _rpc_server(self, target: Target, pins: Any) -> oslo_messaging.MessageHandlingServer:
        transport, messages = self._cloud.transport, self._cloud.messages
        serializer = WatchedSerializer(
            messages, self._release.MANIFESTS, pins, "volume-objects", base=self._release.VolumeObject
        )
        client = oslo_messaging.get_rpc_client(
            transport, Target(topic="volume-volume"), serializer=serializer
        )
        parts = Parts(self._engine, transport, serializer, PinnedClient(client, pins, "volume-rpc"))
        endpoint = self._release.MANAGERS[target.topic](parts)
        if target.topic == "volume-volume":
            endpoint = WatchedEndpoint(endpoint, messages)
        return oslo_messaging.get_rpc_server(transport, target, [endpoint], serializer=serializer)

    def drain(self) -> None:
        """Answers the requests that it has received, takes no more, and stops."""
        self._server.stop()
        self._server.wait()
        self._heartbeat.stop()
        self._engine.dispose()
