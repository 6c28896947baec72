"""The versioned objects of release 2026.2: ``size_bytes`` replaces ``size``."""

from __future__ import annotations

from one_registry import ReleaseObject
from oslo_versionedobjects import base, fields

from online_migrate.openstack.objects import Manifests, MovedField, MovedFields

from .data_migrations import GIB

MANIFESTS = Manifests({"1.0": {"Volume": "1.0"}, "1.1": {"Volume": "1.1"}})
SIZE = MovedField("size", "size_bytes", "1.1", to_new=lambda gib: gib * GIB, to_old=lambda size: size // GIB)


class VolumeObject(ReleaseObject):
    """The base class of the objects."""

    classes = {}


@base.VersionedObjectRegistry.objectify
class Volume(MovedFields, VolumeObject):
    """A volume: ``size_bytes``."""

    VERSION = "1.1"
    moved_fields = (SIZE,)
    fields = {
        "id": fields.IntegerField(nullable=True),
        "host": fields.StringField(nullable=True),
        "size_bytes": fields.IntegerField(),
    }


VolumeObject.classes["Volume"] = Volume
