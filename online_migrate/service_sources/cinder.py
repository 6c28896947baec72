"""Cinder's table ``services``.

Like in ``cinder.objects.service.Service._get_minimum_version``, every row that is not deleted counts, also a
disabled one and one that is silent, and NULL and what is no version refuse. Here also a row refuses whose
``deleted`` is NULL and whose version is not of the form MAJOR.MINOR.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.service_sources.table import (
    DEAD_AFTER,
    Row,
    TableUnreadable,
    read_table,
    shown,
    silence_of,
)
from online_migrate.services.reported import Reported, ReportedService, UnreadableReport
from online_migrate.services.service import Liveness

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_TABLE = "services"
_COLUMNS = {"rpc": "rpc_current_version", "object": "object_current_version"}
_VERSION = re.compile(r"[0-9]+\.[0-9]+")
_SERVICES = sa.table(
    _TABLE,
    sa.column("id", sa.Integer),
    sa.column("host", sa.String),
    sa.column("binary", sa.String),
    sa.column("updated_at", sa.DateTime),
    *(sa.column(column, sa.String) for column in _COLUMNS.values()),
    sa.column("deleted", sa.Boolean),
)
_QUERY = (
    sa.select(*(column for column in _SERVICES.c if column.name != "deleted"))
    .where(sa.or_(_SERVICES.c.deleted.is_(None), _SERVICES.c.deleted == sa.false()))
    .order_by(_SERVICES.c.binary, _SERVICES.c.host, _SERVICES.c.id)
)


class CinderServices:
    """Reads the table ``services`` of the command's own database."""

    name = "cinder"
    note = (
        "read from Cinder's table services; not seen: a worker that still drains beside a newer one on its "
        'host, cinder-api, which has no row, older code after "cinder-manage db sync --bump-versions"'
    )
    version_names: tuple[str, ...] = tuple(_COLUMNS)
    tables = frozenset({_TABLE})
    before_lock = False

    def __init__(self, timeout: float) -> None:
        """*timeout*: the statement timeout in seconds."""
        self._timeout = timeout

    def read(self, connection: Connection) -> Reported:
        """Returns all rows that are not deleted."""
        try:
            rows = read_table(connection, _QUERY, self._timeout)
        except TableUnreadable as error:
            return Reported(unreadable=(_unreadable(error),))
        found = [_read(row) for row in rows]
        return Reported(
            tuple(one for one in found if isinstance(one, ReportedService)),
            tuple(one for one in found if isinstance(one, UnreadableReport)),
            stale_counts=True,
            removal="cinder-manage service remove BINARY HOST",
        )


def _read(row: Row) -> ReportedService | UnreadableReport:
    service, host = row["binary"], row["host"]
    for column in ("binary", "host"):
        if not isinstance(row[column], str) or not row[column].strip():
            return _bad_row(row, column, "delete the row, or write the name into it")
    for column in _COLUMNS.values():
        version = row[column]
        if not isinstance(version, str) or not _VERSION.fullmatch(version):
            removal = f"cinder-manage service remove {service} {host}"
            return _bad_row(row, column, f"restart it with a newer release; if it has ended: {removal}")
    silence = silence_of(row, "updated_at")
    return ReportedService(
        service,
        host,
        versions={name: row[column] for name, column in _COLUMNS.items()},
        state=Liveness.LIVE if silence is not None and silence <= DEAD_AFTER else Liveness.STALE,
        silence=silence,
    )


def _bad_row(row: Row, column: str, hint: str) -> UnreadableReport:
    return UnreadableReport(
        f"service {row['binary']}",
        f"its row {row['id']} in the table {_TABLE}, of host {shown(row['host'])}, proves nothing: "
        f"{column} is {shown(row[column])}",
        hint,
    )


def _unreadable(error: TableUnreadable) -> UnreadableReport:
    return UnreadableReport(
        "services",
        f"it is unknown which services run, because Cinder's table {_TABLE} cannot be read: {error}",
        f"grant this user SELECT on {_TABLE}, then: online-migrate gate",
    )
