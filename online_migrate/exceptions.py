"""Every error that online-migrate raises on purpose, in one tree.

The docstring of a class is the message of its instances, with the facts filled in; the facts stay
readable as attributes. ``hint`` is the way out: the next command to type, or the text to change.
``exit_code`` is what the command line answers with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar


class OnlineMigrateError(Exception):
    """{message}"""

    exit_code: ClassVar[int] = 2
    default_hint: ClassVar[str] = ""

    def __init__(self, *, hint: str | None = None, **facts: Any) -> None:
        self.facts = facts
        self.hint = self.default_hint.format_map(facts) if hint is None else hint
        template = " ".join((type(self).__doc__ or type(self).__name__).split())
        super().__init__(template.format_map(facts))

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["facts"][name]
        except KeyError:
            raise AttributeError(name) from None


# --- wrong arguments, a wrong project: exit code 127 ---------------------------------------------


class UsageError(OnlineMigrateError):
    """{message}"""

    exit_code = 127


class ConfigMissing(UsageError):
    """There is no configuration file {path}."""

    default_hint = "write a project with: online-migrate init   (or name the file: -c PATH)"


class ConfigBroken(UsageError):
    """{path} cannot be used: {reason}"""


class BadURL(UsageError):
    """The database URL cannot be parsed: {reason}"""

    default_hint = "a URL looks like postgresql+psycopg2://user:password@host/database"


class URLMissing(UsageError):
    """No database URL was given."""

    default_hint = (
        "use --url, ONLINE_MIGRATE_URL, --config-file (oslo.config's [database] connection), "
        "or sqlalchemy.url in alembic.ini, which env.py may set as well"
    )


class UnsupportedServer(UsageError):
    """online-migrate does not know the database {dialect!r}."""

    default_hint = "PostgreSQL, MySQL, MariaDB and SQLite are supported"


class DriverMissing(UsageError):
    """The database driver {module!r} is not installed."""

    default_hint = "pip install 'online-migrate[{extra}]'"


class UnknownRevision(UsageError):
    """There is no revision {revision!r} in this project."""

    default_hint = "online-migrate history lists the revisions"


class UnknownDataMigration(UsageError):
    """There is no data migration named {name!r}."""

    default_hint = "known names: {known}"


class ScriptBroken(UsageError):
    """{path} does not import: {reason}"""


class DuplicateName(UsageError):
    """Two data migrations are named {name!r}: in {first} and in {second}."""

    default_hint = "give one of them another name=..."


class DataMigrationBroken(UsageError):
    """Data migration {name!r} is wrong: {reason}"""


class ThrottlerBroken(UsageError):
    """Throttler {name!r} {reason}"""


class CyclicOrder(UsageError):
    """The data migrations wait for each other in a circle: {circle}."""

    default_hint = "take one of the names out of its after=(...)"


class GraphBroken(UsageError):
    """The revision graph is wrong: {reason}"""


# --- refusals: exit code 3 -----------------------------------------------------------------------


class Refused(OnlineMigrateError):
    """Refused: {reason}"""

    exit_code = 3


class ExpandMissing(Refused):
    """Data migration {name!r} needs the expand revision {revision}, which is not applied."""

    default_hint = "online-migrate expand"


class BaseBehind(Refused):
    """The database is behind the revision from which the two branches start: {missing} not applied."""

    default_hint = "alembic upgrade {tip}"


class NewerState(Refused):
    """The bookkeeping tables were changed by a newer online-migrate (engine revision {revision})."""

    default_hint = "upgrade this installation: pip install --upgrade online-migrate"


class ContractNotPermitted(Refused):
    """Not without the gate, because it is destructive: contract revision {revisions}."""

    default_hint = "online-migrate contract"


class GuardMissing(Refused):
    """{path} does not call online_migrate.guard(): a plain alembic upgrade could walk around the gate."""


class EnvironmentWrites(Refused):
    """{path} changes the database whenever Alembic runs it: {statement}"""


@dataclasses.dataclass(frozen=True)
class Blocker:
    """One reason for which contract is refused, and what removes it."""

    id: str
    object: str
    """What it is about: a revision, or a data migration."""
    reason: str
    hint: str
    """The next command to type, or the text to change."""
    count: int | None = None
    """How many rows stand in the way, where rows do."""
    at_least: bool = False
    keys: tuple[str, ...] = ()
    """Some of their keys."""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return dataclasses.asdict(self) | {"keys": list(self.keys)}


class GateClosed(Refused):
    """The gate is closed: {count} blocker(s) stand before contract."""

    default_hint = "nothing was changed; online-migrate gate shows this list again"

    def __init__(self, blockers: Sequence[Blocker], *, hint: str | None = None) -> None:
        super().__init__(count=len(blockers), hint=hint)
        self.blockers = tuple(blockers)


class NoKey(Refused):
    """Table {table!r} has no primary key and no unique key of NOT NULL columns to walk by."""

    default_hint = (
        "add one first, for example: "
        "op.create_unique_constraint('uq_{table}_walk', '{table}', [...])  on NOT NULL columns"
    )


class RowsHidden(Refused):
    """Data migration {name!r} may not see every row: {reason}"""


class ConnectionChanged(Refused):
    """{path} changes its connection in a way that our connections do not repeat: {difference}"""


class SeveralDatabases(Refused):
    """{path} {reason}"""

    default_hint = (
        "online-migrate works on one database: write an alembic.ini for each database, "
        "with an env.py that calls context.configure(...) once"
    )


class StatementBinlog(Refused):
    """The server writes its binary log with binlog_format=STATEMENT, which refuses READ COMMITTED."""

    default_hint = "SET GLOBAL binlog_format = 'ROW'   (or MIXED), then reconnect and run again"


class TooFewConnections(Refused):
    """{command} needs {needed} connections at the same time, and only {given} could be opened: {reason}"""

    default_hint = "nothing was changed; allow this user {needed} connections{fewer}"


class NotUnderLock(Refused):
    """{statement!r} cannot run in a contract revision while its tables are locked: {reason}"""


class StatementUndecided(Refused):
    """Revision {revision} was interrupted during {statement!r}, and the catalog does not show whether the
    server has executed it: {reason}."""

    default_hint = (
        "look at the database. Has the statement been executed: online-migrate {command} --statement-done   "
        "Has it not: online-migrate {command} --statement-not-done   (it is then sent again)"
    )


class NothingAsked(Refused):
    """There is no statement that waits for --statement-done or --statement-not-done."""

    default_hint = "online-migrate {command}   (it says so if it has to ask)"


class RevisionIdTooLong(Refused):
    """Revision id {revision!r} has {length} characters; {table}.version_num has room for {width}."""

    default_hint = (
        "shorten the id in the script and in the scripts that name it, or widen the column before:   "
        "{statement}"
    )


class CannotRecord(Refused):
    """Revision {revision} could not be recorded after its statements, so none of them was sent: {reason}"""

    default_hint = (
        "this user needs SELECT, INSERT, UPDATE and DELETE on {table} and on the tables online_migrate_*, "
        "on a server that is not read-only"
    )


class StatementRefused(Refused):
    """{statement!r} cannot run in a contract revision that requires data migrations: {reason}"""


class PastTheLock(Refused):
    """Not in a contract script, because the table lock and the journal do not cover it: {what}"""

    default_hint = "use op.get_bind(), which holds the lock"


# --- work that remains: exit code 1 --------------------------------------------------------------


class LockGivenUp(OnlineMigrateError):
    """No lock on {what} after {attempts} tries of {timeout:g} s each{blockers}."""

    exit_code = 1
    default_hint = "nothing waits in the lock queue now; run the same command again at a quieter moment"


class Stopped(OnlineMigrateError):
    """Stopped on request ({reason}), before revision {revision}."""

    exit_code = 1
    default_hint = "run the same command again to continue"


class OtherMigrator(OnlineMigrateError):
    """Another migrator is at work on this database."""

    exit_code = 1
    default_hint = "wait for it, then run the same command again"


# --- failures: exit code 2 -----------------------------------------------------------------------


class Failed(OnlineMigrateError):
    """{message}"""


class ServerDown(Failed):
    """There is no connection to {url}: {reason}"""

    default_hint = "is it running, and are host, port, user and password right?"


class ServerError(Failed):
    """The server refused: {reason}"""


class PendingUnreadable(Failed):
    """The pending expression of {name!r} cannot be evaluated: {reason}"""


class RevisionFailed(Failed):
    """Revision {revision} failed: {reason}"""

    default_hint = "what was done is remembered; mend the script, then run the same command again"
