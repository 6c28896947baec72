"""Ignores: comments in scripts and SQL files, and ``lint_ignore`` in the settings. Each needs a reason.

A comment ``# online-migrate: ignore[rule-id] reason`` (``--`` in SQL) applies to the statement on its line.
On a line of its own it applies to the statement below it.
"""

from __future__ import annotations

import dataclasses
import io
import re
import tokenize
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from online_migrate.lint.lines import lines_of_statement
from online_migrate.lint.paths import shown
from online_migrate.lint.rule import Rule
from online_migrate.lint.rules.ignores import IGNORE_UNKNOWN_RULE, IGNORE_UNUSED, IGNORE_WITHOUT_REASON
from online_migrate.lint.violation import Violation

_COMMENT = re.compile(r"online-migrate:\s*ignore\[([^\]]*)\]\s*(.*)")
_SQL_COMMENT = re.compile(r"--\s*(online-migrate:\s*ignore\[.*)")


@dataclasses.dataclass(frozen=True)
class Ignore:
    """A comment or a setting that ignores rules. *line*: its own line."""

    path: str
    line: int
    rules: tuple[str, ...]
    reason: str
    alone: bool = False
    """True: the comment has a line of its own, and applies to the next statement."""


class Ignores:
    """The ignores of a run: *settings*, and the comments of the files in which something was found."""

    def __init__(
        self, settings: Sequence[Ignore] = (), *, known: Collection[str] = (), ran: Collection[str] = ()
    ) -> None:
        """*known*: the ids of all rules; *ran*: the ids of those that ran."""
        self._settings = tuple(settings)
        self._known = frozenset(known)
        self._ran = frozenset(ran)
        self._comments: dict[str, tuple[Ignore, ...]] = {}
        self._used: set[tuple[Ignore, str]] = set()
        self.count = 0
        """The number of violations that were ignored."""

    def without_ignored(self, violations: Iterable[Violation], paths: Iterable[str]) -> list[Violation]:
        """Returns the violations that are not ignored, and the faults of ignores in *paths*."""
        kept = [violation for violation in violations if not self._ignores(violation)]
        comments = [comment for path in paths for comment in self._comments_of(path)]
        return [*kept, *self._of_ignores([*self._settings, *comments])]

    def _ignores(self, violation: Violation) -> bool:
        comments = self._comments_of(violation.path)
        for ignore in self._settings:
            if violation.rule in ignore.rules and ignore.reason:
                return self._use(ignore, violation)
        if comments:
            lines = _lines_of(violation, {each.line for each in comments if each.alone})
            for comment in comments:
                if comment.line in lines and violation.rule in comment.rules and comment.reason:
                    return self._use(comment, violation)
        return False

    def _comments_of(self, path: str) -> tuple[Ignore, ...]:
        if path not in self._comments:
            self._comments[path] = comments_of(path)
        return self._comments[path]

    def _use(self, ignore: Ignore, violation: Violation) -> bool:
        self._used.add((ignore, violation.rule))
        self.count += 1
        return True

    def _of_ignores(self, ignores: Iterable[Ignore]) -> Iterator[Violation]:
        for ignore in ignores:
            if not ignore.reason:
                yield _violation(IGNORE_WITHOUT_REASON, ignore, ", ".join(ignore.rules))
                continue
            for rule in ignore.rules:
                if rule not in self._known:
                    yield _violation(IGNORE_UNKNOWN_RULE, ignore, rule)
                elif rule in self._ran and (ignore, rule) not in self._used and ignore not in self._settings:
                    yield _violation(IGNORE_UNUSED, ignore, rule)


def _violation(rule: Rule, ignore: Ignore, object: str) -> Violation:
    return Violation(
        rule=rule.id,
        severity=rule.severity,
        path=shown(ignore.path),
        line=ignore.line,
        end_line=ignore.line,
        object=object,
        reason=rule.reason,
        replacement=rule.replacement.replace("{rules}", object),
    )


def _lines_of(violation: Violation, alone: Collection[int]) -> Collection[int]:
    """Returns the lines on which a comment applies to a violation."""
    lines = range(violation.line, violation.end_line + 1)
    if violation.path.endswith(".py"):
        lines = lines_of_statement(violation.path, violation.line)
    start = lines.start
    while start - 1 in alone:
        start -= 1
    return range(start, lines.stop)


def comments_of(path: str) -> tuple[Ignore, ...]:
    """Returns the ignores in the comments of a script or a SQL file."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ()
    if "online-migrate:" not in text:
        return ()
    read = _comments_of_sql if path.endswith(".sql") else _comments_of_python
    return tuple(
        _ignore(path, line, match, alone=alone)
        for line, comment, alone in read(text)
        if (match := _COMMENT.search(comment)) is not None
    )


def _ignore(path: str, line: int, match: re.Match[str], *, alone: bool) -> Ignore:
    rules = tuple(name.strip() for name in match[1].split(",") if name.strip())
    return Ignore(path, line, rules, match[2].strip(), alone)


def _comments_of_python(text: str) -> Iterator[tuple[int, str, bool]]:
    """Returns (line, comment, whether the line has nothing else) of each comment."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string, token.line.lstrip().startswith("#")
    except (tokenize.TokenError, SyntaxError):
        return


def _comments_of_sql(text: str) -> Iterator[tuple[int, str, bool]]:
    for number, line in enumerate(text.splitlines(), 1):
        match = _SQL_COMMENT.search(line)
        if match is not None:
            yield number, match[1], line.lstrip().startswith("--")


def ignores_in_settings(text: str | None, path: Path) -> list[Ignore]:
    """Returns the ignores of ``lint_ignore``: a line ``rule-id: reason`` for each rule.

    *path*: the settings file.
    """
    found = []
    for entry in (text or "").splitlines():
        rule, _, reason = entry.strip().partition(":")
        if rule.strip():
            found.append(Ignore(str(path), _line_of_setting(path, rule), (rule.strip(),), reason.strip()))
    return found


def _line_of_setting(path: Path, rule: str) -> int:
    lines: Mapping[int, str] = dict(enumerate(path.read_text(encoding="utf-8").splitlines(), 1))
    return next((number for number, line in lines.items() if rule in line), 1)
