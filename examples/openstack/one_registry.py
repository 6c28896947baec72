"""The base class of the versioned objects of a release.

oslo.versionedobjects has one registry in a process. Services of two releases run in one process here, and
each must not find the classes of the other.
"""

from __future__ import annotations

from typing import ClassVar

from oslo_utils import versionutils
from oslo_versionedobjects import base, exception


class ReleaseObject(base.VersionedObject):
    """An object of one release. ``classes`` is the registry of that release."""

    OBJ_PROJECT_NAMESPACE = "volume"
    classes: ClassVar[dict[str, type[base.VersionedObject]]] = {}

    @classmethod
    def obj_class_from_name(cls, objname: str, objver: str) -> type[base.VersionedObject]:
        """Returns the class for a message, by the rules of oslo.versionedobjects."""
        if objname not in cls.classes:
            raise exception.UnsupportedObjectError(objtype=objname)
        found = cls.classes[objname]
        if not versionutils.is_compatible(objver, found.VERSION):
            raise exception.IncompatibleObjectVersion(objname=objname, objver=objver, supported=found.VERSION)
        return found
