"""Collects findings: each incompatibility once, in the phase in which it is seen first."""

from __future__ import annotations

import dataclasses

from online_migrate.prove.blame import names_table
from online_migrate.prove.finding import Finding


class Findings:
    """The findings so far, in order."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], Finding] = {}
        self._ended: set[tuple[str, ...]] = set()
        """The findings that a later phase no longer had."""

    @property
    def all(self) -> tuple[Finding, ...]:
        """Every finding, in the order in which it was seen first."""
        return tuple(self._found.values())

    def add(self, finding: Finding) -> None:
        """Adds a finding, unless it was seen in an earlier phase."""
        self._found.setdefault(finding.key, finding)

    def end_phase(self, version: str, seen: set[tuple[str, ...]], revision: str, source: str) -> None:
        """Blames the contract *revision* for what the version could not do before it, and can do now.

        *seen*: the keys of the findings of this phase. *source*: the script of the revision; empty: the phase
        is not one of contract.
        """
        for key, found in list(self._found.items()):
            of_version = found.check == "statement-breaks" and found.version == version
            if of_version and key not in seen and key not in self._ended:
                self._ended.add(key)
                if names_table(source, found.table):
                    hint = f"it works after {revision} only: expand must add what it needs"
                    self._found[key] = dataclasses.replace(found, revision=revision, hint=hint)
