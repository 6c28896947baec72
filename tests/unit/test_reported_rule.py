"""Services that report beside the registry: their least versions, and the rule of the gate."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate.config import Settings
from online_migrate.exceptions import ConfigBroken, GraphBroken
from online_migrate.script.graph import Graph, Revision
from online_migrate.script.reading import versions_in
from online_migrate.service_sources.source import source_of
from online_migrate.services import ReportedService
from online_migrate.services.registry import Registry
from online_migrate.services.reported import Reported
from online_migrate.services.reported_rule import ReportedRule
from online_migrate.services.requirement import Requirement
from online_migrate.services.survived_by import SurvivedBy


def survived_by(text: str, names: tuple[str, ...] = ()) -> SurvivedBy:
    return SurvivedBy.of(Settings(survived_by=text), names)


def objects(
    *services: ReportedService, mapping: str = "c1:a=3.10", stale_counts: bool = False, **rule: Any
) -> list[tuple[str, str]]:
    """The ids and the objects of the blockers of c1."""
    reported = Reported(services, stale_counts=stale_counts)
    found = ReportedRule(Requirement(**rule), survived_by(mapping)).blockers(reported, ["c1"])
    assert all(blocker.reason and blocker.hint for blocker in found)
    return [(blocker.id, blocker.object) for blocker in found]


BEHIND = [("service-behind", "service a")]
UNDECLARED = [("service-versions-undeclared", "service a")]
UNMAPPED = [("service-versions-undeclared", "c1")]
SILENT = [("service-silent", "services")]


@pytest.mark.parametrize(
    ("changed", "rule", "expected"),
    [
        ({"versions": {"rpc": "3.10"}}, {}, []),
        ({"versions": {"rpc": "3.9"}}, {}, BEHIND),
        ({"versions": {"rpc": "3.9"}}, {"attested": True, "silence_accepted": True}, BEHIND),
        ({"versions": {"rpc": "3.9"}, "survives": ("c1",)}, {}, []),
        ({}, {"mapping": ""}, UNMAPPED),
        ({}, {"mapping": "", "silence_accepted": True}, UNMAPPED),
        ({}, {"mapping": "", "attested": True}, []),
        ({}, {"mapping": "c1:b=1"}, UNDECLARED),
        ({}, {"mapping": "c1:b=1", "attested": True}, []),
        ({}, {}, BEHIND),
        ({"versions": {"rpc": "3.10", "object": "3.10"}}, {}, BEHIND),
        ({"versions": {"rpc": "3.10", "object": "3.10"}}, {"mapping": "c1:a:rpc=3.10"}, []),
        ({"versions": {"rpc": "3.10", "object": "1"}}, {"mapping": "c1:a:rpc=3, c1:a:object=2"}, BEHIND),
        ({"versions": {"rpc": "3.10"}}, {"mapping": "c0:a=3.10", "squashed": {"c0": "c1"}}, []),
        ({"versions": {"rpc": "3.9"}}, {"mapping": "c0:a=3.10", "squashed": {"c0": "c1"}}, BEHIND),
        ({"state": "stopped"}, {}, SILENT),
        ({"state": "forced down"}, {"silence_accepted": True}, []),
        ({"state": "stale", "silence": 100}, {}, BEHIND),
        ({"state": "stale", "silence": 100}, {"ignore_stale_after": 99}, SILENT),
        ({"state": "stale", "silence": 100}, {"ignore_stale_after": 99, "stale_counts": True}, BEHIND),
        ({"state": "stale"}, {"ignore_stale_after": 99}, BEHIND),
        ({"state": "live", "silence": 100}, {"ignore_stale_after": 99}, BEHIND),
    ],
)
def test_blockers(changed: dict[str, Any], rule: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert objects(ReportedService("a", "one", **changed), **rule) == expected


def test_nothing_to_contract_has_no_blockers() -> None:
    """Also where nothing is reported."""
    assert ReportedRule(Requirement()).blockers(Reported(), []) == []


@given(
    versions=st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 12)), max_size=4),
    least=st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 12)),
)
def test_open_gate_means_that_every_version_is_declared_and_reached(
    versions: list[tuple[str, int]], least: dict[str, int]
) -> None:
    """The invariant, written without the code under test."""
    services = [ReportedService(name, "one", versions={"rpc": f"3.{minor}"}) for name, minor in versions]
    mapping = ", ".join(f"c1:{name}=3.{minor}" for name, minor in least.items())
    is_open = not objects(*services, mapping=mapping)
    reached = all(name in least and minor >= least[name] for name, minor in versions)
    assert is_open == (bool(versions) and reached)


def test_live_services_of_both_registries() -> None:
    """A stale report does not make a declared service live."""
    reported = Reported((ReportedService("a", "one"), ReportedService("b", "one", state="stale")))
    assert Registry(reported=reported).live == {"a"}
    assert Requirement().checks(Registry(reported=Reported()))


def graph_of(**declared: tuple[tuple[str, str], ...]) -> Graph:
    """One revision on each branch; *declared*: what the script of a revision survives by."""
    branches = {"e1": "expand", "c1": "contract"}
    return Graph(
        Revision(id, labels=frozenset({branch}), survived_by=declared.get(id, ()), path=f"{id}.py")
        for id, branch in branches.items()
    )


def test_a_script_declares_its_least_versions() -> None:
    """Together with the settings; neither overrides the other."""
    scripts = graph_of(c1=(("a:rpc", "3.10"), ("b", "1")))
    both = SurvivedBy.of(Settings(survived_by="c0:a=2"), (), scripts)
    assert both.revisions() == {"c0", "c1"}
    assert both.survived(ReportedService("a", "one", versions={"rpc": "3.10"})) == {"c0", "c1"}
    assert both.survived(ReportedService("a", "one", versions={"rpc": "3.9"})) == {"c0"}
    assert both.survived(ReportedService("b", "one", versions={"rpc": "0.9"})) == frozenset()


@pytest.mark.parametrize(
    ("declared", "setting", "said"),
    [
        ({"c1": (("a", "3"),)}, "c1:b=4", "'c1:b=4': the script of c1 declares it itself"),
        ({"e1": (("a", "3"),)}, "", "survived_by in e1.py: e1 is no contract revision"),
        ({"c1": (("a", "three"),)}, "", "'c1:a=three' is not"),
        ({"c1": (("a:", "3"),)}, "", "'c1:a:=3' is not"),
    ],
)
def test_bad_least_version_of_a_script(
    declared: dict[str, tuple[tuple[str, str], ...]], setting: str, said: str
) -> None:
    with pytest.raises(ConfigBroken, match=re.escape(said)):
        SurvivedBy.of(Settings(survived_by=setting), (), graph_of(**declared))


@pytest.mark.parametrize(
    "value", [["a"], "a=3", {"a": 3}, {1: "3"}, {"a": "3 , c9:b=1"}], ids=lambda value: str(value)
)
def test_survived_by_of_a_script_is_a_dict_of_texts(value: Any) -> None:
    """A text with a space or a comma could declare another revision."""
    script = SimpleNamespace(revision="c1", path="c1.py", module=SimpleNamespace(survived_by=value))
    with pytest.raises(GraphBroken, match="survived_by of c1 is not a dict of services and versions"):
        versions_in(script)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("c1", ()),
        ("c1=1", ()),
        (":a=1", ()),
        ("c1:=1", ()),
        ("c1:a:=1", ()),
        ("c1:a=", ()),
        ("c1:a=3.x", ()),
        ("c1:a=1, c1:a=2", ()),
        ("c1:a:rpc=1 c1:a:rpc=2", ()),
        ("c1:a=1", ("rpc", "object")),
        ("c1:a:objct=1", ("rpc", "object")),
    ],
)
def test_bad_least_version(text: str, names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigBroken, match="survived_by"):
        survived_by(text, names)


@pytest.mark.parametrize(
    "settings",
    [
        {"services_from": "glance"},
        {"services_from": "no_such_module:function"},
        {"services_from": "os:sep"},
        {"survived_by": "c1:a=1"},
        {"services_from": "cinder", "nova_database": "sqlite://"},
        {"nova_api_database": "sqlite://"},
        {"services_from": "nova", "nova_api_database": "nonsense"},
    ],
    ids=repr,
)
def test_bad_settings(settings: dict[str, Any], tmp_path: Any) -> None:
    """A setting without effect is refused: what it asks for would not be checked."""
    with pytest.raises(ConfigBroken):
        source_of(Settings(**settings), tmp_path)


@pytest.mark.parametrize(
    "changed",
    [
        {"service": ""},
        {"host": None},
        {"versions": {"rpc": "new"}},
        {"versions": {"rpc": 3}},
        {"survives": "c1"},
        {"survives": [1]},
        {"state": "up"},
        {"silence": "long"},
    ],
    ids=repr,
)
def test_bad_report(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is"):
        ReportedService(**{"service": "a", "host": "one", **changed})
