"""The fingerprints of versioned objects, and which changes of them need a new version."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from online_migrate.exceptions import ExtraMissing
from online_migrate.openstack.recorded import Problem
from online_migrate.services.pin_rule import as_numbers

try:
    from oslo_versionedobjects.base import VersionedObject
    from oslo_versionedobjects.fixture import ObjectVersionChecker
except ImportError as error:
    raise ExtraMissing(
        module=__name__,
        reason=error,
        hint="pip install 'online-migrate[openstack]' fixtures",
    ) from error

Classes = Mapping[str, list[type[VersionedObject]]]
"""The versions of each object, the newest first, as in oslo.versionedobjects' registry."""


def read_objects(classes: Classes | None) -> dict[str, dict[str, Any]]:
    """Returns the fingerprint of each object, with the fields and the remotable methods that it is made of.

    *classes*: default: all that are registered.
    """
    checker = ObjectVersionChecker(None if classes is None else dict(classes))
    return {
        name: {"fingerprint": fingerprint, **_parts(checker.obj_classes[name][0])}
        for name, fingerprint in checker.get_hashes().items()
    }


def _parts(of: type[VersionedObject]) -> dict[str, dict[str, str]]:
    methods = {}
    for name in dir(of):
        method = getattr(of, name)
        if getattr(method, "remotable", False):
            while hasattr(method, "original_fn"):
                method = method.original_fn
            methods[name] = str(inspect.signature(method))
    return {"fields": {name: repr(field) for name, field in of.fields.items()}, "methods": methods}


def compare_objects(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> list[Problem]:
    """Returns the differences between what is *recorded* and what is *found*."""
    problems: list[Problem] = []
    for name, now in found.items():
        if name in recorded:
            problems += _compare(name, recorded[name], now)
        else:
            problems.append(Problem(f"{name} is not recorded"))
    for name in recorded.keys() - found.keys():
        hint = (
            "keep it registered until no process sends it; after that delete it from the record "
            "(or import its module in the test)"
        )
        problems.append(Problem(f"{name} is not registered any more", hint))
    return problems


def _compare(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Problem]:
    if before["fingerprint"] == now["fingerprint"]:
        return
    old, new = _version(before), _version(now)
    what = (
        "; ".join(_changes(before, now)) or "its fields and methods are as recorded, their fingerprint is not"
    )
    if as_numbers(new) > as_numbers(old):
        yield Problem(f"{name}: VERSION is {new}, recorded is {old}: {what}")
    elif new == old:
        major, minor, *_ = (*as_numbers(old), 0)
        yield Problem(
            f"{name} {old}: {what}; VERSION is not raised",
            f"set VERSION = '{major}.{minor + 1}', and convert to {old} in obj_make_compatible "
            "(a version that was never released may change: delete it from the record)",
        )
    else:
        yield Problem(f"{name}: VERSION {new} is older than the recorded one, {old}", "restore VERSION")


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for kind, one in (("fields", "field"), ("methods", "remotable method")):
        old, new = before[kind], now[kind]
        for name in sorted(old.keys() | new.keys()):
            if name not in new:
                yield f"{one} {name!r} is removed, or renamed"
            elif name not in old:
                yield f"{one} {name!r} is new"
            elif old[name] != new[name]:
                yield f"{one} {name!r} was {old[name]} and is {new[name]}"


def _version(one: Mapping[str, Any]) -> str:
    version: str = one["fingerprint"].partition("-")[0]
    return version
