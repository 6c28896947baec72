"""What a rule finds, and the result of a run. Pure."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from online_migrate.sql.operations.operation import Operation


class Severity(enum.StrEnum):
    """How serious a violation is. A notice does not change the exit code."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What a rule reports about one location in a script.

    *object*: the table, column, index or data migration. *facts*: values for the placeholders in the reason
    and the replacement of the rule. *reason*, *replacement*: texts instead of those of the rule.
    """

    line: int
    end_line: int | None = None
    """The last line of the statement; None: it is the same line."""
    object: str = ""
    statement: str = ""
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reason: str | None = None
    replacement: str | None = None
    path: str | None = None
    """The file, if it is not that of the script that was checked."""
    severity: Severity | None = None
    """The severity, if it is not that of the rule."""
    operation: Operation | None = None
    """The operation that it is about; None: it is about no single one."""

    def of(self, path: str) -> Finding:
        """Returns the finding for a file."""
        return dataclasses.replace(self, path=path)

    def saying(self, reason: str, replacement: str, severity: Severity | None = None) -> Finding:
        """Returns the finding with texts of its own; an empty text leaves that of the rule."""
        return dataclasses.replace(
            self, reason=reason or None, replacement=replacement or None, severity=severity
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Violation:
    """A finding of a rule in a file, for one or several servers."""

    rule: str
    severity: Severity
    path: str
    line: int
    end_line: int
    object: str
    reason: str
    replacement: str
    statement: str = ""
    revision: str | None = None
    servers: tuple[str, ...] = ()
    """The servers on which it was found; empty: it does not depend on the server."""
    since: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """For a server, the version from which the rule applies; not set: every supported version."""

    @property
    def location(self) -> str:
        """The file and the line."""
        return f"{self.path}:{self.line}"

    def as_dict(self) -> dict[str, Any]:
        """Returns the violation as a dictionary, for JSON."""
        return dataclasses.asdict(self) | {"severity": str(self.severity), "servers": list(self.servers)}


@dataclasses.dataclass(frozen=True)
class FailedRule:
    """A rule that raised an exception."""

    rule: str
    path: str
    error: str

    def __str__(self) -> str:
        return f"rule {self.rule} raised {self.error} for {self.path}"


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of a run of ``lint``."""

    violations: tuple[Violation, ...] = ()
    failed_rules: tuple[FailedRule, ...] = ()
    ignored: int = 0
    """The number of violations that a comment or a setting ignores."""
    scripts: int = 0
    servers: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """2 if a rule raised, 3 for an error or a warning, else 0."""
        if self.failed_rules:
            return 2
        serious = any(violation.severity is not Severity.NOTICE for violation in self.violations)
        return 3 if serious else 0
