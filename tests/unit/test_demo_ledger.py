"""The ledger of the demo notices everything that can go wrong with a row."""

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


def test_what_is_as_it_was_acknowledged_is_no_difference() -> None:
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
def test_every_kind_of_damage_is_noticed(
    expected: dict[Key, Row | None], found: dict[Key, Row], kinds: list[str]
) -> None:
    assert [d.kind for d in compare(expected, found)] == kinds


def test_a_difference_says_which_row_what_was_acknowledged_and_what_is_there() -> None:
    (found,) = compare({ONE: ADA}, {})
    assert str(found) == "lost: accounts id=1, acknowledged first='Ada', last='Lovelace'; found no row"


def test_a_reader_that_does_not_know_a_field_is_not_wrong_about_it() -> None:
    assert difference(ONE, ADA, {"first": "Ada"}) is None
    assert difference(ONE, ADA, {"middle": "King"}) is not None


def test_the_last_acknowledged_write_counts() -> None:
    ledger = Ledger({ONE: ADA})
    key, row = ledger.borrow("accounts") or (TWO, JIM)
    assert (key, row) == (ONE, ADA)
    ledger.acknowledge(key, {**row, "last": "Byron"})
    assert [d.kind for d in compare(ledger.rows, {ONE: ADA})] == ["wrong"]
    ledger.borrow("accounts")
    ledger.acknowledge(key, None)
    assert [d.kind for d in compare(ledger.rows, {ONE: ADA})] == ["back"]
    assert compare(ledger.rows, {}) == []


def test_a_row_is_lent_to_one_writer_at_a_time() -> None:
    ledger = Ledger({ONE: ADA})
    assert ledger.borrow("accounts") is not None
    assert ledger.borrow("accounts") is None
    ledger.acknowledge(ONE, JIM)
    assert ledger.borrow("accounts") == (ONE, JIM)


def test_a_deleted_row_is_not_lent_again_and_its_key_is_not_given_again() -> None:
    ledger = Ledger({ONE: ADA})
    ledger.borrow("accounts")
    ledger.acknowledge(ONE, None)
    assert ledger.borrow("accounts") is None
    assert ledger.borrow_new("accounts") == TWO


def test_many_threads_never_hold_the_same_row() -> None:
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


def test_both_shapes_say_the_same_of_the_sample() -> None:
    for key, row in sample_rows(100).items():
        old, new = old_shape(key, row), new_shape(key, row)
        if key[0] == "accounts":
            assert old["full_name"] == f"{new['first_name']} {new['last_name']}"
        else:
            assert old["size_gb"] * GIB == new["size_bytes"]
            assert old["name"] == new["display_name"]


@pytest.mark.parametrize("rows", [1, 3, 4, 1000])
def test_the_sample_has_as_many_rows_as_asked_for(rows: int) -> None:
    assert len(sample_rows(rows)) == rows
