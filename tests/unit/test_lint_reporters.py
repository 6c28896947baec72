"""The formats of the output of lint."""

from __future__ import annotations

import json
import re

import pytest

from online_migrate.lint import reporters
from online_migrate.lint.violation import FailedRule, Report, Severity, Violation

REPORT = Report(
    violations=(
        Violation(
            rule="drop-column",
            severity=Severity.ERROR,
            path="migrations/a,b.py",
            line=3,
            end_line=4,
            object="t.a",
            reason="100% of old code: fails.",
            replacement="first\nsecond",
            statement="ALTER TABLE t DROP COLUMN a",
            revision="e1",
            servers=("postgresql", "mysql"),
            since={"postgresql": "12"},
        ),
        Violation(
            rule="not-rendered",
            severity=Severity.NOTICE,
            path="b.py",
            line=1,
            end_line=1,
            object="",
            reason="why",
            replacement="",
        ),
    ),
    failed_rules=(FailedRule("mine", "b.py", "RuntimeError: x"),),
    ignored=2,
    scripts=5,
    servers=("postgresql", "mysql"),
)


def test_text() -> None:
    """The place, the rule, the servers, the statement, the reason, the replacement, and a summary."""
    assert reporters.render(REPORT, "text").splitlines() == [
        "migrations/a,b.py:3: error drop-column [postgresql, mysql] t.a",
        "    ALTER TABLE t DROP COLUMN a",
        "    100% of old code: fails.",
        "    -> first",
        "       second",
        "    from postgresql 12",
        "b.py:1: notice not-rendered",
        "    why",
        "lint: 1 error(s), 1 notice(s) in 5 script(s); 2 ignored",
    ]


def test_json() -> None:
    """Every field of each violation."""
    document = json.loads(reporters.render(REPORT, "json"))
    assert document["violations"][0]["servers"] == ["postgresql", "mysql"]
    assert document["violations"][0]["severity"] == "error"
    assert document["failed_rules"] == [{"rule": "mine", "path": "b.py", "error": "RuntimeError: x"}]
    assert (document["ignored"], document["scripts"]) == (2, 5)


def test_github() -> None:
    """One command a violation; line breaks, percent signs, colons and commas are escaped."""
    first, second = reporters.render(REPORT, "github").splitlines()
    assert first == (
        "::error file=migrations/a%2Cb.py,line=3,endLine=4,title=drop-column t.a::"
        "100%25 of old code: fails. (postgresql, mysql)%0Afirst%0Asecond"
    )
    assert re.fullmatch(r"::notice file=b\.py,line=1,endLine=1,title=not-rendered::why%0A", second)


def test_sarif() -> None:
    """The properties that SARIF 2.1.0 requires, and the references between them."""
    document = json.loads(reporters.render(REPORT, "sarif"))
    assert document["version"] == "2.1.0"
    [run] = document["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "online-migrate"
    assert [rule["id"] for rule in driver["rules"]] == ["drop-column", "not-rendered"]
    assert all(rule["shortDescription"]["text"] for rule in driver["rules"])
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        [location] = result["locations"]
        region = location["physicalLocation"]["region"]
        assert 1 <= region["startLine"] <= region["endLine"]
        assert location["physicalLocation"]["artifactLocation"]["uri"]
    [invocation] = run["invocations"]
    assert invocation["executionSuccessful"] is False
    assert "mine" in invocation["toolExecutionNotifications"][0]["message"]["text"]


def test_unknown_format() -> None:
    """The known ones are listed."""
    assert list(reporters.names()) == ["github", "json", "sarif", "text"]
    with pytest.raises(reporters.UnknownFormat) as error:
        reporters.render(REPORT, "xml")
    assert "github, json, sarif, text" in error.value.hint
