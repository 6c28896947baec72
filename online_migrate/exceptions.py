"""The exception hierarchy of online-migrate.

The docstring of a class is the message template of its instances. The keyword arguments fill the template
and stay readable as attributes. ``hint`` is the next command to type, or the text to change.
``exit_code`` is the exit code of the command line.
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

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses have other arguments than an exception, which is created again from its text.
        return _restore, (type(self), self.args, self.__dict__)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["facts"][name]
        except KeyError:
            raise AttributeError(name) from None


def _restore(
    cls: type[OnlineMigrateError], arguments: tuple[Any, ...], values: dict[str, Any]
) -> OnlineMigrateError:
    """Returns an error that was serialized, with its facts and its hint."""
    error = cls.__new__(cls, *arguments)
    error.__dict__.update(values)
    return error


# --- wrong arguments, a wrong project: exit code 127 ---------------------------------------------


class UsageError(OnlineMigrateError):
    """{message}"""

    exit_code = 127


class ConfigMissing(UsageError):
    """The configuration file {path} does not exist."""

    default_hint = "create a project: online-migrate init   (or give the path of the file: -c PATH)"


class ConfigBroken(UsageError):
    """{path} cannot be used: {reason}"""


class BadURL(UsageError):
    """The database URL cannot be parsed: {reason}"""

    default_hint = "the form of a URL is postgresql+psycopg2://user:password@host/database"


class URLMissing(UsageError):
    """No database URL was given."""

    default_hint = (
        "set --url, ONLINE_MIGRATE_URL, --config-file (oslo.config's [database] connection), "
        "or sqlalchemy.url in alembic.ini or in env.py"
    )


class UnsupportedServer(UsageError):
    """online-migrate does not support the database {dialect!r}."""

    default_hint = "supported databases: PostgreSQL, MySQL, MariaDB, SQLite"


class DriverMissing(UsageError):
    """The database driver {module!r} is not installed."""

    default_hint = "pip install 'online-migrate[{extra}]'"


class ExtraMissing(UsageError):
    """{module} cannot be imported: {reason}"""

    default_hint = "pip install 'online-migrate[{extra}]'"


class UnknownRevision(UsageError):
    """Revision {revision!r} does not exist in this project."""

    default_hint = "online-migrate history   (lists the revisions)"


class UnknownRelease(UsageError):
    """No script of this project belongs to release {release!r}; its releases are: {known}."""

    default_hint = "online-migrate history   (lists the revisions with their releases)"


class UnknownDataMigration(UsageError):
    """Data migration {name!r} does not exist in this project."""

    default_hint = "known names: {known}"


class ScriptBroken(UsageError):
    """{path} cannot be imported: {reason}"""


class DuplicateName(UsageError):
    """Two data migrations are named {name!r}: in {first} and in {second}."""

    default_hint = "change name=... of one of them"


class DataMigrationBroken(UsageError):
    """Data migration {name!r} is not valid: {reason}"""


class ThrottlerBroken(UsageError):
    """Throttler {name!r} {reason}"""


class CyclicOrder(UsageError):
    """The data migrations depend on each other in a cycle: {circle}."""

    default_hint = "remove one of these names from after=(...) of its data migration"


class ModelsBroken(UsageError):
    """The models {name} cannot be used: {reason}"""


class NoValue(UsageError):
    """No value can be generated for column {column} of type {type}."""

    default_hint = "give a function that sets it: --rows MODULE:FUNCTION"


class GraphBroken(UsageError):
    """The revision graph is not valid: {reason}"""


# --- refusals: exit code 3 -----------------------------------------------------------------------


class Refused(OnlineMigrateError):
    """Refused: {reason}"""

    exit_code = 3


class SharedSessions(Refused):
    """A connection pooler is between this client and the server: {reason}."""

    default_hint = (
        "connect to the server directly: --url with the host and port of the server; or, if the pooler "
        "assigns one server session to each client (PgBouncer: pool_mode = session), set "
        "pooler = session in [online_migrate]"
    )


class BatchLosses(Refused):
    """Batch mode would drop parts of table {table!r}: {losses}. Nothing was changed."""

    default_hint = (
        "preserve them with arguments of batch_alter_table: "
        "reflect_args=[sa.Column(..., sa.Text(collation=...))], table_args=(sa.CheckConstraint(...),), "
        "table_kwargs={{'sqlite_autoincrement': True}}; create an index again after it; "
        "or accept the loss in the script: batch_losses = {declared}"
    )


class ExpandMissing(Refused):
    """Data migration {name!r} requires expand revision {revision}, which is not applied."""

    default_hint = "online-migrate expand"


class BaseBehind(Refused):
    """The database is behind the last base revision, from which the expand and contract branches start:
    {missing} not applied."""

    default_hint = "alembic upgrade {tip}   (or, while no service uses the database: online-migrate upgrade)"


class NewerState(Refused):
    """A newer version of online-migrate upgraded the bookkeeping tables (engine revision {revision})."""

    default_hint = "upgrade this installation: pip install --upgrade online-migrate"


class ContractNotPermitted(Refused):
    """Destructive revisions run only through the gate: contract revision {revisions}."""

    default_hint = "online-migrate contract"


class GuardMissing(Refused):
    """{path} does not call online_migrate.guard(): a plain alembic upgrade would bypass the gate."""


class EnvironmentWrites(Refused):
    """{path} changes the database each time Alembic runs it: {statement}"""


@dataclasses.dataclass(frozen=True)
class Blocker:
    """One reason why contract is refused, and how to remove it."""

    id: str
    object: str
    """The revision or the data migration that is blocked."""
    reason: str
    hint: str
    """The next command to type, or the text to change."""
    count: int | None = None
    """The number of blocking rows; None if the reason is not rows."""
    at_least: bool = False
    """True if *count* is a lower bound."""
    keys: tuple[str, ...] = ()
    """Keys of some of the blocking rows."""

    def as_dict(self) -> dict[str, Any]:
        """Returns the blocker as a dictionary, for ``--json``."""
        return dataclasses.asdict(self) | {"keys": list(self.keys)}


class GateClosed(Refused):
    """The gate is closed: {count} blocker(s) prevent contract."""

    default_hint = "nothing was changed; resolve the blockers, then check again: online-migrate gate"

    def __init__(self, blockers: Sequence[Blocker], *, hint: str | None = None) -> None:
        super().__init__(count=len(blockers), hint=hint)
        self.blockers = tuple(blockers)


class NoKey(Refused):
    """Table {table!r} has no primary key and no unique key of NOT NULL columns for the keyset walk."""

    default_hint = (
        "add one first, for example: "
        "op.create_unique_constraint('uq_{table}_walk', '{table}', [...])  on NOT NULL columns"
    )


class RowsHidden(Refused):
    """Data migration {name!r} may not read every row: {reason}"""


class ConnectionChanged(Refused):
    """{path} changes its connection in a way that the connections of online-migrate do not repeat:
    {difference}"""


class SeveralDatabases(Refused):
    """{path} {reason}"""

    default_hint = (
        "online-migrate migrates one database at a time: write one alembic.ini for each database, "
        "with an env.py that calls context.configure(...) once"
    )


class TooFewConnections(Refused):
    """{command} needs {needed} connections at the same time, but only {given} could be opened: {reason}"""

    default_hint = "nothing was changed; raise the connection limit of this user to {needed}{fewer}"


class NotUnderLock(Refused):
    """{statement!r} cannot run in a contract revision while the tables are locked: {reason}"""


class StatementUndecided(Refused):
    """Revision {revision} was interrupted during {statement!r}, and the catalog does not show whether the
    server executed it: {reason}."""

    default_hint = (
        "check the schema. If the statement was executed: online-migrate {command} --statement-done   "
        "If it was not: online-migrate {command} --statement-not-done   (the statement is sent again)"
    )


class ScriptEdited(Refused):
    """The script of revision {revision} has been changed while it is half applied: {change}"""

    default_hint = (
        "restore what was executed, in its order, then: online-migrate {command}   (what follows may be "
        "changed); or undo it in the database and delete the revision's rows of online_migrate_journal"
    )


class NothingAsked(Refused):
    """No interrupted statement needs --statement-done or --statement-not-done."""

    default_hint = (
        "run without the option: online-migrate {command}   (it reports a statement that needs an answer)"
    )


class RevisionIdTooLong(Refused):
    """Revision id {revision!r} has {length} characters; {table}.version_num holds {width}."""

    default_hint = (
        "shorten the id in the script and in the scripts that refer to it, or widen the column first:   "
        "{statement}"
    )


class CannotRecord(Refused):
    """Revision {revision} cannot be recorded in the version table, so no statement was sent: {reason}"""

    default_hint = (
        "grant this user SELECT, INSERT, UPDATE and DELETE on {table} and on the tables online_migrate_*, "
        "and connect to a server that is not read-only"
    )


class StatementRefused(Refused):
    """{statement!r} cannot run in a contract revision that requires data migrations: {reason}"""


class WritersBlocked(Refused):
    """{statement!r} would block the application: {reason}"""


class PastTheScript(Refused):
    """Another way of a script to the server than the connection of Alembic: {what}"""

    other_connection: ClassVar[str] = ""
    """The hint for a script that uses another connection."""


class PastTheLock(PastTheScript):
    """The table lock and the journal of a contract revision do not cover this: {what}"""

    default_hint = "use op.get_bind(), the connection that holds the lock"
    other_connection = (
        "use op.get_bind(), which holds the lock; to inspect the schema: sa.inspect(op.get_bind())"
    )


class PastTheCheck(PastTheScript):
    """The check of expand and the journal of its revision do not cover this: {what}"""

    default_hint = "use op.get_bind()"
    other_connection = "use op.get_bind(); to inspect the schema: sa.inspect(op.get_bind())"


class NotAdditive(Refused):
    """Not additive: {operations}. Code that does not know of an expand revision must be able to read and
    write after it."""

    default_hint = (
        "{state}; change the script, or declare the operation in it with a reason: "
        'additive = {{{example!r}: "why no code breaks"}}'
    )

    def __init__(self, blockers: Sequence[Blocker] = (), *, hint: str | None = None, **facts: Any) -> None:
        super().__init__(hint=hint, **facts)
        self.blockers = tuple(blockers)


class RollbackRefused(Refused):
    """Rollback is refused for {count} reason(s)."""

    default_hint = "nothing was changed"

    def __init__(self, blockers: Sequence[Blocker] = (), *, hint: str | None = None, **facts: Any) -> None:
        super().__init__(hint=hint, **{"count": len(blockers), **facts})
        self.blockers = tuple(blockers)


class AdditiveUnmatched(Refused):
    """Expand revision {revision} declares exceptions that match no operation and no statement of it:
    {keys}."""

    default_hint = "{state}; correct or remove the key in additive = {{...}} of the script"


# --- work that remains: exit code 1 --------------------------------------------------------------


class LockGivenUp(OnlineMigrateError):
    """No lock on {what} after {attempts} attempt(s) of at most {timeout:g} s each{blockers}."""

    exit_code = 1
    default_hint = (
        "the statement has left the lock queue; end the blocking session, or run the same command again later"
    )


class Stopped(OnlineMigrateError):
    """Stopped on request ({reason}), before revision {revision}."""

    exit_code = 1
    default_hint = "run the same command again to continue"


class OtherMigrator(OnlineMigrateError):
    """Another migrator runs on this database."""

    exit_code = 1
    default_hint = "wait until it has ended, then run the same command again"


# --- failures: exit code 2 -----------------------------------------------------------------------


class Failed(OnlineMigrateError):
    """{message}"""


class ServerDown(Failed):
    """Cannot connect to {url}: {reason}"""

    default_hint = "check that the server runs, and that host, port, user and password are correct"


class ServerError(Failed):
    """The server returned an error: {reason}"""


class PendingUnreadable(Failed):
    """The pending expression of {name!r} cannot be evaluated: {reason}"""


class RevisionFailed(Failed):
    """Revision {revision} failed: {reason}"""

    default_hint = "completed statements are recorded; correct the script, then run the same command again"
