"""What happens around a revision and around each of its statements."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

TEMPORARY_PREFIX = "_alembic_tmp_"
"""The prefix of the name that Alembic's batch mode gives the copy of a table."""


@dataclasses.dataclass(frozen=True)
class TableCopy:
    """A table that Alembic's batch mode is about to drop in favour of its copy."""

    original: str
    """The CREATE TABLE statement of the table."""
    copy: str
    """The CREATE TABLE statement of the copy."""
    renamed: Mapping[str, str]
    """Old column -> new column, in lower case, of each column whose values are copied."""
    indexes: Mapping[str, str]
    """Name -> CREATE INDEX statement of each index of the table."""


class Revisions:
    """Runs what a server needs before and after a revision or one of its statements."""

    name: ClassVar[str]
    transactional_ddl: ClassVar[bool] = True
    """A revision is one transaction: after a kill, it is applied completely or not at all."""

    @contextlib.contextmanager
    def around_revision(
        self, connection: Connection, *, accepted_losses: Sequence[str] = ()
    ) -> Iterator[None]:
        """Runs the checks before and after the statements of a revision; see the dialect of SQLite.

        *accepted_losses*: the losses of a copied table that the script declares.
        """
        yield

    def before_statement(self, connection: Connection, statement: str) -> None:
        """Is called before every statement of a revision that changes something."""

    def after_statement(self, connection: Connection, statement: str) -> None:
        """Is called after every statement of a revision that changed something."""

    @contextlib.contextmanager
    def lock_timeout_for(self, connection: Connection, statement: str) -> Iterator[None]:
        """Sets a longer lock timeout inside the block for a statement whose lock wait blocks no other
        session."""
        yield

    def table_copy(self, connection: Connection, table: str) -> TableCopy | None:
        """Returns the copy that batch mode has made of *table* while no other session could write.

        None: there is none, or the server lets other sessions write while rows are copied.
        """
        return None

    def indexes_of(self, connection: Connection, table: str) -> Collection[str]:
        """Returns the names of the indexes of a table that :meth:`table_copy` has described."""
        return ()

    def clean_up(self, connection: Connection, statement: str) -> None:
        """Removes what a statement leaves in the schema when it fails, or when its client is killed."""
