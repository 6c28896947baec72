"""Finds the rules: those in :mod:`online_migrate.lint.rules`, and those of installed packages.

A package adds rules by the entry point group ``online_migrate.lint_rules``. An entry point is a
:class:`~online_migrate.lint.rule.Rule`, or a module whose variables are rules.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import pkgutil
import types
from collections.abc import Collection, Iterator, Mapping

from online_migrate import exceptions
from online_migrate.lint import rules as package
from online_migrate.lint.rule import Rule

GROUP = "online_migrate.lint_rules"


class UnknownRule(exceptions.UsageError):
    """Rule {rule!r} does not exist."""

    default_hint = "online-migrate lint --list-rules   (lists the rules)"


class RuleBroken(exceptions.UsageError):
    """Entry point {name!r} of group online_migrate.lint_rules cannot be used: {reason}"""


@functools.cache
def built_in() -> Mapping[str, Rule]:
    """Returns the rules of this package by id, in the order of their modules."""
    found: dict[str, Rule] = {}
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda each: each.name):
        for rule in _rules_in(importlib.import_module(f"{package.__name__}.{module.name}")):
            assert rule.id not in found, f"two rules are named {rule.id}"
            found[rule.id] = rule
    return found


def all_rules() -> Mapping[str, Rule]:
    """Returns the rules of this package and of entry points, by id.

    Raises :class:`RuleBroken` for an entry point that cannot be loaded, or whose id is taken.
    """
    found = dict(built_in())
    for entry in importlib.metadata.entry_points(group=GROUP):
        for rule in _of_entry_point(entry):
            if rule.id in found:
                raise RuleBroken(name=entry.name, reason=f"the rule id {rule.id!r} is taken")
            found[rule.id] = rule
    return found


def selected(*, only: Collection[str] = (), enable: Collection[str] = ()) -> list[Rule]:
    """Returns the rules of a run.

    *only*: the ids of the rules to run; empty: those that are on by default, and those that *enable* names.
    Raises :class:`UnknownRule`.
    """
    known = all_rules()
    require_known((*only, *enable), known)
    return [
        rule for rule in known.values() if (rule.id in only if only else rule.default or rule.id in enable)
    ]


def require_known(ids: Collection[str], known: Mapping[str, Rule]) -> None:
    """Raises :class:`UnknownRule` for the first id that is not the id of a rule."""
    for id in ids:
        if id not in known:
            raise UnknownRule(rule=id)


def _rules_in(module: types.ModuleType) -> Iterator[Rule]:
    for value in vars(module).values():
        if isinstance(value, Rule):
            yield value
        elif isinstance(value, tuple) and value and all(isinstance(each, Rule) for each in value):
            yield from value


def _of_entry_point(entry: importlib.metadata.EntryPoint) -> list[Rule]:
    try:
        value = entry.load()
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise RuleBroken(name=entry.name, reason=reason) from error
    found = [value] if isinstance(value, Rule) else []
    if isinstance(value, types.ModuleType):
        found = list(_rules_in(value))
    if not found:
        raise RuleBroken(name=entry.name, reason="it is not a Rule, and not a module with rules")
    return found
