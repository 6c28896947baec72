"""The ledger of the demo reports every kind of damage to a row."""

from __future__ import annotations

import threading

import pytest

from online_migrate.demo.application import GIB, new_shape, old_shape
from online_migrate.demo.ledger import Key, Ledger, Row, compare, difference
from online_migrate.demo.traffic import sample_rows

ADA: Row = {"first": "Ada", "last": "Lovelace"}
JIM: Row = {"first": "Jim", "last": "Gray"}
ONE: Key = ("accounts", 1)
TWO: Key = ("accounts", 2)


def test_compare_equal_rows_gives_no_difference() -> None:
    assert compare({ONE: ADA, TWO: None}, {ONE: dict(ADA)}) == []


@pytest.mark.parametrize(
    ("expected", "found", "kinds"),
    [
        ({ONE: ADA, TWO: JIM}, {ONE: ADA}, ["lost"]),
        ({ONE: ADA}, {ONE: {**ADA, "last": "Byron"}}, ["wrong"]),
        ({ONE: ADA}, {ONE: {**ADA, "last": None}}, ["wrong"]),
        ({ONE: ADA, TWO: None}, {ONE: ADA, TWO: JIM}, ["back"]),
        ({ONE: ADA}, {ONE: ADA, TWO: JIM}, ["unknown"]),
        ({ONE: ADA, TWO: JIM}, {ONE: JIM, TWO: ADA}, ["wrong", "wrong"]),
        ({ONE: ADA, TWO: None}, {TWO: ADA, ("accounts", 3): JIM}, ["lost", "back", "unknown"]),
        ({ONE: ADA}, {}, ["lost"]),
    ],
)
def test_compare_reports_every_kind_of_damage(
    expected: dict[Key, Row | None], found: dict[Key, Row], kinds: list[str]
) -> None:
    assert [d.kind for d in compare(expected, found)] == kinds


def test_difference_text() -> None:
    (found,) = compare({ONE: ADA}, {})
    assert str(found) == "lost: accounts id=1, acknowledged first='Ada', last='Lovelace'; found no row"


def test_difference_ignores_fields_unknown_to_reader() -> None:
    assert difference(ONE, ADA, {"first": "Ada"}) is None
    assert difference(ONE, ADA, {"middle": "King"}) is not None


def test_ledger_keeps_last_acknowledged_write() -> None:
    ledger = Ledger({ONE: ADA})
    key, row = ledger.borrow("accounts") or (TWO, JIM)
    assert (key, row) == (ONE, ADA)
    ledger.acknowledge(key, {**row, "last": "Byron"})
    assert [d.kind for d in compare(ledger.rows, {ONE: ADA})] == ["wrong"]
    ledger.borrow("accounts")
    ledger.acknowledge(key, None)
    assert [d.kind for d in compare(ledger.rows, {ONE: ADA})] == ["back"]
    assert compare(ledger.rows, {}) == []


def test_ledger_borrow_is_exclusive() -> None:
    ledger = Ledger({ONE: ADA})
    assert ledger.borrow("accounts") is not None
    assert ledger.borrow("accounts") is None
    ledger.acknowledge(ONE, JIM)
    assert ledger.borrow("accounts") == (ONE, JIM)


def test_ledger_does_not_reuse_deleted_row_or_key() -> None:
    ledger = Ledger({ONE: ADA})
    ledger.borrow("accounts")
    ledger.acknowledge(ONE, None)
    assert ledger.borrow("accounts") is None
    assert ledger.borrow_new("accounts") == TWO


def test_ledger_borrow_is_exclusive_across_threads() -> None:
    ledger = Ledger({("accounts", number): ADA for number in range(20)})
    held: set[Key] = set()
    twice: list[Key] = []

    def work() -> None:
        for _ in range(500):
            borrowed = ledger.borrow("accounts")
            if borrowed is None:
                continue
            key, row = borrowed
            if key in held:
                twice.append(key)
            held.add(key)
            held.discard(key)
            ledger.acknowledge(key, row)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert twice == []
    assert set(ledger.rows) == {("accounts", number) for number in range(20)}


def test_old_and_new_shape_agree() -> None:
    for key, row in sample_rows(100).items():
        old, new = old_shape(key, row), new_shape(key, row)
        if key[0] == "accounts":
            assert old["full_name"] == f"{new['first_name']} {new['last_name']}"
        else:
            assert old["size_gb"] * GIB == new["size_bytes"]
            assert old["name"] == new["display_name"]


@pytest.mark.parametrize("rows", [1, 3, 4, 1000])
def test_sample_rows_count(rows: int) -> None:
    assert len(sample_rows(rows)) == rows
