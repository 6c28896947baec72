"""The dialect of a server is combined from facets, each with one job."""

from __future__ import annotations

import inspect
import itertools

import pytest

from online_migrate.dialects import Dialect
from online_migrate.dialects.base import registry

FACETS = Dialect.__bases__


def _own(cls: type) -> set[str]:
    """Returns the names that a class defines itself, without those that Python adds."""
    return {name for name in vars(cls) if not name.startswith("__")}


@pytest.mark.parametrize("facet", FACETS, ids=lambda facet: facet.__name__)
def test_facet_is_small_and_documented(facet: type) -> None:
    """A facet has one job, which its docstring names."""
    methods = [name for name, member in vars(facet).items() if inspect.isfunction(member)]
    assert 1 <= len(methods) <= 15
    assert facet.__doc__


def test_facets_share_no_name() -> None:
    """A name in two facets would be defined by the order of the base classes."""
    for one, other in itertools.combinations(FACETS, 2):
        assert not (_own(one) & _own(other)) - {"name"}


@pytest.mark.parametrize("server", sorted(registry))
def test_server_overrides_each_method_in_one_facet(server: str) -> None:
    """Two implementations of one method would be chosen by the order of the base classes.

    A class may override its own base: MariaDB overrides what differs from MySQL.
    """
    overriding = [
        cls
        for cls in registry[server].__mro__
        if issubclass(cls, FACETS) and cls not in FACETS and not issubclass(cls, Dialect)
    ]
    for one, other in itertools.combinations(overriding, 2):
        assert issubclass(one, other) or not _own(one) & _own(other)


@pytest.mark.parametrize("server", sorted(registry))
def test_file_of_a_facet_implements_that_facet_only(server: str) -> None:
    """A method of another facet would not be found by the name of the file."""
    for cls in registry[server].__mro__:
        implemented = [facet for facet in FACETS if issubclass(cls, facet)]
        if issubclass(cls, Dialect) or not implemented:
            continue
        [facet] = implemented
        others = set().union(*(_own(other) for other in FACETS if other is not facet)) - {"name"}
        assert not _own(cls) & others
