"""A rule: its id, its reason, its replacement, and the function that checks a script. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from online_migrate.lint.violation import Finding, Severity

if TYPE_CHECKING:
    from online_migrate.lint.script import Script
    from online_migrate.lint.tree import Tree

POSTGRESQL: Mapping[str, str] = {"postgresql": ""}
MYSQL: Mapping[str, str] = {"mysql": "", "mariadb": ""}
ALL: Mapping[str, str] = {"postgresql": "", "mysql": "", "mariadb": "", "sqlite": ""}
"""Values of ``servers`` of a rule."""


class _Facts(dict[str, object]):
    """Values for placeholders; a placeholder without a value stays as it is."""

    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """A check of one script on one server, or of a whole tree of scripts.

    *reason*: which lock is taken, what it blocks, and which code breaks. *replacement*: the form to use
    instead. Both may have placeholders such as ``{table}``, which the facts of a finding replace.
    """

    id: str
    reason: str
    replacement: str
    servers: Mapping[str, str] = dataclasses.field(default_factory=lambda: ALL)
    """The servers to which the rule applies, each with the version from which it applies; "": every one."""
    severity: Severity = Severity.ERROR
    default: bool = True
    """False: the rule checks nothing unless it is enabled."""
    sent_safely: bool = False
    """True: ``expand`` and ``contract`` send the safe form themselves, so the rule does not check the scripts
    of the two branches."""
    on_every_server: bool = False
    """True: only what is found on every server that is checked is reported."""
    check: Callable[[Script], Iterable[Finding]] | None = None
    check_tree: Callable[[Tree], Iterable[Finding]] | None = None
    """The check of a rule that needs the graph of the revisions or the data migrations."""

    def reason_for(self, finding: Finding) -> str:
        """Returns the reason with the facts of a finding."""
        return finding.reason or self.reason.format_map(_Facts(finding.facts))

    def replacement_for(self, finding: Finding) -> str:
        """Returns the replacement with the facts of a finding."""
        if finding.replacement is not None:
            return finding.replacement
        return self.replacement.format_map(_Facts(finding.facts))


def script_rule(
    id: str,
    *,
    reason: str,
    replacement: str,
    servers: Mapping[str, str] = ALL,
    severity: Severity = Severity.ERROR,
    default: bool = True,
    sent_safely: bool = False,
    on_every_server: bool = False,
) -> Callable[[Callable[[Script], Iterable[Finding]]], Rule]:
    """Returns a decorator that makes a rule of a function that checks one script on one server."""

    def decorate(check: Callable[[Script], Iterable[Finding]]) -> Rule:
        return Rule(
            id=id,
            reason=reason,
            replacement=replacement,
            servers=servers,
            severity=severity,
            default=default,
            sent_safely=sent_safely,
            on_every_server=on_every_server,
            check=check,
        )

    return decorate


def tree_rule(
    id: str,
    *,
    reason: str,
    replacement: str,
    severity: Severity = Severity.ERROR,
    servers: Mapping[str, str] = ALL,
) -> Callable[[Callable[[Tree], Iterable[Finding]]], Rule]:
    """Returns a decorator that makes a rule of a function that checks a whole tree of scripts."""

    def decorate(check: Callable[[Tree], Iterable[Finding]]) -> Rule:
        return Rule(
            id=id,
            reason=reason,
            replacement=replacement,
            servers=servers,
            severity=severity,
            check_tree=check,
        )

    return decorate
