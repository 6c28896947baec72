"""The forms in which statements are sent under LOCK TABLES and without it."""

from __future__ import annotations

import pytest

from online_migrate.sql.forms.mysql import change_of, forms_under_lock

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


INPLACE = ", ALGORITHM=INPLACE, LOCK=NONE"
ONLINE = {
    "ALTER TABLE t ADD COLUMN a INT": "ALTER TABLE t ADD COLUMN a INT",
    "ALTER TABLE t ENGINE=InnoDB": "ALTER TABLE t ENGINE=InnoDB",
    "ALTER TABLE t MODIFY a INT NOT NULL -- x": "ALTER TABLE t MODIFY a INT NOT NULL",
    "ALTER TABLE t CHANGE a a INT;": "ALTER TABLE t CHANGE a a INT",
    "ALTER TABLE `lock` ADD COLUMN `algorithm` INT": "ALTER TABLE `lock` ADD COLUMN `algorithm` INT",
    "ALTER TABLE t ADD COLUMN a INT COMMENT 'ALGORITHM=COPY'": (
        "ALTER TABLE t ADD COLUMN a INT COMMENT 'ALGORITHM=COPY'"
    ),
    "DROP INDEX `i` ON s.t -- gone": "ALTER TABLE s.t DROP INDEX `i`",
}


@pytest.mark.parametrize("product", ["mysql", "mariadb"])
@pytest.mark.parametrize(("text", "begin"), ONLINE.items())
def test_online_forms_start_with_the_cheapest(text: str, begin: str, product: str) -> None:
    """INSTANT first, then without a copy, then with one that lets writers continue."""
    change = change_of(text, product)
    assert change is not None
    between = [f"{begin}, ALGORITHM=NOCOPY, LOCK=NONE"] if product == "mariadb" else []
    assert list(change.online) == [f"{begin}, ALGORITHM=INSTANT", *between, begin + INPLACE]


def test_index_has_its_clause_without_a_comma() -> None:
    change = change_of("CREATE UNIQUE INDEX i ON t (a) COMMENT ', LOCK=NONE'; -- x", "mysql")
    assert change is not None
    assert list(change.online) == [
        "CREATE UNIQUE INDEX i ON t (a) COMMENT ', LOCK=NONE' ALGORITHM=INPLACE LOCK=NONE"
    ]
    assert change.table == ("t",)


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE t ADD COLUMN a INT, ALGORITHM=COPY",
        "ALTER TABLE t LOCK=SHARED, ADD COLUMN a INT",
        "CREATE INDEX i ON t (a) LOCK SHARED",
        "ALTER TABLE t DROP PARTITION p",
        "ALTER TABLE t ADD PARTITION (PARTITION p VALUES LESS THAN (30))",
        "ALTER TABLE t DISABLE KEYS",
        "CREATE TABLE t (a INT)",
        "RENAME TABLE t TO u",
        "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1",
    ],
)
@pytest.mark.parametrize("product", ["mysql", "mariadb"])
def test_statement_that_names_its_algorithm_or_copies_nothing_is_sent_as_it_is(
    text: str, product: str
) -> None:
    assert change_of(text, product) is None


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE t REORGANIZE PARTITION p INTO (PARTITION q VALUES LESS THAN (10))",
        "ALTER TABLE t PARTITION BY HASH (id) PARTITIONS 2",
        "ALTER TABLE t REMOVE PARTITIONING",
    ],
)
def test_copy_of_partitions_has_no_online_form(text: str) -> None:
    change = change_of(text, "mysql")
    assert change is not None
    assert change.online == ()


def test_clause_is_before_order_by() -> None:
    """Behind ORDER BY the server would read it as a column."""
    change = change_of("ALTER TABLE t ADD a INT, ORDER BY a", "mysql")
    assert change is not None
    assert change.online[0] == "ALTER TABLE t ALGORITHM=INSTANT, ADD a INT, ORDER BY a"
