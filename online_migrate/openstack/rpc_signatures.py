"""The methods of an RPC endpoint, and which changes of them break the clients of the release before. Pure.

oslo.messaging passes the context by position and every argument by name. So the order of arguments does not
matter, and the name of the context does not either.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from online_migrate.exceptions import UsageError
from online_migrate.openstack.recorded import Problem
from online_migrate.services.pin_rule import as_numbers

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclasses.dataclass(frozen=True)
class Method:
    """How a method can be called."""

    arguments: Mapping[str, bool]
    """The name of each argument, and whether it is required."""
    any: bool
    """True if it accepts arguments of any name."""


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """The methods that are exposed in one major version of a namespace."""

    version: str
    methods: Mapping[str, Method]

    @classmethod
    def from_dict(cls, recorded: Mapping[str, Any]) -> Endpoint:
        """Returns the endpoint in a record."""
        methods = {name: Method(**one) for name, one in recorded["methods"].items()}
        return cls(recorded["version"], methods)


def read_endpoints(endpoints: Collection[object], ignore: Collection[str]) -> dict[str, Endpoint]:
    """Returns the endpoints by the name of their namespace and major version.

    *endpoints*: classes or objects. *ignore*: names of methods that are not called by RPC.
    """
    found: dict[str, Endpoint] = {}
    for one in endpoints:
        target = getattr(one, "target", None)
        version = getattr(target, "version", None) or "1.0"
        namespace = getattr(target, "namespace", None)
        key = f"{version.partition('.')[0]}.x" + (f" of {namespace}" if namespace else "")
        if key in found:
            raise UsageError(
                message=f"two endpoints have the version {key}: record each in a file of its own"
            )
        methods = {name: method for name, method in _methods_of(one) if name not in ignore}
        found[key] = Endpoint(version, methods)
    return found


def _methods_of(endpoint: object) -> Iterator[tuple[str, Method]]:
    of = endpoint if isinstance(endpoint, type) else type(endpoint)
    for name in dir(of):
        function = getattr(of, name)
        if name.startswith("_") or not callable(function) or isinstance(function, type):
            continue
        is_function = inspect.isfunction(inspect.getattr_static(of, name))
        method = _method(function, by_position=2 if is_function else 1)
        if method is not None:
            yield name, method


def _method(function: Any, by_position: int) -> Method | None:
    """Returns a method; None if a message cannot call it.

    *by_position*: the number of arguments that are given by position: the object itself, and the context.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    while by_position and parameters and parameters[0].kind is not inspect.Parameter.KEYWORD_ONLY:
        if parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
            by_position = 0
            break
        del parameters[0]
        by_position -= 1
    if by_position or any(_is_positional(one) for one in parameters):
        return None
    return Method(
        {one.name: one.default is one.empty for one in parameters if one.kind in _BY_NAME},
        any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters),
    )


def _is_positional(parameter: inspect.Parameter) -> bool:
    return parameter.kind is inspect.Parameter.POSITIONAL_ONLY and parameter.default is parameter.empty


def compare_endpoints(recorded: Mapping[str, Endpoint], found: Mapping[str, Endpoint]) -> list[Problem]:
    """Returns the differences between what is *recorded* and what is *found*."""
    problems: list[Problem] = []
    for key, before in recorded.items():
        if key in found:
            problems += _compare(key, before, found[key])
        else:
            hint = "keep an endpoint for it until no process sends it; after that delete it from the record"
            problems.append(Problem(f"{key}: there is no endpoint for this version any more", hint))
    for key in found.keys() - recorded.keys():
        problems.append(Problem(f"{key} is not recorded"))
    return problems


def _compare(key: str, before: Endpoint, now: Endpoint) -> Iterator[Problem]:
    major = int(before.version.partition(".")[0])
    broken = list(_broken(before, now))
    for what in broken:
        hint = (
            f"accept both forms in {key}: keep what was there, and give every new argument a default; or "
            f"write the new form in an endpoint for {major + 1}.0 beside this one"
        )
        yield Problem(f"{key}: {what}", hint)
    added = [] if broken else list(_added(before, now))
    raised = as_numbers(now.version) > as_numbers(before.version)
    if as_numbers(now.version) < as_numbers(before.version):
        yield Problem(
            f"{key}: the version {now.version} is older than the recorded one, {before.version}",
            "restore the version of the target",
        )
    elif added and not raised:
        yield Problem(
            f"{key}: {'; '.join(added)}; the version is still {now.version}",
            "raise the minor version of the target: a client asks can_send(...) before it uses the new form",
        )
    elif raised and not broken:
        what = "; ".join([f"the version is {now.version}, recorded is {before.version}", *added])
        yield Problem(f"{key}: {what}")


def _broken(before: Endpoint, now: Endpoint) -> Iterator[str]:
    """Yields the changes with which a message of the release before fails."""
    for name, old in before.methods.items():
        new = now.methods.get(name)
        if new is None:
            yield f"method {name}() is removed, or renamed"
            continue
        added = sorted(new.arguments.keys() - old.arguments.keys())
        for argument, required in old.arguments.items():
            if argument not in new.arguments and not new.any:
                renamed = f", or renamed to {' or '.join(map(repr, added))}" if added else ""
                yield f"argument {argument!r} of {name}() is removed{renamed}"
            elif new.arguments.get(argument) and not required:
                yield f"argument {argument!r} of {name}() is required now"
        for argument in added:
            if new.arguments[argument]:
                yield f"{name}() requires the new argument {argument!r}"
        if old.any and not new.any:
            yield f"{name}() does not accept arguments of any name (**) any more"


def _added(before: Endpoint, now: Endpoint) -> Iterator[str]:
    """Yields the changes that a server of the release before does not understand."""
    for name, new in now.methods.items():
        old = before.methods.get(name)
        if old is None:
            yield f"method {name}() is new"
            continue
        for argument, required in new.arguments.items():
            if argument not in old.arguments and not required and not old.any:
                yield f"argument {argument!r} of {name}() is new"
            elif old.arguments.get(argument) and not required:
                yield f"argument {argument!r} of {name}() is optional now"
        if new.any and not old.any:
            yield f"{name}() accepts arguments of any name (**)"
