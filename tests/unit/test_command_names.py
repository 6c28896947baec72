"""Messages of DbCommands name the commands that the program around them has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import online_migrate
from online_migrate.openstack.command_names import PROSE, as_db_commands

_FOLLOWED = re.compile(r"online-migrate (?:expand|contract|gate|migrate|status|upgrade) ([A-Za-z0-9_@.-]+)")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("online-migrate gate", "db gate"),
        ("then: online-migrate migrate volume_bytes", "then: db migrate --name volume_bytes"),
        (
            "online-migrate expand e2, online-migrate migrate, online-migrate contract c2   (then: ...)",
            "db expand --revision e2, db migrate, db contract --revision c2   (then: ...)",
        ),
        ('online-migrate contract --attest "why"', 'db contract --attest "why"'),
        ("run online-migrate contract again: it continues", "run db contract again: it continues"),
        ("online-migrate status lists the failed rows", "db status lists the failed rows"),
        ("online-migrate upgrade   (applies all phases)", "db sync   (applies all phases)"),
        ("online-migrate services prune --stale 1s", "online-migrate services prune --stale 1s"),
        ("online-migrate upgraded the tables", "online-migrate upgraded the tables"),
    ],
)
def test_command_in_a_message(said: str, expected: str) -> None:
    assert as_db_commands(said) == expected


def test_words_after_a_command_in_messages_are_known() -> None:
    """Any other word would be taken for a revision or a name; those are placeholders in the source."""
    package = Path(str(online_migrate.__file__)).parent
    words = {
        word
        for path in package.rglob("*.py")
        if path.parts[-2] not in ("demo", "openstack")
        for word in _FOLLOWED.findall(path.read_text(encoding="utf-8"))
    }
    assert {word for word in words if not word.startswith("-")} == PROSE
