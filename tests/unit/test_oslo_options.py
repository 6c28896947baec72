"""oslo.config: every option of a database group is used, refused or named; settings have one declaration."""

from __future__ import annotations

import io
import tomllib
from pathlib import Path

import pytest
from oslo_config import cfg, generator
from oslo_db import options as oslo_db

from online_migrate import exceptions, oslo_options
from online_migrate.command import CommandContext
from online_migrate.config import URL_VARIABLE, Settings
from online_migrate.declared import options_of

ROOT = Path(__file__).parents[2]
KEYED = {"requires", "additive"}
"""The settings that are written once for each revision; oslo.config has no such options."""
PLAIN = "[database]\nconnection = sqlite:///oslo\n"


@pytest.fixture(autouse=True)
def no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)


def _conf(tmp_path: Path, text: str, name: str = "cinder.conf") -> str:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return str(path)


def _read(tmp_path: Path, text: str, group: str = "database") -> oslo_options.OsloDatabase:
    return oslo_options.read_database(oslo_options.read_files([_conf(tmp_path, text)]), group)


def test_every_option_of_oslo_db_has_an_entry() -> None:
    """A new option of oslo.db must not be ignored silently."""
    assert {opt.dest for opt in oslo_db.database_opts} == oslo_options.KNOWN


def test_options_of_a_group_are_used(tmp_path: Path) -> None:
    """Also those of another group than [database]; max_retries only if it is set."""
    text = (
        "[api_database]\nconnection = mysql+pymysql://u:p%40ss@h/n?charset=utf8\n"
        "connection_parameters = ssl_ca=/ca.pem&read_timeout=9\nmysql_sql_mode =\nmysql_wsrep_sync_wait = 1\n"
        "max_retries = -1\nretry_interval = 3\nmax_pool_size = 7\nmax_overflow = 8\npool_timeout = 9\n"
        "connection_recycle_time = 10\nconnection_debug = 50\nsqlite_synchronous = false\n"
    )
    found = _read(tmp_path, text, "api_database")
    assert found.url == "mysql+pymysql://u:p%40ss@h/n?charset=utf8&read_timeout=9&ssl_ca=%2Fca.pem"
    options = found.options
    assert options.session == {"sql_mode": "", "wsrep_sync_wait": 1}
    assert (options.retries, options.retry_interval) == (-1, 3)
    pool = {"max_pool_size": 7, "max_overflow": 8, "pool_timeout": 9, "connection_recycle_time": 10}
    assert options.pool == pool
    assert (options.statements_logged, options.results_logged, options.sqlite_synchronous) == (
        True,
        False,
        False,
    )
    assert found.unused == ()
    plain = _read(tmp_path, PLAIN).options
    assert (plain.retries, plain.session) == (0, {"sql_mode": "TRADITIONAL"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("connection_trace = true", "connection_trace = True is not supported"),
        ("backend = mongo", "backend = mongo is not supported"),
        ("max_retries = many", "max_retries"),
        ("connection_debug = 101", "connection_debug"),
        ("connection =", "no connection"),
    ],
)
def test_option_that_cannot_be_used_is_refused_by_name(text: str, words: str, tmp_path: Path) -> None:
    """With the group and the file, and exit code 127."""
    with pytest.raises(exceptions.ConfigBroken, match=words) as caught:
        _read(tmp_path, f"{PLAIN}{text}\n")
    assert "cinder.conf" in str(caught.value)


def test_option_without_effect_is_named_if_it_is_set(tmp_path: Path) -> None:
    """An option that has its default is not named."""
    found = _read(tmp_path, f"{PLAIN}slave_connection = sqlite:///b\ndb_max_retries = 3\n")
    assert [line.partition(" has no effect")[0] for line in found.unused] == [
        "[database] slave_connection",
        "[database] db_max_retries",
    ]


def test_directory_overrides_files(tmp_path: Path) -> None:
    """As in oslo.config; a directory or a file that does not exist is an error."""
    file = _conf(tmp_path, PLAIN)
    _conf(tmp_path / "conf.d", "[database]\nconnection = sqlite:///directory\n", "01-db.conf")
    conf = oslo_options.read_files([file], [str(tmp_path / "conf.d")])
    assert oslo_options.read_database(conf).url == "sqlite:///directory"
    for missing in ([str(tmp_path / "none.conf")], []), ([], [str(tmp_path / "none.d")]):
        with pytest.raises(exceptions.ConfigBroken):
            oslo_options.read_files(*missing)


def test_configuration_of_an_application_is_only_read(tmp_path: Path) -> None:
    """A group that it has not registered is read from its files; what it has registered and set counts."""
    conf = cfg.ConfigOpts()
    conf(args=[], default_config_files=[_conf(tmp_path, PLAIN)])
    assert oslo_options.read_database(conf).url == "sqlite:///oslo"
    assert oslo_options.read_settings(conf) == {}
    assert "database" not in conf
    assert "online_migrate" not in conf
    conf.register_opts(oslo_db.database_opts, "database")
    conf.set_override("connection", "sqlite:///override", "database")
    assert oslo_options.read_database(conf).url == "sqlite:///override"
    with pytest.raises(exceptions.ConfigBroken, match=r"section \[other\] has no connection"):
        oslo_options.read_database(conf, "other")


