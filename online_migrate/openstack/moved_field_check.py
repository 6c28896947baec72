"""Whether an object converts a moved field as the change of its column does, in both directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from online_migrate.openstack.moved_fields import MovedField, MovedFields

if TYPE_CHECKING:
    from oslo_versionedobjects.base import VersionedObject

_MISSING = object()


class MovedFieldCheck:
    """The check of one moved field of the class *of*. What is wrong is in :attr:`problems`.

    *manifest*: the versions of all objects in the release before, which has the old field.
    """

    def __init__(self, of: type[VersionedObject], moved: MovedField, manifest: Mapping[str, str]) -> None:
        self._of = of
        self._moved = moved
        self._manifest = dict(manifest)
        self._before = manifest[of.obj_name()]
        self.problems: list[str] = []

    @property
    def hint(self) -> str:
        """The next step if there are problems."""
        if issubclass(self._of, MovedFields):
            return "correct since, to_new or to_old of the move; both must keep every value"
        return f"class {self._of.__name__}(MovedFields, ...) with moved_fields = (MovedField(...),)"

    def new_value(self, value: Any) -> None:
        """Sends the new field with this *value* to the release before, and back."""
        moved = self._moved
        obj = self._of(**{moved.new: value})
        wanted = _converted(moved.to_old, self._in_message(obj))
        message = obj.obj_to_primitive(self._before, self._manifest)
        data = self._of._obj_primitive_field(message, "data")
        if moved.new in data or data.get(moved.old, _MISSING) != wanted:
            self._add(f"{moved.new}={value!r} is {data} in {self._before}, not {{{moved.old!r}: {wanted!r}}}")
            return
        changes = self._of._obj_primitive_field(message, "changes", [])
        if list(changes) != [moved.old]:
            self._add(
                f"{moved.new} is changed, but in {self._before} the changes are {changes}: not saved there"
            )
            message[self._of._obj_primitive_key("changes")] = [moved.old]
        self._receive(message, self._in_message(obj))

    def old_value(self, value: Any) -> None:
        """Receives the old field with this *value* from the release before, and sends it back."""
        of, moved = self._of, self._moved
        message = {
            of._obj_primitive_key("name"): of.obj_name(),
            of._obj_primitive_key("namespace"): of.OBJ_PROJECT_NAMESPACE,
            of._obj_primitive_key("version"): self._before,
            of._obj_primitive_key("data"): {moved.old: value},
            of._obj_primitive_key("changes"): [moved.old],
        }
        found = self._receive(message, _converted(moved.to_new, value))
        if found is not None:
            answer = found.obj_to_primitive(self._before, self._manifest)
            data = of._obj_primitive_field(answer, "data")
            if data.get(moved.old, _MISSING) != value:
                self._add(f"{moved.old}={value!r} of {self._before} returns to it as {data}")

    def _receive(self, message: dict[str, Any], wanted: Any) -> VersionedObject | None:
        """Returns the object in *message*, whose new field should have the value *wanted*."""
        moved = self._moved
        data = self._of._obj_primitive_field(message, "data")
        found = self._of.obj_from_primitive(message)
        if not found.obj_attr_is_set(moved.new):
            self._add(f"{data} of {self._before} arrives without {moved.new}")
            return None
        value = self._in_message(found)
        if value != wanted:
            self._add(f"{data} of {self._before} arrives as {moved.new}={value!r}, not {wanted!r}")
        if found.obj_what_changed() != {moved.new}:
            self._add(f"{moved.old} is changed in {self._before}, but {moved.new} is not when it arrives")
        return found

    def _in_message(self, obj: VersionedObject) -> Any:
        name = self._moved.new
        return self._of.fields[name].to_primitive(obj, name, getattr(obj, name))

    def _add(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def _converted(function: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else function(value)
