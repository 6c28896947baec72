"""Decisions on whole tables.

A new table is additive with everything inside, also with a foreign key to an existing table (see
:mod:`.constraints`). A table that a query fills is not: rows that old code writes later are not in it.
"""

from __future__ import annotations

from online_migrate.phases.given import Given, decides
from online_migrate.phases.restrictions import own_restriction
from online_migrate.phases.rules import apply_rule
from online_migrate.phases.verdict import Verdict
from online_migrate.sql.operations.operation import CreateTable, DropTable, RenameTable, SetTableOption
from online_migrate.sql.operations.parts import Name


@decides(CreateTable)
def create_table(operation: CreateTable, given: Given) -> Verdict:
    if operation.temporary:
        return apply_rule("create-table", operation.table)
    if operation.replace and not _is_new_or_absent(operation, given):
        return apply_rule(
            "replace-table",
            operation.table,
            "An existing table of this name is dropped with its rows: statements of old code"
            " fail or find no rows.",
            "Use CREATE TABLE without OR REPLACE.",
        )
    if operation.partition_of is not None and not given.known.is_new_table(operation.partition_of):
        if operation.inherits:
            return inherits(operation.table, operation.partition_of)
        return _partition(operation, given)
    if given.known.hides_table(operation.table):
        return hides_table(operation.table)
    if operation.selects:
        return apply_rule(
            "create-table-as-select",
            operation.table,
            "The table is a copy of one moment: rows that old code writes later are missing.",
            "Create the table empty, and copy the rows by a data migration.",
        )
    return apply_rule("create-table", operation.table)


def hides_table(table: Name) -> Verdict:
    """Returns the verdict on a new table, view or sequence that hides one of old code."""
    return apply_rule(
        "hide-table",
        table,
        "Another schema of the search_path has a table of this name: statements of old code without a"
        " schema find the new one.",
        "Use another name; or declare the operation as additive, if old code has another search_path.",
    )


def inherits(table: Name, parent: object) -> Verdict:
    """Returns the verdict on a table that becomes a child of one that old code reads."""
    return apply_rule(
        "inherit-table",
        table,
        f"A SELECT, UPDATE or DELETE of old code on {parent} finds the rows of {table}, too.",
        "Create the table with LIKE instead of INHERITS.",
    )


def _name_of(text: str) -> Name:
    schema, _, name = text.rpartition(".")
    return Name(name, schema or None)


def _is_new_or_absent(operation: CreateTable, given: Given) -> bool:
    return given.known.is_new_table(operation.table) or given.known.table_exists(operation.table) is False


def _partition(operation: CreateTable, given: Given) -> Verdict:
    """Returns the verdict on a partition of an existing table; INSERTs of old code may get into it."""
    not_null = [column for column in operation.columns if not column.nullable]
    restriction = own_restriction(operation) or ("a column of it is NOT NULL" if not_null else None)
    if restriction is None:
        return apply_rule("create-partition", operation.table)
    return partition_with_constraint(operation.table, restriction)


def partition_with_constraint(partition: object, restriction: str) -> Verdict:
    """Returns the verdict on a partition that may refuse a row which its partitioned table accepts."""
    return apply_rule(
        "partition-with-constraint",
        partition,
        f"A row of old code that belongs to the partition may be refused: {restriction}.",
        "Create it with CREATE TABLE ... PARTITION OF, without constraints of its own, and add them in the"
        " contract script.",
    )


@decides(DropTable)
def drop_table(operation: DropTable, given: Given) -> Verdict:
    if given.known.is_new_table(operation.table):
        return apply_rule("new-table", operation.table)
    if operation.guarded and given.known.table_exists(operation.table) is False:
        return apply_rule("no-change", operation.table)
    return apply_rule(
        "drop-table",
        operation.table,
        "Every statement of old code on the table fails: it does not exist.",
        "Move it to the contract script.",
    )


@decides(RenameTable)
def rename_table(operation: RenameTable, given: Given) -> Verdict:
    if given.known.is_new_table(operation.table):
        return apply_rule("new-table", operation.table)
    return apply_rule(
        "rename-table",
        operation.table,
        "Every statement of old code on the table fails: it does not exist.",
        "Keep the name; or create the new table, copy the rows by a data migration, and drop the"
        " old one in the"
        " contract script.",
    )


