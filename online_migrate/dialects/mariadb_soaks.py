"""What uses a column on MariaDB: its CHECKs follow a rename."""

from __future__ import annotations

from typing import TYPE_CHECKING

from online_migrate.dialects.facets.soaks import Use
from online_migrate.dialects.mysql_soaks import MySQLSoaks
from online_migrate.sql.soaked import SoakedObject

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class MariaDBSoaks(MySQLSoaks):
    """The differences from MySQL."""

    def _checks(self, connection: Connection, subject: SoakedObject) -> list[Use]:
        return []
