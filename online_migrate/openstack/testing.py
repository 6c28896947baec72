"""Checks for the test suite of a project: RPC methods and versioned objects that changed incompatibly.

What the release before understood is recorded in a JSON file, which is committed with the code. A change that
is not allowed cannot be recorded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from online_migrate.openstack.recorded import Problem, fail_with, read_record, write_record
from online_migrate.openstack.rpc_signatures import Endpoint, compare_endpoints, read_endpoints

if TYPE_CHECKING:
    from oslo_versionedobjects.base import VersionedObject

    from online_migrate.openstack.manifests import Manifests
    from online_migrate.openstack.moved_fields import MovedField
    from online_migrate.openstack.object_fingerprints import Classes

_BEHAVIOUR = "what a method returns, and what it does"
_APART_FROM_ANNOTATIONS = f"{_BEHAVIOUR}, apart from its annotations"

__all__ = [
    "assert_manifest_complete",
    "assert_moved_field",
    "assert_objects_versioned",
    "assert_rpc_compatible",
    "record_objects",
    "record_rpc",
]


def assert_rpc_compatible(record: str | Path, *endpoints: object, ignore: Collection[str] = ()) -> None:
    """Asserts that clients of the release before can call these endpoints.

    An argument may not be removed, renamed or made required, and a method may not be removed, within a major
    version. What is new needs a new minor version. The return type is not checked: it is not part of a
    message. *record*: the file; see :func:`record_rpc`. *endpoints*: classes or objects with a ``target``.
    *ignore*: names of public methods that are not called by RPC.

    Raises :class:`AssertionError` with what changed and the next step.
    """
    __tracebackhide__ = True
    problems, _found = _compared_rpc(Path(record), endpoints, ignore)
    fail_with(problems, Path(record), "record_rpc", _BEHAVIOUR)


def record_rpc(record: str | Path, *endpoints: object, ignore: Collection[str] = ()) -> None:
    """Records the methods of these endpoints. Raises :class:`AssertionError` for an incompatible change."""
    __tracebackhide__ = True
    problems, found = _compared_rpc(Path(record), endpoints, ignore)
    as_dicts = {key: dataclasses.asdict(one) for key, one in found.items()}
    write_record(Path(record), problems, as_dicts, _BEHAVIOUR)


def _compared_rpc(
    path: Path, endpoints: Collection[object], ignore: Collection[str]
) -> tuple[list[Problem], dict[str, Endpoint]]:
    recorded = {
        key: Endpoint.from_dict(one) for key, one in read_record(path, {"version", "methods"}).items()
    }
    found = read_endpoints(endpoints, ignore)
    return compare_endpoints(recorded, found), found


def assert_objects_versioned(record: str | Path, *, classes: Classes | None = None) -> None:
    """Asserts that no versioned object changed without a new VERSION.

    The fingerprint is that of ``oslo_versionedobjects.fixture.ObjectVersionChecker``: the fields, and the
    arguments of the remotable methods. *record*: the file; see :func:`record_objects`. *classes*: name ->
    classes, the newest first; default: all that are registered.

    Raises :class:`AssertionError` with what changed and the next step.
    """
    __tracebackhide__ = True
    problems, _found = _compared_objects(Path(record), classes)
    fail_with(problems, Path(record), "record_objects", _APART_FROM_ANNOTATIONS)


def record_objects(record: str | Path, *, classes: Classes | None = None) -> None:
    """Records the objects. Raises :class:`AssertionError` if one changed without a new VERSION."""
    __tracebackhide__ = True
    problems, found = _compared_objects(Path(record), classes)
    write_record(Path(record), problems, found, _APART_FROM_ANNOTATIONS)


def _compared_objects(path: Path, classes: Classes | None) -> tuple[list[Problem], dict[str, Any]]:
    # The library's fixtures need a package that is installed for tests only.
    from online_migrate.openstack.object_fingerprints import compare_objects, read_objects

    recorded = read_record(path, {"fingerprint", "fields", "methods"})
    found = read_objects(classes)
    return compare_objects(recorded, found), found


def assert_manifest_complete(manifests: Manifests, *, classes: Classes | None = None) -> None:
    """Asserts that the newest manifest has the VERSION of every object.

    An object that it does not have cannot be sent; one that it has in an older version is sent in that one.
    *classes*: as for :func:`assert_objects_versioned`.
    """
    __tracebackhide__ = True
    from online_migrate.openstack.object_fingerprints import read_objects

    manifest = manifests.at(manifests.newest)
    versions = {name: one["fingerprint"].partition("-")[0] for name, one in read_objects(classes).items()}
    wrong = {name: version for name, version in versions.items() if manifest.get(name) != version}
    if wrong:
        raise AssertionError(f"manifest {manifests.newest} lacks {wrong}; add these in a new manifest")


def assert_moved_field(
    of: type[VersionedObject],
    moved: MovedField,
    *,
    manifest: Mapping[str, str],
    new_values: Iterable[Any],
    old_values: Iterable[Any] = (),
) -> None:
    """Asserts that the class *of* converts a moved field as *moved* says, without the loss of a value.

    Each of *new_values* is sent to the release before and back, and each of *old_values* comes from it and
    returns. *manifest*: the versions of all objects in the release before. The object and those in it must be
    registered. It checks a class that converts the field by itself, too.

    Raises :class:`AssertionError` with what is lost, and the next step.
    """
    __tracebackhide__ = True
    from online_migrate.openstack.moved_field_check import MovedFieldCheck

    check = MovedFieldCheck(of, moved, manifest)
    for value in new_values:
        check.new_value(value)
    for value in old_values:
        check.old_value(value)
    if check.problems:
        heading = f"{moved.old} -> {moved.new} of {of.obj_name()}:"
        raise AssertionError("\n".join([heading, *check.problems, f"    -> {check.hint}"]))
