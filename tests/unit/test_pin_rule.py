"""The rule of a pin: the version that every process understands that may still run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate.services.errors import PinUnknown, VersionTooOld
from online_migrate.services.pin_rule import as_numbers, names_in, pin_in, refuse_older
from online_migrate.services.registry import Registry
from online_migrate.services.service import Liveness, Service, Unreadable

_IDS = itertools.count()


def process(
    versions: Mapping[str, str], liveness: Liveness = Liveness.LIVE, service: str = "volume"
) -> Service:
    return Service(
        id=f"id{next(_IDS)}",
        service=service,
        host="one",
        process="1",
        release=None,
        survives=frozenset(),
        versions=versions,
        dead_after=60,
        beats=0,
        silence=0,
        age=0,
        liveness=liveness,
        forced_by=None,
        returned=False,
    )


def test_versions_are_compared_as_numbers() -> None:
    registry = Registry((process({"rpc": "3.10"}), process({"rpc": "3.9"}), process({"rpc": "3.9.1"})))
    assert pin_in(registry, "rpc") == "3.9"
    assert names_in(registry) == ["rpc"]


@pytest.mark.parametrize(
    ("liveness", "pin"),
    [
        (Liveness.LIVE, "1.0"),
        (Liveness.STALE, "1.0"),
        (Liveness.STOPPED, "2.0"),
        (Liveness.FORCED_DOWN, "2.0"),
    ],
)
def test_process_counts_while_it_may_still_run(liveness: Liveness, pin: str) -> None:
    assert pin_in(Registry((process({"rpc": "2.0"}), process({"rpc": "1.0"}, liveness))), "rpc") == pin


def test_no_process_reports_the_name() -> None:
    ended = process({"rpc": "1.0"}, Liveness.STOPPED)
    assert pin_in(Registry((ended, process({"other": "1.0"}))), "rpc") is None
    assert pin_in(Registry(missing=True), "rpc") is None


def test_process_of_the_same_service_without_the_name_is_refused() -> None:
    """It is of a release that did not report it: what it understands is not known."""
    old = process({})
    with pytest.raises(PinUnknown, match=f"{old.id}\\) does not report it"):
        pin_in(Registry((process({"rpc": "2.0"}), old)), "rpc")
    another = process({}, service="scheduler")
    assert pin_in(Registry((process({"rpc": "2.0"}), another)), "rpc") == "2.0"


def test_row_that_cannot_be_read_is_refused() -> None:
    row = Unreadable("id9", "volume", "versions is not JSON", 1)
    with pytest.raises(PinUnknown, match="versions is not JSON") as refused:
        pin_in(Registry((process({"rpc": "2.0"}),), (row,)), "rpc")
    assert refused.value.hint.endswith("services prune --id id9")


def test_start_with_an_older_version_than_the_pin_is_refused() -> None:
    """The own row does not count, an older one that may still run does."""
    mine = process({"rpc": "3.9"})
    newer = process({"rpc": "3.10"})
    with pytest.raises(VersionTooOld, match=r"reports rpc 3\.9; .* understands 3\.10"):
        refuse_older(Registry((mine, newer)), mine.id, "volume", mine.versions)
    refuse_older(
        Registry((mine, newer, process({"rpc": "3.9"}, Liveness.STALE))), mine.id, "v", mine.versions
    )
    refuse_older(Registry((mine,)), mine.id, "volume", mine.versions)


_VERSION = st.lists(st.integers(0, 20), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))


@given(st.lists(st.tuples(_VERSION, st.sampled_from(list(Liveness))), max_size=6), _VERSION)
def test_pin_does_not_fall_when_a_process_starts(others: list[tuple[str, Liveness]], version: str) -> None:
    """Either the process is refused, or the pin is what it was, or nothing was pinned before."""
    before = Registry(tuple(process({"rpc": one}, liveness) for one, liveness in others))
    mine = process({"rpc": version})
    after = Registry((*before.services, mine))
    pin = pin_in(before, "rpc")
    try:
        refuse_older(after, mine.id, "volume", mine.versions)
    except VersionTooOld:
        assert pin is not None
        assert as_numbers(version) < as_numbers(pin)
    else:
        now = pin_in(after, "rpc")
        assert now is not None
        assert pin is None or as_numbers(now) == as_numbers(pin)
