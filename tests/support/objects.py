"""The versioned objects of two releases. Between them ``size`` (GiB) of a volume became ``size_bytes``."""

from __future__ import annotations

import collections
import contextlib
import json
from collections.abc import Iterator
from typing import Any

from oslo_versionedobjects import base, fields

from online_migrate.openstack.objects import Manifests, MovedField, MovedFields

GIB = 1024**3
SIZE = MovedField("size", "size_bytes", "1.1", to_new=lambda gib: gib * GIB, to_old=lambda size: size // GIB)
OLD = {"Volume": "1.0", "Attachment": "1.0", "Volumes": "1.0"}
MANIFESTS = Manifests({"3.9": OLD, "3.10": {"Volume": "1.1", "Attachment": "1.1"}})


def _object(name: str, version: str, of: dict[str, Any], *bases: type, **more: Any) -> Any:
    bases = (*bases, base.VersionedObject)
    return base.VersionedObjectRegistry.objectify(
        type(name, bases, {"VERSION": version, "fields": of, **more})
    )


def _size(since: str) -> dict[str, Any]:
    return {since: fields.IntegerField(nullable=True), "host": fields.StringField(nullable=True)}


_children = {
    "volume": fields.ObjectField("Volume", nullable=True),
    "volumes": fields.ListOfObjectsField("Volume"),
}
_list = {"objects": fields.ListOfObjectsField("Volume")}
OldVolume = _object("Volume", "1.0", _size("size"))
OldAttachment = _object("Attachment", "1.0", _children)
Volumes = _object("Volumes", "1.0", _list, base.ObjectListBase)
Volume = _object("Volume", "1.1", _size("size_bytes"), MovedFields, moved_fields=(SIZE,))
Attachment = _object("Attachment", "1.1", _children)


@contextlib.contextmanager
def release(*classes: Any) -> Iterator[base.VersionedObjectSerializer]:
    """A process in which only these classes are registered; the library's own serializer."""
    registry = base.VersionedObjectRegistry()._registry
    assert registry is not None
    before = registry._obj_classes
    registry._obj_classes = collections.defaultdict(list, {one.obj_name(): [one] for one in classes})
    try:
        yield base.VersionedObjectSerializer()
    finally:
        registry._obj_classes = before


def old_release() -> contextlib.AbstractContextManager[base.VersionedObjectSerializer]:
    """A process of the old release."""
    return release(OldVolume, OldAttachment, Volumes)


def new_release() -> contextlib.AbstractContextManager[base.VersionedObjectSerializer]:
    """A process of the new release."""
    return release(Volume, Attachment, Volumes)


def sent(message: Any) -> Any:
    """The message as it arrives."""
    return json.loads(json.dumps(message))
