"""A source of services, and the one that a project names in ``services_from``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from online_migrate import exceptions
from online_migrate.config import Settings, settings_broken
from online_migrate.function_import import FunctionNotImported, import_function
from online_migrate.service_sources.cinder import CinderServices
from online_migrate.service_sources.function import FunctionServices
from online_migrate.service_sources.nova import NovaServices

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from online_migrate.services.reported import Reported


class ServiceSource(Protocol):
    """Where services report other than to the registry of online-migrate."""

    name: str
    note: str
    """What a check of it does not see, for the output of the gate."""
    version_names: tuple[str, ...]
    """The names of the versions that it reports; empty if they are not known."""
    tables: frozenset[str]
    """The tables of the command's own database that it reads."""
    before_lock: bool
    """True if it is read before the tables of a contract revision are locked, and not under the lock."""

    def read(self, connection: Connection) -> Reported:
        """Returns what is reported now.

        *connection*: to the command's own database. What cannot be read is in the result; only the error of a
        lost *connection* is raised.
        """
        ...


def source_of(settings: Settings, folder: Path) -> ServiceSource | None:
    """Returns the source that the settings of a project name, or None.

    *folder*: the folder of alembic.ini, which may contain the module of a function. Raises
    :class:`~online_migrate.exceptions.ConfigBroken`.
    """
    name = settings.services_from
    _refuse_unused(settings)
    if name is None:
        return None
    if name == "cinder":
        return CinderServices(settings.look_timeout)
    if name == "nova":
        return _nova(settings)
    if ":" not in name:
        raise settings_broken(f"services_from = {name}: it is not cinder, nova, or MODULE:FUNCTION")
    try:
        return FunctionServices(name, import_function(name, folder), settings.look_timeout)
    except FunctionNotImported as error:
        raise settings_broken(f"services_from = {name}: it {error}", hint=error.hint) from error


def _nova(settings: Settings) -> NovaServices:
    try:
        return NovaServices(
            settings.look_timeout,
            api_database=settings.nova_api_database,
            database=settings.nova_database,
            pooler=settings.pooler,
        )
    except exceptions.UsageError as error:
        raise settings_broken(f"nova_api_database: {error}") from error


def _refuse_unused(settings: Settings) -> None:
    """Refuses a setting that has no effect: a misspelt services_from would not check anything."""
    if settings.survived_by is not None and settings.services_from is None:
        raise settings_broken("survived_by has no effect without services_from")
    for name in ("nova_api_database", "nova_database"):
        if getattr(settings, name) is not None and settings.services_from != "nova":
            raise settings_broken(f"{name} has no effect without services_from = nova")
