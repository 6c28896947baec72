"""What env.py and the scripts of a project expect of the program that runs them, given by settings.

``env_attributes``: attributes of Alembic's configuration. ``oslo_option``: the option of oslo.config that has
the database URL. It is overridden in the configuration objects that exist, and set by the environment
variable that oslo.config reads for every option, for those that env.py makes itself.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from online_migrate import exceptions
from online_migrate.config import SECTION, Settings, settings_broken
from online_migrate.ddl.session import private_connection
from online_migrate.dialects import create_engine
from online_migrate.script.named_objects import load

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy.engine import Connection

_CONNECTION = "connection"
_MISSING = object()
_OSLO_ERRORS = ("CantStartEngineError", "RequiredOptError", "NoSuchOptError", "NoSuchGroupError")
"""The errors of oslo.db and oslo.config for a database that is not configured."""


@contextlib.contextmanager
def provided(config: Config, settings: Settings, url: str | None) -> Iterator[None]:
    """Provides what the settings name while the block lasts; *url*: the database, None: it is not known.

    Raises :class:`~online_migrate.exceptions.ConfigBroken` for a setting that names nothing.
    """
    option = _option(settings)
    with contextlib.ExitStack() as stack:
        if option is not None and url is not None:
            stack.enter_context(_oslo_option(option, url))
        # The logging of the program that calls the engine is not env.py's to configure.
        stack.enter_context(_attribute(config, "configure_logger", False))
        for name, where in _attributes(settings):
            value = _connection(url, settings, stack) if name == _CONNECTION else _object(config, where, url)
            if option is not None and url is not None:
                stack.enter_context(_overridden(value, option, url))
            stack.enter_context(_attribute(config, name, value))
        yield


def _option(settings: Settings) -> tuple[str, str] | None:
    """Returns the group and the name of ``oslo_option``."""
    if settings.oslo_option is None:
        return None
    group, dot, name = settings.oslo_option.strip().partition(".")
    if not (group and dot and name):
        raise settings_broken(f"oslo_option: {settings.oslo_option!r} is not GROUP.OPTION")
    return group, name


@contextlib.contextmanager
def _oslo_option(option: tuple[str, str], url: str) -> Iterator[None]:
    """Sets an option in oslo.config's global object, and in those that are made while the block lasts."""
    from oslo_config import cfg

    variable = f"OS_{option[0].upper()}__{option[1].upper()}"
    with _overridden(cfg.CONF, option, url), _environment_variable(variable, url):
        yield


@contextlib.contextmanager
def _overridden(conf: Any, option: tuple[str, str], url: str) -> Iterator[None]:
    """Overrides an option of a configuration object, if the object has it, or if it is one of oslo.db."""
    from oslo_config import cfg
    from oslo_db import options

    group, name = option
    if not isinstance(conf, cfg.ConfigOpts):
        yield
        return
    if group == "database":
        # An env.py may read it before anything has registered it; oslo.db registers the same options.
        conf.register_opts(options.database_opts, group)
    try:
        conf.set_override(name, url, group)
    except (cfg.NoSuchOptError, cfg.NoSuchGroupError):
        yield
        return
    try:
        yield
    finally:
        conf.clear_override(name, group)


@contextlib.contextmanager
def _environment_variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


@contextlib.contextmanager
def _attribute(config: Config, name: str, value: Any) -> Iterator[None]:
    """Sets a name in ``config.attributes`` and as an attribute of *config*: trees read either."""
    if name in config.attributes:
        yield
        return
    own = getattr(config, name, _MISSING)
    config.attributes[name] = value
    if own is _MISSING:
        setattr(config, name, value)
    try:
        yield
    finally:
        del config.attributes[name]
        if own is _MISSING:
            delattr(config, name)


def _attributes(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yields the names of ``env_attributes``, each with the place of its object."""
    for one in (settings.env_attributes or "").split(","):
        name, _, where = (part.strip() for part in one.partition("="))
        if not name:
            continue
        if (name == _CONNECTION) == bool(where):
            reason = f"{one.strip()!r} is neither NAME=MODULE:OBJECT nor connection"
            raise settings_broken(f"env_attributes: {reason}")
        yield name, where


def _connection(url: str | None, settings: Settings, stack: contextlib.ExitStack) -> Connection:
    if url is None:
        raise exceptions.URLMissing()
    engine = create_engine(url, pooler=settings.pooler)
    stack.callback(engine.dispose)
    return stack.enter_context(private_connection(engine))


def _object(config: Config, where: str, url: str | None) -> Any:
    folder = Path(config.config_file_name or config.toml_file_name or "").parent
    found = load(where, "env_attributes", folder)
    return found(url) if inspect.isroutine(found) else found


def missing_need(error: BaseException, config_file: str) -> str | None:
    """Returns the setting that gives env.py what it misses, judged by its exception; None: it is not known.

    *config_file*: the file of the settings.
    """
    for one in _chain(error):
        if isinstance(one, AttributeError) and type(getattr(one, "obj", None)).__name__ == "Config":
            return (
                f"env.py reads an attribute of Alembic's configuration that a program sets: write "
                f"env_attributes = {one.name}=MODULE:OBJECT into [{SECTION}] of {config_file}"
            )
        if type(one).__name__ in _OSLO_ERRORS:
            return (
                "env.py reads the database from oslo.config: write oslo_option = database.connection, or "
                f"the GROUP.OPTION that it reads, into [{SECTION}] of {config_file}, and give the URL to the "
                "command"
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
