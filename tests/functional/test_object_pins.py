"""Versioned objects are sent in the manifest that the oldest live process reports."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from online_migrate import services
from online_migrate.openstack.objects import ManifestUnknown, PinnedSerializer
from online_migrate.services.errors import PinUnknown
from tests.servers import Database
from tests.support.objects import GIB, MANIFESTS, Attachment, Volume, new_release, old_release, sent
from tests.support.project import Project
from tests.support.services import live

pytestmark = pytest.mark.each_product


def test_objects_follow_the_oldest_live_process(database: Database, tmp_path: Path) -> None:
    """The serializer is not made again: it follows the pin. No process at all is not a pin."""
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand("pass", "e1")
        project.apply_expand()
    now = [0.0]
    pins = services.Pins(database.url, expires=60, clock=lambda: now[0])
    serializer = PinnedSerializer(MANIFESTS, pins, "volume-objects")
    with new_release():
        attachment = Attachment(volume=Volume(size_bytes=3 * GIB), volumes=[])
        with pytest.raises(PinUnknown):
            serializer.serialize_entity(None, attachment)
    with contextlib.ExitStack() as old_process:
        old_process.enter_context(live(database, versions={"volume-objects": "3.9"}, process="old"))
        with live(database, versions={"volume-objects": "3.10"}, process="new"):
            with new_release():
                message = sent(serializer.serialize_entity(None, attachment))
            with old_release() as old:
                assert old.deserialize_entity(None, message).volume.size == 3
            old_process.close()
            now[0] += 60
            with new_release():
                message = sent(serializer.serialize_entity(None, attachment))
                assert message["versioned_object.version"] == "1.1"
                assert serializer.deserialize_entity(None, message).volume.size_bytes == 3 * GIB
    with live(database, versions={"volume-objects": "3.8"}), new_release():
        now[0] += 60
        with pytest.raises(ManifestUnknown, match=r"does not know manifest 3\.8"):
            serializer.serialize_entity(None, attachment)