_HARMLESS_OPTIONS = """
    comment force statistics stats_persistent stats_auto_recalc stats_sample_pages
    avg_row_length max_rows min_rows charset collate wait nowait
"""
_HARMLESS = {
    *_HARMLESS_OPTIONS.split(),
    "storage parameters",
    "cluster on",
    "without cluster",
    "without oids",
}
_HARMLESS |= {"enable keys", "disable keys", "with validation", "without validation"}
_HARMLESS_FORMS = {
    "algorithm": {"default", "instant", "inplace", "nocopy"},
    "lock": {"default", "none"},
}
"""ALGORITHM and LOCK of MySQL and MariaDB; the other values block writers."""

_MOVE = "Move it to the contract script."
_COPY = "The table is copied, and writes of old code wait meanwhile; a row may be refused afterwards."
_CONTRACT: dict[str, tuple[str, str]] = {
    "owner": ("change-table-option", "Old code may lose the privileges of the owner: permission denied."),
    "schema": ("rename-table", "Every statement of old code on the table fails: it does not exist."),
    "row level security": (
        "change-row-security",
        "A SELECT of old code finds no rows, and an INSERT fails, unless a policy admits them.",
    ),
    "replica identity": (
        "change-replica-identity",
        "An UPDATE or DELETE of old code fails if the table is published and has no replica identity.",
    ),
    "inherit": ("inherit-table", "A SELECT of old code on the parent returns other rows."),
    "auto_increment": (
        "change-table-option",
        "An INSERT of old code fails as soon as the type of the column has no greater number.",
    ),
    "trigger": ("change-table-option", "Writes of old code run other triggers."),
    "rule": ("change-table-option", "Statements of old code are rewritten by other rules."),
    "engine": ("change-table-option", _COPY),
    "row_format": ("change-table-option", _COPY),
    "key_block_size": ("change-table-option", _COPY),
    "tablespace": ("change-table-option", _COPY),
    "convert to charset": ("change-table-option", _COPY),
    "logged": ("change-table-option", _COPY),
    "unlogged": ("change-table-option", _COPY),
    "access method": ("change-table-option", _COPY),
    "encryption": ("change-table-option", _COPY),
    "encrypted": ("change-table-option", _COPY),
    "compression": ("change-table-option", _COPY),
    "page_compressed": ("change-table-option", _COPY),
    "order by": ("change-table-option", _COPY),
    "algorithm": (
        "change-table-option",
        "This form copies the table, and writes of old code wait meanwhile.",
    ),
    "lock": ("change-table-option", "Writes of old code wait for this lock."),
}


_STORAGE_PARAMETERS = frozenset(
    {"fillfactor", "parallel_workers", "toast_tuple_target", "vacuum_truncate", "vacuum_index_cleanup"}
    | {"log_autovacuum_min_duration", "vacuum_max_eager_freeze_failure_rate", "autosummarize"}
)
_VIEW_OPTIONS = ("check_option", "security_invoker", "security_barrier")


def _storage_parameters(operation: SetTableOption) -> Verdict:
    """Returns the verdict on SET and RESET of PostgreSQL, which ALTER TABLE accepts for a view as well."""
    parts = (part.partition("=")[0].strip().strip('"').lower() for part in (operation.value or "").split(","))
    names = [part.rpartition(".")[2].strip() for part in parts]
    unknown = [n for n in names if n not in _STORAGE_PARAMETERS and not n.startswith("autovacuum_")]
    if not unknown:
        return apply_rule("set-table-option", operation.table)
    if any(name in _VIEW_OPTIONS for name in unknown):
        reason = "A view checks the rows or the privileges of old code: its statements fail."
        return apply_rule("change-table-option", operation.table, reason, _MOVE)
    return apply_rule(
        "unknown-option",
        operation.table,
        f"The effect of the storage parameter {unknown[0]} on old code is not known.",
        "Declare the operation as additive in the script, with the reason.",
    )


@decides(SetTableOption)
def set_table_option(operation: SetTableOption, given: Given) -> Verdict:
    option = operation.option
    if option == "inherit" and operation.value and not given.known.is_new_table(_name_of(operation.value)):
        return inherits(operation.table, operation.value)
    if given.known.is_new_table(operation.table):
        return apply_rule("new-table", operation.table)
    if option == "storage parameters" and given.product == "postgresql":
        return _storage_parameters(operation)
    if option in _HARMLESS or operation.value in _HARMLESS_FORMS.get(option, ()):
        return apply_rule("set-table-option", operation.table)
    name = option.rpartition(" ")[2] if option.endswith((" inherit", " trigger", " rule")) else option
    if name in _CONTRACT:
        rule, reason = _CONTRACT[name]
        return apply_rule(rule, operation.table, reason, _MOVE)
    return apply_rule(
        "unknown-option",
        operation.table,
        f"The effect of the table option {option} on old code is not known.",
        "Declare the operation as additive in the script, with the reason.",
    )
