"""What ``prove`` finds, as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Finding:
    """One incompatibility."""

    check: str
    """The id of the check, such as ``statement-breaks``."""
    phase: str
    """The phase in which it is seen first, such as ``expand e1``."""
    reason: str
    """What is wrong; for a statement the error of the server."""
    version: str = ""
    """The version of the application: old, new or final; empty: it is not about one of them."""
    object: str = ""
    """The mapped class, the table or the data migration."""
    table: str = ""
    operation: str = ""
    """What the version does, such as ``insert``."""
    statement: str = ""
    revision: str = ""
    """The revision or the data migration to blame; empty: it is not known."""
    hint: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """The same for the same incompatibility in another phase."""
        return (
            self.check,
            self.version,
            self.object,
            self.operation,
            self.reason if not self.operation else "",
        )

    @property
    def title(self) -> str:
        """The phase, the check and what the finding is about."""
        subject = " ".join(part for part in (self.version, self.object, self.operation) if part)
        return f"{self.phase}: {self.check}{f': {subject}' if subject else ''}"

    @property
    def details(self) -> list[str]:
        """The lines after the title."""
        lines = [self.reason, self.statement, f"caused by {self.revision}" if self.revision else ""]
        return [line for line in [*lines, f"-> {self.hint}" if self.hint else ""] if line]

    def as_dict(self) -> dict[str, str]:
        """Returns the finding for the JSON document."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class PhaseRun:
    """One phase, with the number of operations of each version that ran in it."""

    name: str
    operations: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of ``prove``."""

    findings: Sequence[Finding]
    phases: Sequence[PhaseRun]
    stopped: str = ""
    """Why the phases after the last one were not reached; empty: all were."""

    @property
    def exit_code(self) -> int:
        """3 if something was found."""
        return 3 if self.findings else 0

    def as_dict(self) -> dict[str, Any]:
        """Returns the JSON document."""
        return {
            "proved": not self.findings,
            "findings": [finding.as_dict() for finding in self.findings],
            "phases": [dataclasses.asdict(phase) for phase in self.phases],
            "stopped": self.stopped,
        }
