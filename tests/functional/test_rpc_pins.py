"""A real client of oslo.messaging and real servers of two releases, between which an argument was renamed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import oslo_messaging
import pytest
from oslo_config import cfg
from oslo_messaging import RPCVersionCapError, Target

from online_migrate import services
from online_migrate.exceptions import UsageError
from online_migrate.openstack.rpc import MessageTooNew, PinnedClient
from online_migrate.services.errors import PinUnknown
from tests.servers import Database
from tests.support.project import Project
from tests.support.services import live

pytestmark = pytest.mark.each_product


class OldManager:
    """The endpoint of the old release."""

    target = Target(version="1.3")

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, Any]]] = []

    def extend(self, ctxt: Any, size: int) -> str:
        self.received.append(("old", {"size": size}))
        return "old"


class NewManager(OldManager):
    """The endpoint of the new release, which understands both names of the argument."""

    target = Target(version="1.4")

    def extend(self, ctxt: Any, size: int | None = None, new_size: int | None = None) -> str:  # type: ignore[override]
        given = {"size": size, "new_size": new_size}
        self.received.append(("new", {name: value for name, value in given.items() if value is not None}))
        return "new"


@pytest.fixture(scope="module")
def transport() -> Iterator[oslo_messaging.RPCTransport]:
    """The transport inside of this process. Servers read their options from cfg.CONF."""
    cfg.CONF([], project="online-migrate-test")
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url="fake://")
    yield transport
    transport.cleanup()
    cfg.CONF.reset()


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand("pass", "e1")
        project.apply_expand()
        yield project


@contextlib.contextmanager
def running(
    database: Database, transport: Any, topic: str, *managers: OldManager
) -> Iterator[list[contextlib.ExitStack]]:
    """A process for each manager: it registers before its server starts, and stops after it."""
    with contextlib.ExitStack() as all_of_them:
        processes = []
        for manager in managers:
            process = all_of_them.enter_context(contextlib.ExitStack())
            name = type(manager).__name__
            version = {"volume-rpc": manager.target.version}
            process.enter_context(live(database, service="volume", process=name, versions=version))
            server = oslo_messaging.get_rpc_server(transport, Target(topic=topic, server=name), [manager])
            server.start()
            process.callback(server.wait)
            process.callback(server.stop)
            processes.append(process)
        yield processes


def extend(client: PinnedClient, size: int) -> Any:
    """How an application calls: the newest form that can be sent."""
    if client.can_send("1.4"):
        return client.call({}, "extend", version="1.4", new_size=size)
    return client.call({}, "extend", version="1.3", size=size)


def test_client_sends_what_the_oldest_server_understands(
    project: Project, database: Database, transport: oslo_messaging.RPCTransport
) -> None:
    """It switches by itself when the last old process has stopped, and no message is lost meanwhile."""
    now = [0.0]
    pins = services.Pins(database.url, expires=60, clock=lambda: now[0])
    topic = database.url
    plain = oslo_messaging.get_rpc_client(transport, Target(topic=topic, version="1.0"), timeout=20)
    client = PinnedClient(plain, pins, "volume-rpc")
    old, new = OldManager(), NewManager()
    with running(database, transport, topic, old, new) as (old_process, _new_process):
        while not (old.received and new.received):  # each message goes to either of them
            extend(client, 1)
        assert {name for one in (*old.received, *new.received) for name in one[1]} == {"size"}

        # The library without a pin: the call fails at the old server, and the cast is dropped there.
        to_old = plain.prepare(version="1.4", server="OldManager")
        with pytest.raises(oslo_messaging.UnsupportedVersion):
            to_old.call({}, "extend", new_size=7)
        to_old.cast({}, "extend", new_size=7)
        before = len(old.received)
        for send in (client.call, client.cast):
            with pytest.raises(
                MessageTooNew, match=r"extend in version 1\.4 .* of volume-rpc is 1\.3"
            ) as refused:
                send({}, "extend", version="1.4", new_size=7)
            assert refused.value.version_cap == "1.3"
            assert isinstance(refused.value, RPCVersionCapError)
        message = client.prepare(version="1.4", fanout=True)
        assert not message.can_send_version()
        assert message.can_send_version("1.3")
        with pytest.raises(MessageTooNew):
            message.cast({}, "extend", new_size=7)
        client.prepare(version="1.3", server="OldManager").call({}, "extend", size=8)
        assert old.received[before:] == [("old", {"size": 8})]

        with calling(client, new) as answers:
            old_process.close()
            assert new.received[-1][1].keys() == {"size"}  # the pin is cached
            now[0] += 60
        assert {*answers} <= {"old", "new"}
        assert extend(client, 9) == "new"
        assert new.received[-1] == ("new", {"new_size": 9})
        assert message.can_send_version()  # a message that was prepared before has the pin of now


@contextlib.contextmanager
def calling(client: PinnedClient, new: NewManager) -> Iterator[list[str]]:
    """Two threads call until a server has received the new form. No call may fail."""
    answers: list[str] = []

    def call() -> None:
        while "new_size" not in new.received[-1][1]:
            answers.append(extend(client, len(answers)))

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(call) for _ in range(2)]
        yield answers
        for one in calls:
            one.result()


def test_casts_arrive(project: Project, database: Database, transport: oslo_messaging.RPCTransport) -> None:
    """Options of the message are kept; the cap of the client holds beside the pin; an unknown pin refuses."""
    topic = f"casts {database.url}"
    arrived = threading.Barrier(2)

    class Manager(NewManager):
        def done(self, ctxt: Any, version: str) -> None:
            self.received.append(("done", {"version": version}))
            arrived.wait(20)

    pins = services.Pins(database.url, expires=0)
    target = Target(topic=topic)
    plain = oslo_messaging.get_rpc_client(transport, target, timeout=20, version_cap="1.3")
    client = PinnedClient(plain, pins, "volume-rpc")
    with pytest.raises(PinUnknown):
        client.cast({}, "extend", version="1.3", size=1)
    manager = Manager()
    with running(database, transport, topic, manager):
        with pytest.raises(MessageTooNew, match=r"the version_cap of the client is 1\.3"):
            client.cast({}, "extend", version="1.4", new_size=1)
        with pytest.raises(UsageError, match="the message has no version"):
            client.cast({}, "extend", size=1)
        with pytest.raises(UsageError, match="it is the pin of volume-rpc"):
            client.prepare(version_cap="1.9")
        assert not client.can_send("2.0")
        message = client.prepare(version="1.3").prepare(server="Manager")
        assert (message.target.version, message.target.server) == ("1.3", "Manager")
        message.cast({}, "done", version="of the argument")
        arrived.wait(20)
        client.prepare(version="1.2", fanout=True).cast({}, "done", version="to all")
        arrived.wait(20)
    assert [one[1] for one in manager.received] == [{"version": "of the argument"}, {"version": "to all"}]
    with (
        live(database, versions={"volume-rpc": "2"}),
        pytest.raises(UsageError, match=r"is 2, .* MAJOR\.MINOR"),
    ):
        client.can_send("1.3")
