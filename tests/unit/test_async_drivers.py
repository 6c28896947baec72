"""From the URL of an asynchronous driver to that of the synchronous one, and back for env.py."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.dialects import async_drivers, parse_url

REWRITTEN = {
    "postgresql+asyncpg://u:p%40@h:1/d": "postgresql+psycopg2://u:p%40@h:1/d",
    "postgres+asyncpg://h/d": "postgresql+psycopg2://h/d",
    "postgresql+asyncpg://h/d?ssl=require": "postgresql+psycopg2://h/d?sslmode=require",
    "postgresql+asyncpg://h/d?timeout=5": "postgresql+psycopg2://h/d?connect_timeout=5",
    "postgresql+asyncpg:///d?host=a:1&host=b:2": "postgresql+psycopg2:///d?host=a%3A1&host=b%3A2",
    "postgresql+asyncpg://h/d?prepared_statement_cache_size=0": "postgresql+psycopg2://h/d",
    "postgresql+psycopg_async://h/d?sslmode=require": "postgresql+psycopg://h/d?sslmode=require",
    "mysql+asyncmy://h/d?charset=utf8mb4": "mysql+pymysql://h/d?charset=utf8mb4",
    "mariadb+aiomysql://h/d?echo=true": "mysql+pymysql://h/d",
    "sqlite+aiosqlite:///a.db": "sqlite:///a.db",
    "sqlite+aiosqlite://": "sqlite://",
}


@pytest.mark.parametrize("given", REWRITTEN)
def test_an_asynchronous_url_is_rewritten(given: str) -> None:
    """For the driver that is installed, with what both understand."""
    assert parse_url(given).render_as_string(hide_password=False) == REWRITTEN[given]


@pytest.mark.parametrize(
    ("url", "argument"),
    [
        ("postgresql+asyncpg://u:secret@h/d?direct_tls=true", "direct_tls"),
        ("postgresql+asyncpg://u:secret@h/d?server_settings=x", "server_settings"),
        ("mysql+asyncmy://u:secret@h/d?auth_plugin=x", "auth_plugin"),
        ("mysql+aiomysql://u:secret@h/d?autocommit=true", "autocommit"),
        ("sqlite+aiosqlite:///a.db?what=1", "what"),
    ],
)
def test_an_argument_without_an_equivalent_is_refused(url: str, argument: str) -> None:
    """It is named, and the password is not."""
    with pytest.raises(exceptions.BadURL, match=argument) as refused:
        parse_url(url)
    assert "secret" not in str(refused.value) + refused.value.hint
    assert "--url" in refused.value.hint


@pytest.mark.parametrize("url", ["postgresql+psycopg2://h/d?x=y", "mysql+mysqldb://h/d", "sqlite:///a.db"])
def test_a_synchronous_url_stays_as_it_is(url: str) -> None:
    """Also with arguments that nothing here knows."""
    assert async_drivers.synchronous(sa.make_url(url)).render_as_string() == url


def test_without_a_synchronous_driver_it_is_said_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra of this distribution."""
    monkeypatch.setattr(async_drivers, "_SYNCHRONOUS", {"mysql": (("none", "no_such_module"),)})
    with pytest.raises(exceptions.DriverMissing) as missing:
        parse_url("mysql+asyncmy://h/d")
    assert "online-migrate[mysql]" in missing.value.hint


BACK = {
    "postgresql+psycopg2://h/d?sslmode=require&application_name=x": "postgresql+asyncpg://h/d?ssl=require",
    "postgresql+psycopg://h/d": "postgresql+psycopg://h/d",
    "mysql+pymysql://h/d?charset=utf8mb4": "mysql+asyncmy://h/d?charset=utf8mb4",
    "sqlite:///a.db": "sqlite+aiosqlite:///a.db",
    "oracle://h/d": "oracle://h/d",
}


@pytest.mark.parametrize("url", BACK)
def test_an_asynchronous_engine_of_env_py_gets_an_asynchronous_driver(url: str) -> None:
    """One that is installed, without arguments that it does not know."""
    assert async_drivers.asynchronous(sa.make_url(url), None).render_as_string() == BACK[url]


def test_an_asynchronous_engine_of_env_py_gets_the_url_that_was_given() -> None:
    """The very URL, if it was an asynchronous one."""
    given = sa.make_url("postgresql+asyncpg://h/d?prepared_statement_cache_size=0")
    assert async_drivers.asynchronous(sa.make_url("postgresql+psycopg2://h/d"), given) == given
