"""The versioned objects of release 2026.1."""

from __future__ import annotations

from one_registry import ReleaseObject
from oslo_versionedobjects import base, fields

from online_migrate.openstack.objects import Manifests

MANIFESTS = Manifests({"1.0": {"Volume": "1.0"}})


class VolumeObject(ReleaseObject):
    """The base class of the objects."""

    classes = {}


@base.VersionedObjectRegistry.objectify
class Volume(VolumeObject):
    """A volume: ``size`` in GiB."""

    VERSION = "1.0"
    fields = {
        "id": fields.IntegerField(nullable=True),
        "host": fields.StringField(nullable=True),
        "size": fields.IntegerField(),
    }


VolumeObject.classes["Volume"] = Volume
