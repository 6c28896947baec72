"""The forms in which statements are sent under LOCK TABLES and without it."""

from __future__ import annotations

import pytest

from online_migrate.dialects.mariadb import MariaDB
from online_migrate.dialects.mysql import MySQL
from online_migrate.dialects.mysql_statements import forms_under_lock

FORMS = {
    "DROP TRIGGER x": ["DROP TRIGGER x"],
    "ALTER TABLE t DROP PARTITION p": ["ALTER TABLE t DROP PARTITION p"],
    "ALTER TABLE t DROP COLUMN a;": ["ALTER TABLE t DROP COLUMN a, ALGORITHM=INSTANT"],
    "ALTER TABLE t DROP COLUMN a -- gone": ["ALTER TABLE t DROP COLUMN a, ALGORITHM=INSTANT"],
    "# add\nALTER TABLE t DROP COLUMN a; # gone": ["# add\nALTER TABLE t DROP COLUMN a, ALGORITHM=INSTANT"],
    "/*!50000 ALTER TABLE t DROP COLUMN a */": ["/*!50000 ALTER TABLE t DROP COLUMN a */, ALGORITHM=INSTANT"],
    "ALTER TABLE t DROP FOREIGN KEY f": [
        "ALTER TABLE t DROP FOREIGN KEY f, ALGORITHM=INSTANT",
        "ALTER TABLE t DROP FOREIGN KEY f, ALGORITHM=INPLACE",
    ],
    "ALTER TABLE t RENAME TO u": [
        "ALTER TABLE t RENAME TO u, ALGORITHM=INSTANT",
        "ALTER TABLE t RENAME TO u",
    ],
    "ALTER TABLE t RENAME TO u, DROP COLUMN a": [
        "ALTER TABLE t RENAME TO u, DROP COLUMN a, ALGORITHM=INSTANT"
    ],
    "ALTER TABLE t RENAME COLUMN a TO b": ["ALTER TABLE t RENAME COLUMN a TO b, ALGORITHM=INSTANT"],
}


@pytest.mark.parametrize("product", ["mysql", "mariadb"])
@pytest.mark.parametrize(("text", "forms"), FORMS.items())
def test_forms_under_lock_start_with_the_cheapest(text: str, forms: list[str], product: str) -> None:
    """No form could copy the table, and the algorithm is never inside a comment."""
    assert list(forms_under_lock(text, product)) == forms


UNLOCKED = {
    "ALTER TABLE t ADD COLUMN a INT": "ALTER TABLE t ADD COLUMN a INT",
    "ALTER TABLE t ENGINE=InnoDB": "ALTER TABLE t ENGINE=InnoDB",
    "ALTER TABLE t MODIFY a INT NOT NULL -- x": "ALTER TABLE t MODIFY a INT NOT NULL, ALGORITHM=INPLACE",
    "ALTER TABLE t CHANGE a a INT;": "ALTER TABLE t CHANGE a a INT, ALGORITHM=INPLACE",
}


@pytest.mark.parametrize("dialect", [MySQL(), MariaDB()])
@pytest.mark.parametrize(("text", "form"), UNLOCKED.items())
def test_forms_outside_lock_convert_no_value(text: str, form: str, dialect: MySQL) -> None:
    """MODIFY and CHANGE are sent in the form in which the product refuses to convert values."""
    assert list(dialect.forms_outside_lock(text)) == [form]
