"""The helpers for a project's own tests: what they find, what they say, and what cannot be recorded."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import pytest
from oslo_messaging import Target
from oslo_versionedobjects import base, fields

from online_migrate.exceptions import ExtraMissing, UsageError
from online_migrate.openstack.testing import (
    assert_objects_versioned,
    assert_rpc_compatible,
    record_objects,
    record_rpc,
)


def endpoint(source: str, version: str = "1.3", **of: Any) -> type:
    """A class with the methods in *source*."""
    namespace: dict[str, Any] = {"functools": functools}
    exec(f"class Manager:\n    {source}", namespace)
    of_class: type = namespace["Manager"]
    of_class.target = Target(version=version, **of)  # type: ignore[attr-defined]
    return of_class


OLD = "def extend(self, ctxt, size, host=None): pass"


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The record of the old endpoint, 1.3."""
    record_rpc(tmp_path / "rpc.json", endpoint(OLD))
    return tmp_path / "rpc.json"


def refused(record: Path, *endpoints: object) -> str:
    """The error of the check; the same change cannot be recorded."""
    before = record.read_text()
    with pytest.raises(AssertionError):
        record_rpc(record, *endpoints)
    assert record.read_text() == before
    with pytest.raises(AssertionError) as failure:
        assert_rpc_compatible(record, *endpoints)
    return str(failure.value)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("def extend(self, ctxt, host=None): pass", "argument 'size' of extend() is removed"),
        (
            "def extend(self, ctxt, new_size=None, host=None): pass",
            "argument 'size' of extend() is removed, or renamed to 'new_size'",
        ),
        ("def extend(self, ctxt, size, host): pass", "argument 'host' of extend() is required now"),
        ("def extend(self, ctxt, size, zone, host=None): pass", "extend() requires the new argument 'zone'"),
        (
            "def extend(self, ctxt, size, *, zone, host=None): pass",
            "extend() requires the new argument 'zone'",
        ),
        ("def grow(self, ctxt, size, host=None): pass", "method extend() is removed, or renamed"),
        ("def extend(self, ctxt, size, /, host=None): pass", "method extend() is removed, or renamed"),
        ("def extend(self): pass", "method extend() is removed, or renamed"),
        ("_extend = extend = None", "method extend() is removed, or renamed"),
    ],
)
@pytest.mark.parametrize("version", ["1.3", "1.4"])
def test_incompatible_signatures(record: Path, source: str, what: str, version: str) -> None:
    """A new minor version does not help: messages of the release before have these names."""
    text = refused(record, endpoint(source, version))
    assert text.startswith(f"1 difference(s) from {record}:\n1.x: {what}\n")
    assert "-> accept both forms in 1.x: " in text
    assert text.endswith("not checked: what a method returns, and what it does")


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("def extend(self, ctxt, size, host=None, zone=None): pass", "argument 'zone' of extend() is new"),
        ("def extend(self, ctxt, size=0, host=None): pass", "argument 'size' of extend() is optional now"),
        ("def extend(self, ctxt, **any): pass", "extend() accepts arguments of any name (**)"),
        (f"{OLD}\n    def shrink(self, ctxt): pass", "method shrink() is new"),
    ],
)
def test_additions_need_a_new_minor_version(record: Path, source: str, what: str) -> None:
    """Otherwise a client cannot ask whether the servers understand them."""
    text = refused(record, endpoint(source))
    assert f"1.x: {what}; the version is still 1.3\n    -> raise the minor version of the target" in text
    new = endpoint(source, "1.4")
    with pytest.raises(
        AssertionError, match=r"the version is 1\.4, recorded is 1\.3(.|\n)*\nrecord it: .*record_rpc"
    ):
        assert_rpc_compatible(record, new)
    record_rpc(record, new)
    assert_rpc_compatible(record, new)


@pytest.mark.parametrize(
    "source",
    [
        "def extend(self, context, size: int, host: str = 'a', *args) -> int: pass",
        "@staticmethod\n    def extend(ctxt, *, host: str = '', size: int): pass",
        "@classmethod\n    def extend(cls, ctxt, size, host=None): pass",
        f"def _private(self, ctxt, new): pass\n    {OLD}",
        "def _decorate(function): return functools.wraps(function)(lambda *a, **k: function(*a, **k))\n"
        f"    @_decorate\n    {OLD}",
    ],
)
def test_what_is_the_same_for_a_message(record: Path, source: str) -> None:
    """The order, the name of the context, types, defaults, decorators and private methods."""
    assert_rpc_compatible(record, endpoint(source))
    assert_rpc_compatible(record, endpoint(source)())
    assert_rpc_compatible(record, endpoint(f"{source}\n    def init(self, ctxt): pass"), ignore=["init"])