def _project(tmp_path: Path) -> Path:
    ini = tmp_path / "alembic.ini"
    ini.write_text(
        "[alembic]\nscript_location = %(here)s/migrations\n[online_migrate]\nworkers = 2\nbatch_size = 9\n"
    )
    return ini


def test_settings_in_oslo_config_override_alembic_ini(tmp_path: Path) -> None:
    """Only those that are set; a value out of its range is refused by name."""
    ini = _project(tmp_path)
    file = _conf(tmp_path, f"{PLAIN}[online_migrate]\nworkers = 4\npace = gentle\n")
    settings = CommandContext(config_file=ini, oslo_config_files=(file,)).project.settings
    assert (settings.workers, settings.batch_size, settings.pace) == (4, 9, "gentle")
    for wrong in ("pace = quick", "workers = 0", "lease = 0", "workers = many"):
        context = CommandContext(
            config_file=ini, oslo_config_files=(_conf(tmp_path, f"[online_migrate]\n{wrong}\n"),)
        )
        with pytest.raises(exceptions.ConfigBroken, match=wrong.split()[0]):
            _ = context.project


@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("requires = none", "requires: it is written once for each revision"),
        ("requires.c1 = none", "requires.c1: it is written once for each revision"),
        ("additive.* = drop_table: it is new", r"additive.\*: it is written once for each revision"),
        ("look_timout = 3", r"\[online_migrate\] has no setting 'look_timout'; its settings are batch_size"),
        ("look-timeout = 3", "has no setting 'look-timeout'"),
    ],
)
def test_name_that_oslo_config_would_ignore_is_refused(
    line: str, words: str, registered: bool, tmp_path: Path
) -> None:
    """In a file and in a directory, with the name of the file; that of another group is not read."""
    file = _conf(tmp_path, f"{PLAIN}[other]\n{line}\n[online_migrate]\nworkers = 2\n")
    _conf(tmp_path / "conf.d", f"[online_migrate]\n{line}\n", "01-more.conf")
    for files, directories in ([file], []), ([file], [str(tmp_path / "conf.d")]):
        conf = oslo_options.read_files(files, directories)
        if registered:
            oslo_options.register_opts(conf)
        if not directories:
            assert oslo_options.read_settings(conf) == {"workers": 2}
            continue
        with pytest.raises(exceptions.ConfigBroken, match=words) as caught:
            oslo_options.read_settings(conf)
        assert "01-more.conf" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [("sqlite:///a", "sqlite:///b", "sqlite:///a"), (None, "sqlite:///b", "sqlite:///b")],
)
def test_url_comes_before_files(
    given: str | None, environment: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--url, then the environment, then oslo.config; a configuration in code comes before the environment."""
    file = _conf(tmp_path, PLAIN)
    without = CommandContext(oslo_config_files=(file,)).database_source.database
    assert without is not None
    assert without.url == "sqlite:///oslo"
    monkeypatch.setenv(URL_VARIABLE, environment)
    named = CommandContext(given_url=given, oslo_config_files=(file,)).database_source.database
    assert named is not None
    assert named.url == expected
    in_code = CommandContext(
        given_url=given, configuration=oslo_options.read_files([file])
    ).database_source.database
    assert in_code is not None
    assert in_code.url == (given or "sqlite:///oslo")


def test_generator_lists_every_setting() -> None:
    """``oslo-config-generator --namespace online_migrate``, with help, default and choices."""
    entry_points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert entry_points["oslo.config.opts"] == {"online_migrate": "online_migrate.oslo_options:list_opts"}
    conf = cfg.ConfigOpts()
    generator.register_cli_opts(conf)
    conf(args=["--namespace", "online_migrate"])
    written = io.StringIO()
    # The names of entry points are those of the installed distribution, so the list is given directly.
    original = generator._list_opts
    generator._list_opts = lambda namespaces: [("online_migrate", oslo_options.list_opts())]
    try:
        generator.generate(conf, output_file=written)
    finally:
        generator._list_opts = original
    text = written.getvalue()
    assert "[online_migrate]" in text
    for name in options_of(Settings):
        assert (f"\n#{name} = " in text) != (name in KEYED), name
    assert "#lock_timeout = 0.5" in text
    assert "# Possible values:\n# gentle" in text


def test_registered_settings_have_the_values_of_the_declaration() -> None:
    """A default that was written twice would differ one day."""
    conf = cfg.ConfigOpts()
    oslo_options.register_opts(conf)
    conf(args=[])
    assert dict(conf.online_migrate) == {
        name: one.default for name, one in options_of(Settings).items() if name not in KEYED
    }
    assert oslo_options.read_settings(conf) == {}


def test_settings_with_a_url_are_secret() -> None:
    """oslo.config logs the values of all other options."""
    urls = {name for name, one in options_of(Settings).items() if one.help.startswith("URL")}
    assert urls == {name for name, one in options_of(Settings).items() if one.secret}
    [(_, opts)] = oslo_options.list_opts()
    assert {opt.dest for opt in opts if opt.secret} == urls
