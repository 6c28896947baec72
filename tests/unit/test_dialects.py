"""The dialect of a server is combined from facets, each with one job."""

from __future__ import annotations

import inspect
import itertools
import subprocess
import sys

import pytest

from online_migrate.dialects import Dialect
from online_migrate.dialects.base import SERVERS, dialect_named
from online_migrate.exceptions import UnsupportedServer

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


@pytest.mark.parametrize("server", sorted(SERVERS))
def test_server_overrides_each_method_in_one_facet(server: str) -> None:
    """Two implementations of one method would be chosen by the order of the base classes.

    A class may override its own base: MariaDB overrides what differs from MySQL.
    """
    overriding = [
        cls
        for cls in type(dialect_named(server)).__mro__
        if issubclass(cls, FACETS) and cls not in FACETS and not issubclass(cls, Dialect)
    ]
    for one, other in itertools.combinations(overriding, 2):
        assert issubclass(one, other) or not _own(one) & _own(other)


@pytest.mark.parametrize("server", sorted(SERVERS))
def test_file_of_a_facet_implements_that_facet_only(server: str) -> None:
    """A method of another facet would not be found by the name of the file."""
    for cls in type(dialect_named(server)).__mro__:
        implemented = [facet for facet in FACETS if issubclass(cls, facet)]
        if issubclass(cls, Dialect) or not implemented:
            continue
        [facet] = implemented
        others = set().union(*(_own(other) for other in FACETS if other is not facet)) - {"name"}
        assert not _own(cls) & others


def test_modules_of_other_servers_are_not_imported() -> None:
    """A command uses one server; to import the others would delay its start."""
    others = "{name for name in sys.modules if name.startswith('online_migrate.dialects.mysql')}"
    program = f"""
import sys, online_migrate.command.run
from online_migrate.dialects.base import dialect_named
assert dialect_named("sqlite").name == "sqlite"
print({others})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", ["oracle", "base", "mysql_engine"])
def test_unsupported_server_is_refused(name: str) -> None:
    """The name of a module that is no server is no server either."""
    with pytest.raises(UnsupportedServer, match=name):
        dialect_named(name)
