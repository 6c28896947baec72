"""Nova's tables ``services``, one in the database of each cell.

As in ``nova.objects.service.get_minimum_version_all_cells`` with ``require_all=True``, every cell of the
table ``cell_mappings`` is read, also cell0 and a disabled one, and rows that are deleted or forced down do
not count. Where Nova ignores a row whose version is NULL or 0, and a row that is forced down and reports all
the same, the row counts here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.service_sources.nova_cells import Answer, Cells, TableReader
from online_migrate.service_sources.table import DEAD_AFTER, Row, TableUnreadable, shown, silence_of
from online_migrate.services.reported import Reported, ReportedService, UnreadableReport
from online_migrate.services.service import Liveness

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_TABLE = "services"
_SERVICES = sa.table(
    _TABLE,
    sa.column("id", sa.Integer),
    sa.column("host", sa.String),
    sa.column("binary", sa.String),
    sa.column("version", sa.Integer),
    sa.column("report_count", sa.Integer),
    sa.column("last_seen_up", sa.DateTime),
    sa.column("forced_down", sa.Boolean),
    sa.column("deleted", sa.Integer),
)
_QUERY = (
    sa.select(*(column for column in _SERVICES.c if column.name != "deleted"))
    .where(sa.or_(_SERVICES.c.deleted.is_(None), _SERVICES.c.deleted == 0))
    .order_by(_SERVICES.c.binary, _SERVICES.c.host, _SERVICES.c.id)
)


class NovaServices:
    """Reads the services of all cells."""

    name = "nova"
    note = (
        "read from Nova's tables services, of all cells; not seen: a worker that still drains beside a newer "
        "one on its host"
    )
    version_names: tuple[str, ...] = ("version",)
    tables = frozenset({_TABLE, "cell_mappings"})
    before_lock = False

    def __init__(
        self, timeout: float, *, api_database: str | None, database: str | None, pooler: str | None
    ) -> None:
        """*timeout*: seconds after which a database counts as silent.

        *api_database*: the URL of Nova's API database; None: the command's own database. *database*: what
        Nova has as ``[database] connection``, for templates in the URLs of cells.
        """
        reader = TableReader(timeout, pooler)
        self._cells = Cells(reader, api_database=api_database, database=database)

    def read(self, connection: Connection) -> Reported:
        """Returns the rows of all cells that are not deleted."""
        services: list[ReportedService] = []
        unreadable: list[UnreadableReport] = []
        for place, answer in self._answers(connection, unreadable).items():
            if isinstance(answer, TableUnreadable):
                unreadable.append(_silent(place, answer))
                continue
            for one in (_read(place, row) for row in answer):
                if isinstance(one, ReportedService):
                    services.append(one)
                else:
                    unreadable.append(one)
        removal = "openstack compute service delete ID"
        return Reported(tuple(services), tuple(unreadable), removal=removal)

    def _answers(self, connection: Connection, unreadable: list[UnreadableReport]) -> Mapping[str, Answer]:
        try:
            return self._cells.read(connection, _QUERY)
        except TableUnreadable as error:
            reason = f"it is unknown which cells Nova has, because cell_mappings cannot be read: {error}"
            hint = (
                "set nova_api_database in [online_migrate] to the URL of Nova's API database, if it is not "
                "this one; its user needs SELECT on cell_mappings"
            )
            unreadable.append(UnreadableReport("services", reason, hint))
            return {}


def _read(place: str, row: Row) -> ReportedService | UnreadableReport:
    for column in ("binary", "host"):
        if not isinstance(row[column], str) or not row[column].strip():
            return _bad_row(place, row, column)
    state, silence = _state(row)
    version = row["version"]
    if isinstance(version, bool) or not isinstance(version, int) or version < 0:
        if state is not Liveness.FORCED_DOWN:
            return _bad_row(place, row, "version")
        version = None
    versions = {} if version is None else {"version": str(version)}
    return ReportedService(row["binary"], row["host"], versions, (), state, silence, place)


def _state(row: Row) -> tuple[Liveness, int | None]:
    """Returns the state of a row, and the seconds since its last heartbeat."""
    silence = silence_of(row, "last_seen_up")
    live = silence is not None and silence <= DEAD_AFTER
    if row["forced_down"]:
        return (Liveness.LIVE if live else Liveness.FORCED_DOWN), silence
    if not row["report_count"]:
        # It has never reported: nova-api under WSGI never does. So its silence proves nothing.
        return Liveness.STALE, None
    return (Liveness.LIVE if live else Liveness.STALE), silence


def _bad_row(place: str, row: Row, column: str) -> UnreadableReport:
    return UnreadableReport(
        f"service {row['binary']}",
        f"its row {row['id']} in the table {_TABLE} of {place}, of host {shown(row['host'])}, "
        f"proves nothing: {column} is {shown(row[column])}",
        "restart it with a newer release; if it has ended: openstack compute service delete ID",
    )


def _silent(place: str, error: TableUnreadable) -> UnreadableReport:
    return UnreadableReport(
        place,
        f"it is unknown which services run there, because its table {_TABLE} cannot be read: {error}",
        "make the database reachable for this command, and grant its user SELECT on the table, then: "
        "online-migrate gate",
    )
