"""The rules of the services: liveness, what keeps a revision from being contracted, what cannot be read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate import state
from online_migrate.config import Settings
from online_migrate.exceptions import ConfigBroken
from online_migrate.services.errors import ServiceBroken
from online_migrate.services.registry import Registry
from online_migrate.services.requirement import Requirement, service_blockers
from online_migrate.services.service import Liveness, Service, Unreadable, read, report
from online_migrate.services.squashed import squashed_of, survives

KNOWN = ("e1", "c1", "c2", "c3")


def row(**changed: Any) -> Mapping[str, Any]:
    """The row of a live process whose code survives c1; its last heartbeat is 4 s old."""
    return {
        "id": "1f",
        "service": "api",
        "host": "one",
        "process": "7",
        "code_release": "2026.1",
        "survives": '["c1"]',
        "versions": '{"volume-rpc": "3.10"}',
        "dead_after": 60,
        "beats": 3,
        "started": 900,
        "heartbeat": 996,
        "stopped": None,
        "forced_down": None,
        "forced_by": None,
        state.NOW: 1000,
        **changed,
    }


def service(**changed: Any) -> Service:
    found = read(row(**changed))
    assert isinstance(found, Service), found
    return found


def ids(*rows: Mapping[str, Any], revisions: tuple[str, ...] = ("c2",), **rule: Any) -> list[str]:
    """The ids of the blockers of *revisions*, for a registry with these rows."""
    found = [read(one) for one in rows]
    registry = Registry(
        tuple(one for one in found if isinstance(one, Service)),
        tuple(one for one in found if isinstance(one, Unreadable)),
    )
    blockers = service_blockers(registry, Requirement(**rule), KNOWN, revisions)
    assert all(blocker.reason and blocker.hint and blocker.object for blocker in blockers)
    return [blocker.id for blocker in blockers]


# --- liveness ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "liveness"),
    [
        ({}, Liveness.LIVE),
        ({"heartbeat": 940}, Liveness.LIVE),
        ({"heartbeat": 939}, Liveness.STALE),
        ({"heartbeat": 1005}, Liveness.LIVE),
        ({"stopped": 996}, Liveness.STOPPED),
        ({"stopped": 1000, "heartbeat": 100}, Liveness.STOPPED),
        ({"forced_down": 996}, Liveness.FORCED_DOWN),
        ({"forced_down": 1000, "stopped": 1000}, Liveness.FORCED_DOWN),
        ({"forced_down": 995}, Liveness.LIVE),
        ({"stopped": 995}, Liveness.LIVE),
        ({"forced_down": 100, "heartbeat": 200}, Liveness.STALE),
    ],
)
def test_liveness(changed: dict[str, Any], liveness: Liveness) -> None:
    """A heartbeat after the end shows that the process runs."""
    assert service(**changed).liveness is liveness


GARBAGE = (
    {"survives": "nonsense"},
    {"survives": '"c1"'},
    {"survives": "[1]"},
    {"survives": '[""]'},
    {"survives": None},
    {"versions": "[]"},
    {"versions": '{"rpc": 3}'},
    {"versions": '{"rpc": "3.x"}'},
    {"dead_after": 0},
    {"dead_after": "soon"},
    {"heartbeat": "now"},
    {"heartbeat": 1006},
    {"started": None},
    {"stopped": "yes"},
    {"host": " "},
    {"service": ""},
)


@pytest.mark.parametrize("changed", GARBAGE, ids=repr)
def test_unreadable_row_closes_gate(changed: dict[str, Any]) -> None:
    """Also where its process would otherwise not count, or would survive."""
    assert isinstance(read(row(**changed)), Unreadable)
    assert ids(row(**changed), revisions=("c1",)) == ["service-unreadable"]


# --- the gate ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "rule", "expected"),
    [
        ([], {}, []),
        ([], {"declared": ()}, []),
        ([], {"declared": ("api",)}, ["service-silent"]),
        ([], {"declared": ("api",), "silence_accepted": True}, []),
        ([{"survives": '["c1", "c2"]'}], {"declared": ("api",)}, []),
        ([{"survives": '["c1", "c2"]', "stopped": 999}], {"declared": ("api",)}, ["service-silent"]),
        ([{"survives": '["c1", "c2"]', "heartbeat": 1}], {"declared": ("api",)}, ["service-silent"]),
        ([{}], {}, ["service-behind"]),
        ([{}], {"silence_accepted": True}, ["service-behind"]),
        ([{"heartbeat": 1}], {}, ["service-stale"]),
        ([{"heartbeat": 1}], {"silence_accepted": True}, ["service-stale"]),
        ([{"heartbeat": 1}], {"ignore_stale_after": 999}, ["service-stale"]),
        ([{"heartbeat": 1}], {"ignore_stale_after": 998}, []),
        ([{}], {"ignore_stale_after": 1}, ["service-behind"]),
        ([{"stopped": 999}], {}, []),
        ([{"forced_down": 999}], {}, []),
        ([{"survives": '["c1", "c2", "c9"]'}], {}, ["service-revision-unknown"]),
        ([{"survives": '["c1", "c2", "c9"]', "stopped": 999}], {}, []),
        ([{"survives": '["c1", "c2", "c0"]'}], {"squashed": {"c0": "c1"}}, []),
        ([{"survives": '["c2"]'}, {"id": "2f", "survives": '["c2"]'}], {}, ["service-identity-shared"]),
        ([{"survives": '["c2"]'}, {"id": "2f", "survives": '["c2"]', "heartbeat": 1}], {}, []),
        ([{"survives": '["c2"]'}, {"id": "2f", "survives": '["c2"]', "process": "8"}], {}, []),
    ],
)
def test_blockers(rows: list[dict[str, Any]], rule: dict[str, Any], expected: list[str]) -> None:
    assert ids(*(row(**one) for one in rows), **rule) == expected


def test_nothing_to_contract_has_no_blockers() -> None:
    assert ids(row(), revisions=(), declared=("api", "worker")) == []


def test_registry_is_missing() -> None:
    """An older engine made the tables: only a project that declares services is refused."""
    registry = Registry(missing=True)
    assert service_blockers(registry, Requirement(), KNOWN, ["c2"]) == []
    [blocker] = service_blockers(registry, Requirement(("api",)), KNOWN, ["c2"])
    assert (blocker.id, blocker.object) == ("service-registry-missing", "service api")


def test_many_processes_are_one_blocker() -> None:
    """A blocker for each service, release and liveness, with the number of processes and some of them."""
    rows = [row(id=str(n), process=str(n)) for n in range(900)]
    rows += [row(id="s", process="s", heartbeat=1), row(id="o", process="o", code_release=None)]
    services = [one for one in map(read, rows) if isinstance(one, Service)]
    found = service_blockers(Registry(tuple(services)), Requirement(), KNOWN, ["c1", "c2", "c3"])
    assert [(b.id, b.count) for b in found] == [
        ("service-behind", 900),
        ("service-stale", 1),
        ("service-behind", 1),
    ]
    assert "release 2026.1, whose code does not survive c2, c3" in found[0].reason
    assert "one/0, one/1, one/2, one/3, one/4, ..." in found[0].reason


@given(
    survived=st.sets(st.sampled_from(KNOWN)),
    revisions=st.lists(st.sampled_from(("c1", "c2", "c3")), min_size=1, unique=True),
    heartbeat=st.integers(0, 1005),
    stopped=st.none() | st.integers(0, 1000),
    forced_down=st.none() | st.integers(0, 1000),
    ignore_stale_after=st.none() | st.floats(1, 2000),
)
def test_open_gate_means_that_every_counted_process_survives(
    survived: set[str],
    revisions: list[str],
    heartbeat: int,
    stopped: int | None,
    forced_down: int | None,
    ignore_stale_after: float | None,
) -> None:
    """The invariant, written without the code under test."""
    one = row(
        survives=json.dumps(sorted(survived)), heartbeat=heartbeat, stopped=stopped, forced_down=forced_down
    )
    is_open = not ids(one, revisions=tuple(revisions), ignore_stale_after=ignore_stale_after)
    ended = [when for when in (stopped, forced_down) if when is not None]
    over = bool(ended) and all(heartbeat <= when for when in ended)
    silence = max(0, 1000 - heartbeat)
    forgotten = silence > 60 and ignore_stale_after is not None and silence > ignore_stale_after
    assert is_open == (over or forgotten or set(revisions) <= survived)


# --- squashed revisions, settings, reports --------------------------------------------------------


def test_squashed_revisions_are_known() -> None:
    """Code from before the squash names the old ones, later code the new one."""
    squashed = squashed_of(Settings(squashed="c1:c3, c2:c3"))
    assert squashed == {"c1": "c3", "c2": "c3"}
    assert survives("c3", {"c1", "c2"}, squashed)
    assert not survives("c3", {"c1"}, squashed)
    assert survives("c1", {"c3"}, squashed)
    assert not survives("c4", {"c1", "c2", "c3"}, squashed)
    assert not survives("c1", set(), squashed)


@pytest.mark.parametrize("text", ["c1", "c1:", ":c1", "c1:c2, c1:c3"])
def test_bad_squashed_setting(text: str) -> None:
    with pytest.raises(ConfigBroken):
        squashed_of(Settings(squashed=text))


def test_declared_services() -> None:
    assert Requirement.of(Settings()).declared is None
    assert Requirement.of(Settings(services="api, worker")).declared == ("api", "worker")
    assert Requirement.of(Settings(services="*")).declared == ()


@pytest.mark.parametrize(
    "changed",
    [
        {"survives": "c1"},
        {"survives": [1]},
        {"survives": [""]},
        {"versions": {"rpc": "3.x"}},
        {"versions": {"rpc": 3}},
        {"host": ""},
        {"release": "r" * 256},
    ],
    ids=repr,
)
def test_bad_report_is_refused(changed: dict[str, Any]) -> None:
    """A process reports nothing that the gate could not read."""
    good: dict[str, Any] = {
        "host": "one",
        "process": "7",
        "release": None,
        "survives": ["c1"],
        "versions": {},
        "dead_after": 60,
    }
    assert report("1f", "api", **good).survives == '["c1"]'
    with pytest.raises(ServiceBroken):
        report("1f", "api", **{**good, **changed})