def test_versions_of_an_endpoint(record: Path) -> None:
    """A new major version is another endpoint beside the old one; the version may not fall."""
    new = endpoint("def extend(self, ctxt, new_size): pass", "2.0")
    text = refused(record, new)
    assert "1.x: there is no endpoint for this version any more" in text
    assert "2.x is not recorded" in text
    both = (endpoint(OLD), new)
    record_rpc(record, *both)
    assert_rpc_compatible(record, *both)
    assert "2.x: the version 2.0 is older" not in refused(record, new)
    older = endpoint(OLD, "1.2")
    assert "1.x: the version 1.2 is older than the recorded one, 1.3" in refused(record, older, new)
    with pytest.raises(UsageError, match=r"two endpoints have the version 1\.x"):
        assert_rpc_compatible(record, endpoint(OLD), older)
    other = endpoint("def stats(self, ctxt): pass", "1.0", namespace="stats")
    record_rpc(record, *both, other)
    with pytest.raises(AssertionError, match=r"1\.x of stats: there is no endpoint"):
        assert_rpc_compatible(record, *both)


@pytest.mark.parametrize("text", ["[", "[]", '{"1.x": {}}', '{"1.x": 3}'])
def test_record_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "rpc.json").write_text(text)
    with pytest.raises(UsageError, match=r"rpc\.json cannot be read: "):
        record_rpc(tmp_path / "rpc.json", endpoint(OLD))
    assert (tmp_path / "rpc.json").read_text() == text


# --- versioned objects ----------------------------------------------------------------------------


def volume(version: str, *names: str, method: Any = None) -> dict[str, list[type[base.VersionedObject]]]:
    """The classes of a project with one object."""

    def save(self: Any, force: bool = False) -> None: ...

    class Volume(base.VersionedObject):
        VERSION = version
        fields = {name: fields.IntegerField(nullable=True) for name in names}  # type: ignore[misc]

    Volume.save = base.remotable(method or save)  # type: ignore[method-assign]
    base.VersionedObjectRegistry.objectify(Volume)
    return {"Volume": [Volume]}


def test_object_that_changed_without_a_version(tmp_path: Path) -> None:
    """The error names the field or the method; the change cannot be recorded until VERSION is raised."""
    record = tmp_path / "objects.json"
    with pytest.raises(AssertionError, match=r"Volume is not recorded\nrecord it: .*record_objects"):
        assert_objects_versioned(record, classes=volume("1.0", "size"))
    record_objects(record, classes=volume("1.0", "size"))
    assert_objects_versioned(record, classes=volume("1.0", "size"))

    def save(self: Any, force: bool) -> None: ...

    for changed, what in (
        (volume("1.0", "size", "host"), "field 'host' is new"),
        (volume("1.0", "new_size"), "field 'new_size' is new; field 'size' is removed, or renamed"),
        (volume("1.0", "size", method=save), "remotable method 'save' was "),
    ):
        for check in (assert_objects_versioned, record_objects):
            with pytest.raises(AssertionError) as failure:
                check(record, classes=changed)
            assert f"Volume 1.0: {what}" in str(failure.value)
            assert "VERSION is not raised\n    -> set VERSION = '1.1', and convert to 1.0" in str(
                failure.value
            )
    raised = volume("1.10", "new_size")
    with pytest.raises(AssertionError, match=r"VERSION is 1\.10, recorded is 1\.0"):
        assert_objects_versioned(record, classes=raised)
    record_objects(record, classes=raised)
    assert_objects_versioned(record, classes=raised)
    with pytest.raises(AssertionError, match=r"VERSION 1\.9 is older than the recorded one, 1\.10"):
        record_objects(record, classes=volume("1.9", "new_size"))
    with pytest.raises(AssertionError, match="Volume is not registered any more"):
        record_objects(record, classes={})


def test_registered_objects_are_the_default(tmp_path: Path) -> None:
    record_objects(tmp_path / "objects.json")
    assert_objects_versioned(tmp_path / "objects.json")


def test_missing_package_of_the_fixtures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "online_migrate.openstack.object_fingerprints", raising=False)
    monkeypatch.setitem(sys.modules, "oslo_versionedobjects.fixture", None)
    with pytest.raises(ExtraMissing) as missing:
        assert_objects_versioned(tmp_path / "objects.json")
    assert missing.value.hint == "pip install 'online-migrate[openstack]' fixtures"
