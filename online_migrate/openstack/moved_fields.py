"""A field of a versioned object that was replaced by another one, as a column is by expand and contract.

``obj_make_compatible`` of oslo.versionedobjects gets the data of an object, not the names of its changed
fields. So the library drops a moved field from ``changes`` when an object is converted for an older process,
and that process does not save it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

from online_migrate.exceptions import ExtraMissing
from online_migrate.services.pin_rule import as_numbers

try:
    from oslo_versionedobjects.base import VersionedObject
except ImportError as error:
    raise ExtraMissing(module=__name__, reason=error, extra="openstack") from error


@dataclasses.dataclass(frozen=True)
class MovedField:
    """A field that another one replaced.

    The values are those in a message: a date is a text there. None stays None.
    """

    old: str
    new: str
    since: str
    """The first version of the object that has *new* instead of *old*."""
    to_new: Callable[[Any], Any]
    to_old: Callable[[Any], Any]

    def forwards(self, data: dict[str, Any]) -> None:
        """Replaces the old field of the *data* of a message by the new one."""
        if self.old in data:
            value = data.pop(self.old)
            data[self.new] = None if value is None else self.to_new(value)

    def backwards(self, data: dict[str, Any]) -> None:
        """Replaces the new field of the *data* of a message by the old one."""
        if self.new in data:
            value = data.pop(self.new)
            data[self.old] = None if value is None else self.to_old(value)


class MovedFields(VersionedObject):
    """A base class for an object with moved fields. It is written before the other base classes."""

    moved_fields: ClassVar[tuple[MovedField, ...]] = ()

    @classmethod
    def moved_after(cls, version: str) -> list[MovedField]:
        """Returns the fields that moved after *version*, the oldest move first."""
        moved = [one for one in cls.moved_fields if as_numbers(one.since) > as_numbers(version)]
        return sorted(moved, key=lambda one: as_numbers(one.since))

    def obj_make_compatible(self, primitive: dict[str, Any], target_version: str) -> None:
        """Converts the moved fields for an older process."""
        super().obj_make_compatible(primitive, target_version)
        for one in reversed(self.moved_after(target_version)):
            one.backwards(primitive)

    def obj_to_primitive(
        self, target_version: str | None = None, version_manifest: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Returns the message. Moved fields that were changed are among its ``changes`` by their old name."""
        message = super().obj_to_primitive(target_version, version_manifest)
        rename_changes(self, message)
        return message

    @classmethod
    def _obj_from_primitive(cls, context: Any, objver: str, primitive: dict[str, Any]) -> Self:
        """Converts the moved fields in a message of an older process. Called for objects in objects, too."""
        moved = cls.moved_after(objver)
        if not moved:
            return super()._obj_from_primitive(context, objver, primitive)
        data = dict(cls._obj_primitive_field(primitive, "data"))
        changes = cls._obj_primitive_field(primitive, "changes", [])
        for one in moved:
            one.forwards(data)
            changes = [one.new if name == one.old else name for name in changes]
        message = {
            **primitive,
            cls._obj_primitive_key("data"): data,
            cls._obj_primitive_key("changes"): changes,
        }
        found = super()._obj_from_primitive(context, objver, message)
        found.VERSION = cls.VERSION  # its fields are those of this class
        return found


def rename_changes(value: object, message: Any) -> None:
    """Corrects ``changes`` of every object in *message*, into which *value* was converted."""
    for found, part in objects_in(value, message):
        if isinstance(found, MovedFields):
            _rename(found, part)


def _rename(found: MovedFields, message: dict[str, Any]) -> None:
    data = found._obj_primitive_field(message, "data")
    changed = found.obj_what_changed()
    for one in reversed(found.moved_after(found._obj_primitive_field(message, "version"))):
        if one.new in changed:
            changed = changed - {one.new} | {one.old}
    key = found._obj_primitive_key("changes")
    message.pop(key, None)
    if changed & data.keys():
        message[key] = [name for name in data if name in changed]


def objects_in(value: object, message: Any) -> Iterator[tuple[VersionedObject, dict[str, Any]]]:
    """Yields each object in *value* with its part of the *message* into which *value* was converted."""
    if isinstance(value, VersionedObject):
        yield value, message
        data = value._obj_primitive_field(message, "data")
        for name in value.fields:
            if name in data and value.obj_attr_is_set(name):
                yield from objects_in(getattr(value, name), data[name])
    elif isinstance(value, Mapping) and isinstance(message, Mapping):
        for key in value.keys() & message.keys():
            yield from objects_in(value[key], message[key])
    elif isinstance(value, list | tuple | set) and isinstance(message, list | tuple | set):
        for one, part in zip(value, message, strict=False):
            yield from objects_in(one, part)
