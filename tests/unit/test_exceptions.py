"""Every error has a message, a hint and an exit code."""

from __future__ import annotations

import pickle
import string
from collections.abc import Iterator

import pytest

from online_migrate import exceptions
from online_migrate.exceptions import Blocker, GateClosed, OnlineMigrateError


def subclasses(of: type[OnlineMigrateError]) -> Iterator[type[OnlineMigrateError]]:
    for found in of.__subclasses__():
        if found.__module__ == exceptions.__name__:
            yield found
        yield from subclasses(found)


def fields(text: str) -> set[str]:
    return {name.split("[")[0] for _, name, _, _ in string.Formatter().parse(text) if name}


ERRORS = sorted({e for e in subclasses(OnlineMigrateError) if e is not GateClosed}, key=lambda e: e.__name__)


class Any(str):
    """A fact of any type."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return "fact"

    def __repr__(self) -> str:
        return "fact"


@pytest.mark.parametrize("error", ERRORS, ids=[error.__name__ for error in ERRORS])
def test_message_and_hint_use_the_same_facts(error: type[OnlineMigrateError]) -> None:
    """The docstring is a template that the error's own facts fill, on one line."""
    facts = {name: Any("fact") for name in fields(error.__doc__ or "") | fields(error.default_hint)}
    made = error(**facts)
    assert "{" not in str(made)
    assert "\n" not in str(made)
    assert all(getattr(made, name) == "fact" for name in facts)
    assert made.exit_code in (1, 2, 3, 127)
    assert error(hint="another way", **facts).hint == "another way"
    again = pickle.loads(pickle.dumps(made))
    assert (type(again), str(again), again.hint, again.facts) == (error, str(made), made.hint, made.facts)


FAMILIES = {
    exceptions.UsageError: 127,
    exceptions.Refused: 3,
    exceptions.Failed: 2,
}


@pytest.mark.parametrize(("family", "code"), FAMILIES.items())
def test_exit_code_of_error_family(family: type[OnlineMigrateError], code: int) -> None:
    """127 wrong arguments, 3 refused, 2 failed."""
    assert {error.exit_code for error in subclasses(family)} | {family.exit_code} == {code}


def test_gate_closed_counts_blockers() -> None:
    """And keeps them as data."""
    blocker = Blocker("pending-rows", "m", "why", "how", count=1)
    closed = GateClosed([blocker, blocker])
    assert "2 blocker(s)" in str(closed)
    assert closed.blockers == (blocker, blocker)
    assert closed.exit_code == 3


def test_missing_fact_raises_attribute_error() -> None:
    """Copying and pickling access attributes that no error has."""
    with pytest.raises(AttributeError):
        _ = exceptions.ConfigMissing(path="x").nonsense


def test_braces_in_fact_are_not_formatted() -> None:
    """A reason comes from a server and may contain any text."""
    assert "{path} %s" in str(exceptions.ServerError(reason="{path} %s"))


def test_refusal_of_the_gate_can_be_sent_to_another_process() -> None:
    """With its blockers, which are an argument of its own."""
    closed = GateClosed([Blocker("pending", "sizes", "2 rows are pending", "online-migrate migrate")])
    again = pickle.loads(pickle.dumps(closed))
    assert (again.blockers, str(again), again.hint) == (closed.blockers, str(closed), closed.hint)
