"""Reads the operations of a SQL text of PostgreSQL with PostgreSQL's own parser. Pure.

pglast is an optional dependency (extra ``[lint]``), which is imported when a text is read. The parser does
not accept the placeholders of drivers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from online_migrate.sql.classification import session_settings as settings
from online_migrate.sql.operations import pglast_changes as changes
from online_migrate.sql.operations import pglast_objects as objects
from online_migrate.sql.operations import pglast_tables as tables
from online_migrate.sql.operations.cursor import Unknown
from online_migrate.sql.operations.operation import (
    ChangePrivileges,
    ChangeSession,
    ControlTransaction,
    Maintain,
    Operation,
    Query,
    RunCode,
    Unrecognized,
)
from online_migrate.sql.operations.parts import Name
from online_migrate.sql.operations.pglast_nodes import kind_of, range_name
from online_migrate.sql.operations.pglast_rows import read_copy, read_query, read_truncate
from online_migrate.sql.parse import Unreadable

Found = tuple[Operation, ...]


class SyntaxFault(Unreadable):
    """PostgreSQL's parser rejects the text. *position*: where, counted from 0."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


def read_operations(text: str) -> tuple[Operation, ...]:
    """Returns the operations of every statement in *text*, in order.

    Raises :class:`~online_migrate.sql.parse.Unreadable` if PostgreSQL's parser rejects the text.
    """
    from pglast import parse_sql
    from pglast.parser import ParseError

    try:
        statements = parse_sql(text)
    except ParseError as error:
        message, position = error.args
        raise SyntaxFault(message, position) from error
    except ValueError as error:
        raise Unreadable(str(error).splitlines()[0] if str(error) else "it cannot be parsed") from error
    return tuple(operation for raw in statements for operation in _of_statement(raw.stmt))


def _of_statement(node: Any) -> Found:
    reader = _READERS.get(kind_of(node))
    try:
        if reader is None:
            raise Unknown(kind_of(node))
        return reader(node)
    except Unknown as unknown:
        return (Unrecognized(what=str(unknown)),)


# --- tables and queries ---------------------------------------------------------------------------


def _filled(node: Any) -> Found:
    if node.objtype.name == "OBJECT_MATVIEW":
        return objects.create_materialized_view(node)
    return tables.filled_table(node)


def _explain(node: Any) -> Found:
    for option in node.options or ():
        if option.defname == "analyze":
            value = getattr(option.arg, "sval", None)
            if value not in ("false", "off", "0"):
                return _of_statement(node.query)
    return (Query(),)


# --- sessions -------------------------------------------------------------------------------------


def _transaction(node: Any) -> Found:
    verb = node.kind.name.removeprefix("TRANS_STMT_").replace("_", " ").lower()
    return (ControlTransaction(verb={"start": "begin", "prepare": "prepare transaction"}.get(verb, verb)),)


def _lock(node: Any) -> Found:
    return (ControlTransaction(verb="lock table"),)


def _setting(node: Any) -> Found:
    name = (node.name or "all").lower()
    if node.kind.name == "VAR_SET_MULTI":
        name = "transaction" if name in ("transaction", "session characteristics") else name
    known = name.upper() in settings.HARMLESS["postgresql"]
    return (ChangeSession(setting=name, harmless=known),)


def _constraints(node: Any) -> Found:
    return (ChangeSession(setting="constraints", harmless=True),)


def _discard(node: Any) -> Found:
    return (ChangeSession(setting="discard"),)


def _nothing(node: Any) -> Found:
    return (Query(),)


def _code(verb: str) -> Callable[[Any], Found]:
    def read(node: Any) -> Found:
        return (RunCode(verb=verb),)

    return read


def _privileges(node: Any) -> Found:
    return (ChangePrivileges(takes_away=not node.is_grant),)


def _default_privileges(node: Any) -> Found:
    return _privileges(node.action)


# --- maintenance ----------------------------------------------------------------------------------


def _vacuum(node: Any) -> Found:
    full = any(option.defname == "full" for option in node.options or ())
    verb = ("vacuum full" if full else "vacuum") if node.is_vacuumcmd else "analyze"
    names = [range_name(relation.relation) for relation in node.rels or ()]
    return tuple(Maintain(verb=verb, object=name) for name in names) or (Maintain(verb=verb),)


def _reindex(node: Any) -> Found:
    concurrently = any(option.defname == "concurrently" for option in node.params or ())
    name = range_name(node.relation) if node.relation is not None else Name(node.name)
    return (Maintain(verb="reindex", object=name, concurrently=concurrently),)


def _refresh(node: Any) -> Found:
    return (Maintain(verb="refresh", object=range_name(node.relation), concurrently=bool(node.concurrent)),)


def _cluster(node: Any) -> Found:
    name = range_name(node.relation) if node.relation is not None else None
    return (Maintain(verb="cluster", object=name),)


def _checkpoint(node: Any) -> Found:
    return (Maintain(verb="checkpoint"),)


_READERS: Mapping[str, Callable[[Any], Found]] = {
    "CreateStmt": tables.create_table,
    "CreateTableAsStmt": _filled,
    "IndexStmt": tables.create_index,
    **dict.fromkeys(("SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"), read_query),
    "TruncateStmt": read_truncate,
    "CopyStmt": read_copy,
    "ExplainStmt": _explain,
    "ViewStmt": objects.create_view,
    "CreateTrigStmt": objects.create_trigger,
    "CreateFunctionStmt": objects.create_routine,
    **dict.fromkeys(objects.CREATED, objects.create_object),
    "DefineStmt": objects.define,
    "CreateStatsStmt": objects.create_statistics,
    "CreateSchemaStmt": objects.create_schema,
    "DropStmt": changes.drop,
    "DropdbStmt": changes.drop_database,
    "DropRoleStmt": changes.drop_roles,
    "AlterTableStmt": changes.alter_relation,
    "RenameStmt": changes.rename,
    "AlterObjectSchemaStmt": changes.set_schema,
    "AlterOwnerStmt": changes.set_owner,
    "AlterEnumStmt": changes.alter_enum,
    "AlterDomainStmt": changes.alter_domain,
    "AlterSeqStmt": changes.alter_sequence,
    **dict.fromkeys(changes.ALTERED, changes.alter_named),
    "CommentStmt": changes.comment,
    "GrantStmt": _privileges,
    "GrantRoleStmt": _privileges,
    "AlterDefaultPrivilegesStmt": _default_privileges,
    "TransactionStmt": _transaction,
    "LockStmt": _lock,
    "VariableSetStmt": _setting,
    "ConstraintsSetStmt": _constraints,
    "DiscardStmt": _discard,
    **dict.fromkeys(
        ("VariableShowStmt", "ListenStmt", "UnlistenStmt", "NotifyStmt", "DeallocateStmt"), _nothing
    ),
    "DoStmt": _code("do"),
    "CallStmt": _code("call"),
    "ExecuteStmt": _code("execute"),
    "PrepareStmt": _code("prepare"),
    "VacuumStmt": _vacuum,
    "ReindexStmt": _reindex,
    "RefreshMatViewStmt": _refresh,
    "ClusterStmt": _cluster,
    "CheckPointStmt": _checkpoint,
}
