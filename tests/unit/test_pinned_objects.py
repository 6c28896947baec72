"""Versioned objects between two releases: what arrives, what is refused, and which changes are saved."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from oslo_versionedobjects import base, exception, fields

from online_migrate.exceptions import UsageError
from online_migrate.openstack.objects import (
    ChangeLost,
    Manifests,
    ManifestUnknown,
    ObjectTooNew,
    ObjectUnknown,
    PinnedSerializer,
    to_message,
)
from online_migrate.openstack.testing import assert_manifest_complete, assert_moved_field
from tests.support import objects
from tests.support.objects import GIB, MANIFESTS, OLD, Attachment, Volume, new_release, old_release, sent


class Pinned:
    """A pin that is known."""

    def __init__(self, pin: str) -> None:
        self.pin = lambda _name: pin


def serializer(pin: str, **more: Any) -> PinnedSerializer:
    return PinnedSerializer(MANIFESTS, Pinned(pin), "volume-objects", **more)  # type: ignore[arg-type]


def test_moved_field_reaches_the_old_release_and_returns() -> None:
    """At every depth: as an object, in an object, in a list of objects, in a list object, in a dict."""
    with new_release():
        volumes = [Volume(size_bytes=size * GIB) for size in (1, 2, 3, 4)]
        given = {
            "one": Attachment(volume=volumes[0], volumes=volumes[1:2]),
            "more": [objects.Volumes(objects=volumes[2:3]), volumes[3], Volume(size_bytes=None), 7],
        }
        message = sent(serializer("3.9").serialize_entity(None, given))
    with old_release() as old:
        one, (several, four, none, seven) = old.deserialize_entity(None, message).values()
        found = [one.volume, one.volumes[0], several[0], four, none]
        assert [volume.size for volume in found] == [1, 2, 3, 4, None]
        assert [volume.obj_what_changed() for volume in found] == [{"size"}] * 5
        assert [volume.VERSION for volume in found] == ["1.0"] * 5
        assert seven == 7
        found[1].size = 5
        answer = sent(old.serialize_entity(None, one))
    with new_release():
        back = serializer("3.10").deserialize_entity(None, answer)
        assert [back.volume.size_bytes, back.volumes[0].size_bytes] == [GIB, 5 * GIB]
        assert back.volumes[0].obj_what_changed() == {"size_bytes"}
        newest = serializer("3.10").serialize_entity(None, back.volumes[0])
        assert newest["versioned_object.version"] == "1.1"
        assert newest["versioned_object.data"] == {"size_bytes": 5 * GIB}


def test_library_without_the_pin() -> None:
    """Each way in which the library itself fails. The right answer to the last is in the next test."""
    with new_release():
        attachment = Attachment(volume=Volume(size_bytes=GIB), volumes=[])
        with pytest.raises(exception.ObjectActionError, match="No rule for volume"):
            attachment.obj_to_primitive("1.0")
        unpinned = attachment.obj_to_primitive()
    with old_release() as old, pytest.raises(exception.IncompatibleObjectVersion):
        old.deserialize_entity(None, unpinned)


class Undeclared(base.VersionedObject):
    """A volume that converts its moved field by itself, as the library documents it."""

    VERSION = "1.1"
    fields = {"size_bytes": fields.IntegerField(), "host": fields.StringField()}  # type: ignore[misc]

    @classmethod
    def obj_name(cls) -> str:
        return "Volume"

    def obj_make_compatible(self, primitive: dict[str, Any], target_version: str) -> None:
        super().obj_make_compatible(primitive, target_version)
        if target_version == "1.0" and "size_bytes" in primitive:
            primitive["size"] = primitive.pop("size_bytes") // GIB
        if target_version == "1.0":
            primitive.pop("host", None)


base.VersionedObjectRegistry.objectify(Undeclared)


def test_moved_field_does_not_vanish_from_changes() -> None:
    """With the library alone the old process gets the value, and does not save it."""
    undeclared = Undeclared(size_bytes=GIB)
    by_library = undeclared.obj_to_primitive("1.0", OLD)
    assert by_library["versioned_object.data"] == {"size": 1}
    assert "versioned_object.changes" not in by_library  # the library's answer: nothing was changed
    with pytest.raises(ChangeLost, match=r"size_bytes of Volume 1\.1 .* has size instead"):
        to_message(undeclared, OLD)
    undeclared.obj_reset_changes()
    assert to_message(undeclared, OLD)["versioned_object.data"] == {"size": 1}

    volume = Volume(size_bytes=GIB, host="a")
    volume.obj_reset_changes(["host"])
    for message in (volume.obj_to_primitive("1.0", OLD), to_message(volume, OLD)):
        assert message["versioned_object.changes"] == ["size"]
    volume.obj_reset_changes()
    assert "versioned_object.changes" not in to_message(volume, OLD)

    host_only = Undeclared(host="a")  # a new field that replaces none
    assert "versioned_object.changes" not in to_message(host_only, OLD)


def test_object_that_is_not_converted_is_refused() -> None:
    """A child in a dict, a child whose parent does not call its base class, and an unknown object."""

    class Careless(base.VersionedObject):
        VERSION = "1.1"
        fields = {  # type: ignore[misc]
            "volume": fields.ObjectField("Volume"),
            "by_name": fields.Field(fields.Dict(fields.Object("Volume"))),
        }

        def obj_make_compatible(self, primitive: dict[str, Any], target_version: str) -> None: ...

    base.VersionedObjectRegistry.objectify(Careless)
    manifest = {**OLD, "Careless": "1.0"}
    with objects.release(Careless, Volume):
        volume = Volume(size_bytes=1)
        for careless in (Careless(volume=volume), Careless(by_name={"a": volume})):
            with pytest.raises(
                ObjectTooNew, match=r"Volume 1\.1 .* it understands 1\.0, and obj_make_compatible"
            ):
                to_message(careless, manifest)
        with pytest.raises(ObjectUnknown, match="Careless is not known to the oldest process that runs"):
            to_message(Careless(), OLD)
        with pytest.raises(ObjectUnknown, match="Volume"):
            to_message(Careless(volume=volume), {"Careless": "1.1"})


def test_older_objects_stay_older() -> None:
    """An object of an older version is sent on as it is, also in another object."""
    with objects.release(Undeclared, Attachment):
        old = Undeclared(host="a")
        old.VERSION = "1.0"
        newest = MANIFESTS.at("3.10")
        assert to_message(old, newest)["versioned_object.version"] == "1.0"
        inner = to_message(Attachment(volume=old, volumes=[]), newest)["versioned_object.data"]["volume"]
        assert inner["versioned_object.version"] == "1.0"


def test_object_that_is_too_new_is_converted_by_another_process() -> None:
    """By the indirection API of the project, which calls to_message; without one it is refused."""

    class Conductor(base.VersionedObjectIndirectionAPI):
        def object_action(self, *arguments: Any) -> Any:
            raise NotImplementedError

        def object_backport_versions(
            self, context: Any, objinst: Any, object_versions: dict[str, str]
        ) -> Any:
            with new_release():
                obj = base.VersionedObject.obj_from_primitive(objinst)
                message = sent(to_message(obj, object_versions))
            with old_release() as old:
                return old.deserialize_entity(context, message)

    class Indirect(base.VersionedObject):
        indirection_api = Conductor()

    with new_release() as unpinned:
        message = sent(unpinned.serialize_entity(None, Attachment(volume=Volume(size_bytes=GIB), volumes=[])))
    with old_release():
        with pytest.raises(ObjectTooNew, match=r"Attachment 1\.1 .* this process: it understands 1\.0"):
            serializer("3.9").deserialize_entity(None, [message])
        found = serializer("3.9", base=Indirect).deserialize_entity(None, [message])[0]
        assert (found.volume.size, found.volume.obj_what_changed()) == (1, {"size"})
        message["versioned_object.name"] = "Snapshot"
        with pytest.raises(ObjectUnknown, match="Snapshot is not known to this process"):
            serializer("3.9").deserialize_entity(None, message)


def test_manifests() -> None:
    """They are compared as numbers; a newer pin means the newest known one, an older one is refused."""
    assert MANIFESTS.newest == "3.10"
    assert MANIFESTS.at("3.9") == OLD
    assert MANIFESTS.at("3.11") == {**OLD, "Volume": "1.1", "Attachment": "1.1"}
    for unknown in ("3.8", "3.9.1"):
        with pytest.raises(ManifestUnknown, match=r"it knows 3\.9, 3\.10"):
            MANIFESTS.at(unknown)
    assert Manifests({"1": {"A": "1.0", "B": "1.0"}, "2": {"A": None}}).at("2") == {"B": "1.0"}
    for wrong in ({}, {"liberty": {}}, {"1.0": {"A": "new"}}):
        with pytest.raises(UsageError):
            Manifests(wrong)


def test_moves_in_sequence() -> None:
    """A field that moved twice."""
    second = objects.MovedField(
        "size_bytes", "blocks", "1.2", lambda size: size // 512, lambda blocks: blocks * 512
    )

    class Volume(objects.MovedFields):
        VERSION = "1.2"
        moved_fields = (second, objects.SIZE)
        fields = {"blocks": fields.IntegerField()}  # type: ignore[misc]

    base.VersionedObjectRegistry.objectify(Volume)
    volume = Volume(blocks=GIB // 512)
    for version, data in (
        ("1.0", {"size": 1}),
        ("1.1", {"size_bytes": GIB}),
        ("1.2", {"blocks": GIB // 512}),
    ):
        message = sent(to_message(volume, {"Volume": version}))
        assert message["versioned_object.data"] == data
        assert message["versioned_object.changes"] == list(data)
        with objects.release(Volume) as new:
            back = new.deserialize_entity(None, message)
        assert (back.blocks, back.obj_what_changed(), back.VERSION) == (GIB // 512, {"blocks"}, "1.2")


def test_check_of_a_moved_field() -> None:
    """It fails for a class that converts the value only, and for transforms that lose a value."""
    with objects.release(Volume):
        assert_moved_field(
            Volume, objects.SIZE, manifest=OLD, new_values=[GIB, None, 7 * GIB], old_values=[1, None]
        )
        with pytest.raises(AssertionError) as lost:
            assert_moved_field(Volume, objects.SIZE, manifest=OLD, new_values=[GIB + 1])
        assert "{'size': 1} of 1.0 arrives as size_bytes=1073741824, not 1073741825" in str(lost.value)
        other = dataclasses.replace(
            objects.SIZE, to_new=lambda gib: gib * 1000, to_old=lambda size: size // 1000
        )
        with pytest.raises(
            AssertionError, match=r"size_bytes=1073741824 is \{'size': 1\} in 1\.0, not .*1073741"
        ):
            assert_moved_field(Volume, other, manifest=OLD, new_values=[GIB])
    with objects.release(Undeclared):
        with pytest.raises(AssertionError) as failure:
            assert_moved_field(Undeclared, objects.SIZE, manifest=OLD, new_values=[GIB], old_values=[1])
        assert str(failure.value).splitlines() == [
            "size -> size_bytes of Volume:",
            "size_bytes is changed, but in 1.0 the changes are []: not saved there",
            "{'size': 1} of 1.0 arrives without size_bytes",
            "    -> class Undeclared(MovedFields, ...) with moved_fields = (MovedField(...),)",
        ]


def test_check_of_the_newest_manifest() -> None:
    """An object that is missing in it, or has another version there."""
    classes = {name: [one] for name, one in (("Volume", Volume), ("Attachment", Attachment))}
    assert_manifest_complete(MANIFESTS, classes=classes)
    with pytest.raises(AssertionError, match=r"manifest 2 lacks \{'Attachment': '1\.1', 'Volume': '1\.1'\}"):
        assert_manifest_complete(Manifests({"2": {"Volume": "1.0"}}), classes=classes)
