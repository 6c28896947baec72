"""Servers that are checked in parallel processes: the same report, and the same errors."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from online_migrate import command, exceptions
from online_migrate.command import CommandContext
from online_migrate.lint.processes import in_processes
from tests.support.project import Project

ALL = ("postgresql", "mysql", "mariadb", "sqlite")


def pid(_: int) -> int:
    """Returns the process that makes the call."""
    return os.getpid()


def test_calls_are_made_in_other_processes_and_keep_their_order() -> None:
    """A function that cannot be serialized is called too: the processes are forked."""
    assert in_processes(lambda number: number * 2, [3, 1, 2], 2) == [6, 2, 4]
    assert os.getpid() not in in_processes(pid, [1, 2], 2)


@pytest.mark.parametrize(("arguments", "processes"), [([1, 2], 1), ([1], 8), ([], 4)])
def test_one_call_or_one_process_is_not_forked(arguments: list[int], processes: int) -> None:
    """Nothing would be gained."""
    assert set(in_processes(pid, arguments, processes)) <= {os.getpid()}


def test_error_of_a_call_is_raised_with_its_facts() -> None:
    """An error of the engine arrives whole."""

    def refuse(number: int) -> None:
        raise exceptions.ConfigBroken(path=f"{number}.ini", reason="no reason")

    with pytest.raises(exceptions.ConfigBroken) as caught:
        in_processes(refuse, [1, 2], 2)
    assert (caught.value.path, str(caught.value)) == ("1.ini", "1.ini cannot be used: no reason")


def test_process_that_ends_too_early_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """The calls are made here then, and that is logged."""
    here = os.getpid()

    def end(number: int) -> int:
        if os.getpid() != here:
            os._exit(1)
        return number

    with caplog.at_level(logging.WARNING, "online_migrate.lint"):
        assert in_processes(end, [1, 2], 2) == [1, 2]
    assert "has ended before its time" in caplog.text


def test_report_is_the_same_with_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Findings on several servers are merged, in the order of the servers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ONLINE_MIGRATE_URL", raising=False)
    with Project.create(tmp_path, "sqlite://", pace=None) as project:
        project.expand('op.create_table("volumes", sa.Column("id", sa.Integer, primary_key=True))')
        project.expand('op.add_column("volumes", sa.Column("gb", sa.Integer, nullable=False))')
        project.expand('op.execute("OPTIMIZE TABLE volumes")')
        one, four = (command.lint(CommandContext(), dialects=ALL, processes=number) for number in (1, 4))
    assert one == four
    assert len(one.violations) > 1
    assert any(violation.servers == ALL for violation in one.violations)
    assert any(0 < len(violation.servers) < len(ALL) for violation in one.violations)
