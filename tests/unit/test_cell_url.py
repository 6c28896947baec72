"""The URLs of Nova's cells; the expected texts were made by ``CellMapping.format_db_url`` of nova 34.0.0."""

from __future__ import annotations

import pytest

from online_migrate.service_sources.cell_url import CellUrlBroken, cell_url, filled

BASE = "mysql+pymysql://nova:s%40crt@db.example.org:3306/nova_cell1?charset=utf8"
TEMPLATE = "{scheme}://{username}:{password}@{hostname}:{port}/{path}?{query}"


@pytest.mark.parametrize(
    ("stored", "base", "expected"),
    [
        (TEMPLATE, BASE, BASE),
        ("mysql+pymysql://u:p@h/n", BASE, "mysql+pymysql://u:p@h/n"),
        ("{scheme}://{username}@h/nova_cell0#{fragment}", BASE, "mysql+pymysql://nova@h/nova_cell0#"),
        (TEMPLATE, "mysql+pymysql://nova@DB/nova", "mysql+pymysql://nova:None@db:None/nova?"),
        ("{scheme}://{nothing}/x", BASE, "{scheme}://{nothing}/x"),
        ("mysql://u:a{b@h/n", BASE, "mysql://u:a{b@h/n"),
        ("mysql://u:a{{b}}@h/n", BASE, "mysql://u:a{b}@h/n"),
        ("x://{hostname1}:{port1},{hostname2}:{port2}", "y://u:p@h1:1,v:q@[::2]:7/n", "x://h1:1,::2:7"),
        ("{scheme}:////{path}", "sqlite:////tmp/x.sqlite", "sqlite:////tmp/x.sqlite"),
        (TEMPLATE, "mysql+pymysql://u:p@host:bad/nova", TEMPLATE),
    ],
)
def test_filled_as_in_nova(stored: str, base: str, expected: str) -> None:
    assert filled(stored, base) == expected


@pytest.mark.parametrize(
    ("stored", "base"),
    [
        (TEMPLATE, None),
        ("{scheme}://{nothing}/x", BASE),
        ("mysql+pymysql://u:secret@{nothing}/x", BASE),
        (TEMPLATE, "mysql+pymysql://nova:secret@db/nova"),
        (TEMPLATE, "mysql+pymysql://u:secret@host:bad/nova"),
        ("mysql+pymysql://u:p@secret@h/n", None),
        ("secret", None),
        ("", BASE),
    ],
)
def test_url_that_is_refused(stored: str, base: str | None) -> None:
    """The reason does not show the URL, which may hold a password."""
    with pytest.raises(CellUrlBroken) as refusal:
        cell_url(stored, base)
    assert "secret" not in str(refusal.value)
    assert "s%40crt" not in str(refusal.value)


def test_url_without_template() -> None:
    """A brace in a password is no template; MariaDB's form of the URL is known."""
    assert cell_url("mysql+pymysql://u:a{b@h/n", None).password == "a{b"
    assert cell_url("mariadb+pymysql://u:p@h/n", None).get_backend_name() == "mysql"
