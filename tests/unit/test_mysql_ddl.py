"""Which statements may stand under LOCK TABLES, and in which form."""

from __future__ import annotations

import pytest

from online_migrate.dialects.mysql_ddl import forms_under_lock, kind
from online_migrate.sql.statement import Kind

KINDS = {
    "SELECT 1": Kind.READ,
    "SHOW TABLES": Kind.READ,
    "UPDATE t SET a = 1": Kind.DATA,
    "TRUNCATE TABLE t": Kind.DATA,
    "REPLACE INTO t VALUES (1)": Kind.DATA,
    "LOAD DATA INFILE 'x' INTO TABLE t": Kind.DATA,
    "DROP TABLE t": Kind.LOCKED,
    "DROP TEMPORARY TABLE t": Kind.LOCKED,
    "DROP TRIGGER x": Kind.LOCKED,
    "DROP INDEX i ON t": Kind.LOCKED,
    "RENAME TABLE t TO u": Kind.LOCKED,
    "ALTER TABLE t DROP COLUMN a": Kind.LOCKED,
    "ALTER TABLE t DROP a, ADD b INT": Kind.LOCKED,
    "ALTER TABLE t RENAME COLUMN a TO b": Kind.LOCKED,
    "ALTER TABLE t RENAME TO u": Kind.LOCKED,
    "ALTER TABLE t CHANGE a b INT": Kind.LOCKED,
    "ALTER TABLE t DROP FOREIGN KEY f": Kind.LOCKED,
    "ALTER TABLE t DROP CHECK c": Kind.LOCKED,
    "/*!50000 ALTER TABLE t DROP COLUMN a */": Kind.LOCKED,
    "ALTER TABLE t CHANGE a a BIGINT NOT NULL": Kind.UNLOCKED,
    "ALTER TABLE t CHANGE a A BIGINT": Kind.UNLOCKED,
    "ALTER TABLE t MODIFY a INT NOT NULL": Kind.UNLOCKED,
    "ALTER TABLE t ADD COLUMN a VARCHAR(9) DEFAULT 'DROP COLUMN b'": Kind.UNLOCKED,
    "CREATE INDEX i ON t (a)": Kind.UNLOCKED,
    "CREATE TABLE t (a INT)": Kind.UNLOCKED,
    "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1": Kind.UNLOCKED,
    "OPTIMIZE TABLE t": Kind.UNLOCKED,
}


@pytest.mark.parametrize(("text", "expected"), KINDS.items())
def test_kind(text: str, expected: Kind) -> None:
    """What takes away is under the lock, what rebuilds is outside of it, rows are refused."""
    assert kind(text) is expected


FORMS = {
    "DROP TRIGGER x": ["DROP TRIGGER x"],
    "ALTER TABLE t DROP COLUMN a;": ["ALTER TABLE t DROP COLUMN a, ALGORITHM=INSTANT"],
    "ALTER TABLE t DROP FOREIGN KEY f": [
        "ALTER TABLE t DROP FOREIGN KEY f, ALGORITHM=INSTANT",
        "ALTER TABLE t DROP FOREIGN KEY f, ALGORITHM=INPLACE",
    ],
    "ALTER TABLE t RENAME TO u": [
        "ALTER TABLE t RENAME TO u, ALGORITHM=INSTANT",
        "ALTER TABLE t RENAME TO u",
    ],
}


@pytest.mark.parametrize(("text", "forms"), FORMS.items())
def test_forms_are_the_cheapest_first(text: str, forms: list[str]) -> None:
    """A form that could copy the table is never among them."""
    assert list(forms_under_lock(text)) == forms
