"""LOCK TABLES in what SHOW GRANTS lists."""

from __future__ import annotations

import pytest

from online_migrate.dialects.mysql_privileges import grant, may_lock

ALLOWED = [
    "GRANT ALL PRIVILEGES ON *.* TO `u`@`%`",
    "GRANT ALL PRIVILEGES ON `app`.* TO `u`@`%` WITH GRANT OPTION",
    "GRANT SELECT, LOCK TABLES, ALTER ON `app`.* TO `u`@`%`",
    "GRANT LOCK TABLES ON `APP`.* TO `u`@`%`",
    "GRANT LOCK TABLES ON `a%`.* TO `r`",
    "GRANT LOCK TABLES ON `a_p`.* TO `r`",
    "GRANT LOCK TABLES ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*X'",
]
NOT_ALLOWED = [
    "GRANT USAGE ON *.* TO `u`@`%`",
    "GRANT SELECT, ALTER ON `app`.* TO `u`@`%`",
    "GRANT LOCK TABLES ON `other`.* TO `u`@`%`",
    "GRANT LOCK TABLES ON `a\\_p`.* TO `u`@`%`",
    "GRANT ALL PRIVILEGES ON `app`.`t` TO `u`@`%`",
    "GRANT `r`@`%` TO `u`@`%`",
    "REVOKE LOCK TABLES ON `app`.* FROM `u`@`%`",
    "GRANT PROXY ON ''@'%' TO 'root'@'localhost'",
]


@pytest.mark.parametrize("line", ALLOWED)
def test_a_line_that_gives_it(line: str) -> None:
    """On the database, on a pattern that covers it, or on all."""
    assert may_lock(["GRANT USAGE ON *.* TO `u`@`%`", line], "app")


@pytest.mark.parametrize("line", NOT_ALLOWED)
def test_a_line_that_does_not(line: str) -> None:
    """Another database, a single table, another privilege."""
    assert not may_lock([line], "app")


def test_the_statement_to_type() -> None:
    """A user's name may have an @."""
    assert grant("app", "a@b@%") == "GRANT LOCK TABLES, SELECT ON `app`.* TO 'a@b'@'%'"
