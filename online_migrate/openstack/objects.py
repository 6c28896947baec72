"""Versioned objects in messages that every live process understands.

Invariant: an object leaves only in the version that the pinned manifest gives for it, and every object in it
as well; otherwise the message is refused. oslo.versionedobjects converts only objects in fields of type
ObjectField and ListOfObjectsField, and only where each ``obj_make_compatible`` calls that of its base class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from online_migrate.exceptions import ExtraMissing
from online_migrate.openstack.manifests import Manifests
from online_migrate.openstack.message_errors import ChangeLost, ManifestUnknown, ObjectTooNew, ObjectUnknown
from online_migrate.openstack.moved_fields import (
    MovedField,
    MovedFields,
    objects_in,
    rename_changes,
)
from online_migrate.services.pin_rule import as_numbers

try:
    from oslo_versionedobjects import exception
    from oslo_versionedobjects.base import VersionedObject, VersionedObjectSerializer
except ImportError as error:
    raise ExtraMissing(module=__name__, reason=error, extra="openstack") from error

if TYPE_CHECKING:
    from online_migrate.services import Pins

__all__ = [
    "ChangeLost",
    "ManifestUnknown",
    "Manifests",
    "MovedField",
    "MovedFields",
    "ObjectTooNew",
    "ObjectUnknown",
    "PinnedSerializer",
    "to_message",
]


class PinnedSerializer(VersionedObjectSerializer):
    """A serializer for clients and servers of oslo.messaging, with a pin.

    *name*: the name of the pin, which every process that receives objects reports to the registry with the
    newest manifest that it has, for example ``{"volume-objects": MANIFESTS.newest}``. *base*: the base class
    of the project's objects.
    """

    def __init__(
        self, manifests: Manifests, pins: Pins, name: str, *, base: type[VersionedObject] = VersionedObject
    ) -> None:
        super().__init__()
        self.OBJ_BASE_CLASS = base
        self._manifests = manifests
        self._pins = pins
        self._name = name

    def serialize_entity(self, context: Any, entity: Any) -> Any:
        """Returns the message of an object, or of each object in a list, a tuple, a set or a dict.

        Raises what :func:`to_message` and :meth:`~online_migrate.services.Pins.pin` raise, and
        :class:`ManifestUnknown`.
        """
        if isinstance(entity, VersionedObject):
            return to_message(entity, self._manifests.at(self._pins.pin(self._name)))
        return super().serialize_entity(context, entity)

    def deserialize_entity(self, context: Any, entity: Any) -> Any:
        """Returns the object of a message. One that is too new is converted by the ``indirection_api``.

        Raises :class:`ObjectTooNew` if there is no ``indirection_api``, and :class:`ObjectUnknown`.
        """
        try:
            return super().deserialize_entity(context, entity)
        except exception.IncompatibleObjectVersion as error:
            raise ObjectTooNew(
                object=error.kwargs["objname"],
                version=error.kwargs["objver"],
                to="this process",
                reason=f"it understands {error.kwargs['supported']}",
                hint=f"the sender must use the pin {self._name}; start this process with its heartbeat first",
            ) from error
        except exception.UnsupportedObjectError as error:
            raise ObjectUnknown(
                object=error.kwargs["objtype"], to="this process", hint="import the module that registers it"
            ) from error


def to_message(obj: VersionedObject, manifest: Mapping[str, str]) -> dict[str, Any]:
    """Returns the message of *obj*, converted to the *manifest*: object -> version.

    It is what a project's ``object_backport_versions`` returns, too.

    Raises :class:`ObjectUnknown` if the manifest has no version of an object, :class:`ObjectTooNew` if one
    cannot be converted, and :class:`ChangeLost` if a changed field was replaced by another one, and is not
    declared as a :class:`MovedField`.
    """
    version = _version_in(manifest, obj)
    try:
        message = obj.obj_to_primitive(version, dict(manifest))
    except exception.VersionedObjectsException as error:
        raise ObjectTooNew(
            object=obj.obj_name(), version=obj.VERSION, to="the oldest process", reason=str(error)
        ) from error
    for found, part in objects_in(obj, message):
        _check(found, part, manifest)
    rename_changes(obj, message)
    return message


def _version_in(manifest: Mapping[str, str], obj: VersionedObject) -> str:
    """Returns the version in which *obj* is sent: the pinned one, or its own if that is older."""
    name = obj.obj_name()
    if name not in manifest:
        raise ObjectUnknown(
            object=name,
            to="the oldest process that runs",
            hint=f"do not send it while the pin is older, or add it to the manifest: {{{name!r}: '...'}}",
        )
    return min(manifest[name], obj.VERSION, key=as_numbers)


def _check(found: VersionedObject, message: dict[str, Any], manifest: Mapping[str, str]) -> None:
    """Checks one object in a message."""
    key = found._obj_primitive_key("version")
    pinned = _version_in(manifest, found)
    if as_numbers(message[key]) > as_numbers(found.VERSION):
        message[key] = found.VERSION  # the library writes the version of the manifest into an older object
    if as_numbers(message[key]) > as_numbers(pinned):
        raise ObjectTooNew(
            object=found.obj_name(),
            version=message[key],
            to="the oldest process that runs",
            reason=f"it understands {pinned}, and obj_make_compatible of what contains it did not convert it",
        )
    _check_changes(found, message)


def _check_changes(found: VersionedObject, message: dict[str, Any]) -> None:
    data = found._obj_primitive_field(message, "data")
    version = found._obj_primitive_field(message, "version")
    moved = found.moved_after(version) if isinstance(found, MovedFields) else []
    lost = found.obj_what_changed() - data.keys() - {one.new for one in moved}
    instead = data.keys() - found.fields.keys() - {one.old for one in moved}
    if lost and instead:
        raise ChangeLost(
            fields=", ".join(sorted(lost)),
            object=found.obj_name(),
            version=found.VERSION,
            old=", ".join(sorted(instead)),
            pinned=version,
        )
