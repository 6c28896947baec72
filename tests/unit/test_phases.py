"""Where each operation belongs, as tables of (server, operation, known schema) and (rule, place)."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from online_migrate.phases.given import DECISIONS
from online_migrate.phases.judge import judge, judge_text
from online_migrate.phases.known import KnownSchema, NothingKnown, Server
from online_migrate.phases.rules import RULES
from online_migrate.phases.schema import VirtualSchema
from online_migrate.phases.script import ScriptJudge
from online_migrate.phases.sync_statements import remember
from online_migrate.phases.types import TypeChange, compare_types
from online_migrate.phases.verdict import Place
from online_migrate.sql.operations import operation as op
from online_migrate.sql.operations.operation import Operation
from online_migrate.sql.operations.parts import (
    Column,
    Constraint,
    ConstraintKind,
    Expression,
    Index,
    Name,
    SqlType,
    Value,
)
from online_migrate.sql.operations.reader import read_operations

POSTGRESQL, MYSQL = Server("postgresql"), Server("mysql")
POSTGRESQL_18 = Server("postgresql", (18, 0))
MARIADB, SQLITE = Server("mariadb"), Server("sqlite")
ALL = (POSTGRESQL, MYSQL, MARIADB, SQLITE)
OLD, NEW = Name("old"), Name("new")
"""A table that old code knows, and a table that the same revisions create."""


def type_of(text: str, **more: object) -> SqlType:
    name, _, inner = text.rstrip(")").partition("(")
    return SqlType(name, tuple(inner.split(",")) if inner else (), **more)


def column(name: str = "c", type: str = "integer", **more: object) -> Column:
    return Column(name=name, type=type_of(type), **more)


def constant(text: str) -> Expression:
    return Expression(Value.CONSTANT, text)


def expression(text: str, *calls: str) -> Expression:
    return Expression(Value.EXPRESSION, text, calls)


NOW = Expression(Value.NOW, "CURRENT_TIMESTAMP")
NULL = Expression(Value.NULL, "NULL")


def check(text: str, *columns: str, **more: object) -> Constraint:
    return Constraint(kind=ConstraintKind.CHECK, columns=columns, condition=expression(text), **more)


def key(kind: ConstraintKind, *columns: str, **more: object) -> Constraint:
    referred = Name("other") if kind is ConstraintKind.FOREIGN_KEY else None
    return Constraint(kind=kind, columns=columns, referred=referred, **more)


UNIQUE, FOREIGN_KEY = ConstraintKind.UNIQUE, ConstraintKind.FOREIGN_KEY
PRIMARY_KEY = ConstraintKind.PRIMARY_KEY


def known() -> VirtualSchema:
    """Returns a schema with the table ``old``, to which this group added three columns, and ``new``."""
    schema = VirtualSchema(empty=True)
    columns = (
        column("id", "bigint", nullable=False, constraints=(key(ConstraintKind.PRIMARY_KEY, "id"),)),
        column("name", "varchar(20)"),
        column("size", "integer", nullable=False),
        column("state", "integer", nullable=False, default=constant("0")),
        column("moment", "timestamp", nullable=False),
        column("price", "numeric(7,2)"),
        column("kind", "enum('a','b')"),
        column("touched", "datetime", on_update=True),
        column("note", "text"),
        column("wide", "varchar(600)"),
        Column(name="tags", type=SqlType("text", array=True)),
        column("feeling", "mood"),
        column("address", "email"),
        column("number", "integer", nullable=False, identity=True),
    )
    schema.apply(op.CreateTable(table=OLD, columns=columns))
    schema.apply(op.CreateTable(table=Name("other"), columns=(column("id"),)))
    schema.apply(op.CreateView(view=Name("shown")))
    schema.apply(op.CreateObject(kind="type", object=Name("mood"), enum=True))
    schema.apply(op.CreateObject(kind="domain", object=Name("email")))
    schema.apply(op.CreateRoutine(routine=Name("known")))
    schema.begin_group()
    schema.apply(op.CreateTable(table=NEW, columns=(column("id"),)))
    schema.apply(op.AddColumn(table=OLD, column=column("added")))
    schema.apply(op.AddColumn(table=OLD, column=column("five", default=constant("5"))))
    schema.apply(op.AddColumn(table=OLD, column=column("text", "varchar(20)")))
    schema.apply(op.CreateRoutine(routine=Name("fresh")))
    schema.apply(op.CreateObject(kind="sequence", object=Name("fresh")))
    schema.apply(op.AddEnumValue(type=Name("mood"), value="last"))
    return schema


def owned(sequence: Name, table: Name, column: str) -> Operation:
    return op.AlterObject(kind="sequence", object=sequence, change="owned by", owner=(table, column))


def add(column: Column) -> Operation:
    return op.AddColumn(table=OLD, column=column)


def inline(constraint: Constraint, **more: object) -> Operation:
    return add(column(constraints=(constraint,), **more))


def constrain(constraint: Constraint) -> Operation:
    return op.AddConstraint(table=OLD, constraint=constraint)


def index(*columns: str | None, **more: object) -> Operation:
    return op.CreateIndex(table=OLD, index=Index(name="i", columns=columns, **more))


def option(option: str, value: str | None = None) -> Operation:
    return op.SetTableOption(table=OLD, option=option, value=value)


def modify(column: Column, old: str | None = None) -> Operation:
    return op.RedefineColumn(table=OLD, old=old or column.name, column=column)


def retype(column: str, type: str, using: Expression | None = None) -> Operation:
    return op.SetColumnType(table=OLD, column=column, type=type_of(type), using=using)


TOTAL = expression("lower(name)", "lower")
IS_GIVEN = expression("name IS NULL")
CASES: list[tuple[tuple[Server, ...], Operation, str]] = [
    # --- tables ---
    (ALL, op.CreateTable(table=Name("t"), columns=(column(),)), "create-table"),
    (ALL, op.CreateTable(table=Name("t"), guarded=True), "create-table"),
    (ALL, op.CreateTable(table=Name("t"), constraints=(key(FOREIGN_KEY, "a"),)), "create-table"),
    (ALL, op.CreateTable(table=OLD, temporary=True), "create-table"),
    ((MARIADB,), op.CreateTable(table=OLD, replace=True), "replace-table"),
    ((MARIADB,), op.CreateTable(table=Name("t"), replace=True), "create-table"),
    ((MARIADB,), op.CreateTable(table=NEW, replace=True), "create-table"),
    (ALL, op.CreateTable(table=Name("t"), selects=True), "create-table-as-select"),
    ((POSTGRESQL,), op.CreateTable(table=Name("t"), partition_of=OLD), "create-partition"),
    (
        (POSTGRESQL,),
        op.CreateTable(table=Name("t"), partition_of=OLD, constraints=(check("a > 0"),)),
        "partition-with-constraint",
    ),
    (
        (POSTGRESQL,),
        op.CreateTable(table=Name("t"), partition_of=OLD, columns=(column(nullable=False),)),
        "partition-with-constraint",
    ),
    ((POSTGRESQL,), op.CreateTable(table=Name("t"), partition_of=OLD, inherits=True), "inherit-table"),
    ((POSTGRESQL,), op.CreateTable(table=Name("t"), partition_of=NEW, inherits=True), "create-table"),
    (ALL, op.DropTable(table=OLD), "drop-table"),
    (ALL, op.DropTable(table=NEW), "new-table"),
    (ALL, op.DropTable(table=Name("absent"), guarded=True), "no-change"),
    (ALL, op.RenameTable(table=OLD, new=Name("t")), "rename-table"),
    (ALL, op.RenameTable(table=NEW, new=Name("t")), "new-table"),
    ((MYSQL, MARIADB), option("comment", "x"), "set-table-option"),
    ((MYSQL, MARIADB), option("auto_increment", "100"), "change-table-option"),
    ((MYSQL, MARIADB), option("algorithm", "instant"), "set-table-option"),
    ((MYSQL, MARIADB), option("algorithm", "copy"), "change-table-option"),
    ((MYSQL, MARIADB), option("lock", "none"), "set-table-option"),
    ((MYSQL, MARIADB), option("lock", "exclusive"), "change-table-option"),
    ((MYSQL, MARIADB), option("engine", "InnoDB"), "change-table-option"),
    ((MYSQL, MARIADB), option("convert to charset", "utf8mb4"), "change-table-option"),
    ((POSTGRESQL,), option("storage parameters", "fillfactor = 70"), "set-table-option"),
    ((POSTGRESQL,), option("owner", "x"), "change-table-option"),
    ((POSTGRESQL,), option("schema", "x"), "rename-table"),
    ((POSTGRESQL,), option("unlogged"), "change-table-option"),
    ((POSTGRESQL,), option("row level security", "enable"), "change-row-security"),
    ((POSTGRESQL,), option("replica identity", "nothing"), "change-replica-identity"),
    ((POSTGRESQL,), option("disable trigger", "x"), "change-table-option"),
    ((POSTGRESQL,), option("no inherit", "x"), "inherit-table"),
    ((POSTGRESQL,), op.SetTableOption(table=NEW, option="inherit", value="old"), "inherit-table"),
    ((POSTGRESQL,), op.SetTableOption(table=NEW, option="inherit", value="new"), "new-table"),
    (ALL, option("a new option", "x"), "unknown-option"),
    (ALL, op.SetTableOption(table=NEW, option="a new option"), "new-table"),
    # --- partitions ---
    ((MYSQL,), op.ChangePartitions(table=OLD, action="add", partition=Name("p")), "add-partition"),
    ((MYSQL,), op.ChangePartitions(table=OLD, action="add"), "change-partitions"),
    ((MYSQL,), op.ChangePartitions(table=OLD, action="truncate"), "change-partitions"),
    ((MYSQL,), op.ChangePartitions(table=NEW, action="truncate"), "new-table"),
    ((MYSQL,), op.ChangePartitions(table=NEW, action="exchange"), "change-partitions"),
    ((MYSQL,), op.ChangePartitions(table=OLD, action="analyze"), "maintain"),
    ((MYSQL,), op.ChangePartitions(table=OLD, action="unheard of"), "unknown-option"),
    (
        (POSTGRESQL,),
        op.ChangePartitions(table=OLD, action="attach", partition=NEW),
        "attach-new-partition",
    ),
    (
        (POSTGRESQL,),
        op.ChangePartitions(table=NEW, action="attach", partition=OLD),
        "attach-existing-partition",
    ),
    ((POSTGRESQL,), op.ChangePartitions(table=OLD, action="detach", partition=NEW), "change-partitions"),
    # --- new columns ---
    (ALL, add(column()), "add-column"),
    (ALL, add(column(default=NULL)), "add-column"),
    (ALL, add(column(nullable=False, default=constant("5"))), "add-column"),
    ((POSTGRESQL, MYSQL, MARIADB), add(column(nullable=False, type="datetime", default=NOW)), "add-column"),
    ((SQLITE,), add(column(type="datetime", default=NOW)), "add-column-rewrite"),
    (
        (SQLITE,),
        op.AddColumn(table=OLD, column=column(type="datetime", default=NOW), by_copy=True),
        "add-column",
    ),
    (ALL, add(column(nullable=False)), "add-not-null-column"),
    (ALL, add(column(nullable=False, default=NULL)), "add-not-null-column"),
    (ALL, op.AddColumn(table=NEW, column=column(nullable=False)), "new-table"),
    ((MYSQL, MARIADB), op.AddColumn(table=OLD, column=column(), positioned=True), "add-column"),
    ((MYSQL, MARIADB), add(column(invisible=True, comment="x", on_update=True)), "add-column"),
    (ALL, add(column(identity=True, nullable=False)), "add-identity-column"),
    ((POSTGRESQL,), add(column(default=expression("1 + 1"))), "add-column"),
    (
        (POSTGRESQL,),
        add(column(default=expression("timezone('utc', now())", "timezone", "now"))),
        "add-column",
    ),
    (
        (POSTGRESQL,),
        add(column(default=expression("gen_random_uuid()", "gen_random_uuid"))),
        "add-column-rewrite",
    ),
    (
        (POSTGRESQL,),
        add(column(default=expression("nextval('s')", "nextval"))),
        "default-calls-function",
    ),
    (ALL, add(column(default=expression("mine()", "mine"))), "default-calls-function"),
    ((MYSQL,), add(column(default=expression("(1 + 1)"))), "add-column-rewrite"),
    ((MARIADB,), add(column(default=expression("(1 + 1)"))), "add-column"),
    ((MYSQL, MARIADB), add(column(default=expression("(uuid())", "uuid"))), "add-column-rewrite"),
    ((MYSQL, MARIADB), add(column(default=expression("(100 / size)"))), "default-calls-function"),
    ((MYSQL,), add(column(type="json", default=constant("('{}')"))), "add-column-rewrite"),
    ((MARIADB,), add(column(type="json", default=constant("'{}'"))), "add-column"),
    ((POSTGRESQL,), add(column(type="mood")), "add-column"),
    ((POSTGRESQL,), add(column(type="email")), "unknown-type"),
    ((POSTGRESQL,), add(column(type="other_type")), "unknown-type"),
    ((SQLITE,), add(column(type="other_type")), "add-column"),
    ((MYSQL, MARIADB), add(column(generated=expression("size - 1"))), "add-generated-column"),
    (ALL, add(column(generated=IS_GIVEN, stored=True)), "add-generated-column"),
    ((MYSQL, MARIADB, SQLITE, POSTGRESQL_18), add(column(generated=IS_GIVEN)), "add-column"),
    ((POSTGRESQL,), add(column(generated=IS_GIVEN)), "add-generated-column"),
    (
        (MYSQL, MARIADB),
        op.AddColumn(table=OLD, column=column(generated=IS_GIVEN), combined=True),
        "add-generated-column",
    ),
    ((MYSQL, MARIADB), add(column(generated=expression("IF(name IS NULL, 1, NULL)"))), "add-column"),
    # --- constraints inside of ADD COLUMN ---
    ((MYSQL, MARIADB), inline(key(UNIQUE, "c")), "add-column"),
    ((POSTGRESQL, SQLITE), inline(key(UNIQUE, "c")), "add-unique"),
    (ALL, inline(key(UNIQUE, "c"), default=constant("5")), "add-unique"),
    (
        ALL,
        inline(key(ConstraintKind.PRIMARY_KEY, "c"), nullable=False, default=constant("5")),
        "add-primary-key",
    ),
    ((SQLITE, POSTGRESQL), inline(key(FOREIGN_KEY, "c")), "add-column"),
    ((MYSQL, MARIADB), inline(key(FOREIGN_KEY, "c")), "add-foreign-key"),
    ((SQLITE, POSTGRESQL), inline(key(FOREIGN_KEY, "c"), default=constant("5")), "add-foreign-key"),
    ((SQLITE, MARIADB), inline(check("c > 0", "c")), "add-column"),
    ((POSTGRESQL, MYSQL), inline(check("c > 0", "c")), "add-check"),
    ((MARIADB, SQLITE), inline(check("c IN (1, 2)", "c"), default=constant("2")), "add-column"),
    ((MARIADB, SQLITE), inline(check("c IN (1, 2)", "c"), default=constant("3")), "add-check"),
    ((MARIADB, SQLITE), inline(check("c IS NOT NULL", "c")), "add-check"),
    ((MARIADB, SQLITE), inline(check("c > 0 OR c IS NULL", "c")), "add-column"),
    ((MARIADB, SQLITE), inline(check("c > size", "c", "size")), "add-column"),
    ((MARIADB, SQLITE), inline(check("c IS NULL AND size > 0", "c", "size")), "add-check"),
    ((MARIADB, SQLITE), inline(check("length(c) < 5", "c")), "add-column"),
    ((MARIADB, SQLITE), inline(check("coalesce(c, 0) > 0", "c")), "add-check"),
    ((MYSQL, POSTGRESQL), inline(check("false", not_enforced=True)), "add-column"),
    # --- constraints ---
    (ALL, op.AddConstraint(table=NEW, constraint=key(UNIQUE, "id")), "new-table"),
    (ALL, constrain(key(UNIQUE, "name")), "add-unique"),
    (ALL, constrain(key(UNIQUE, "added")), "add-harmless-constraint"),
    (ALL, constrain(key(UNIQUE, "name", "added")), "add-harmless-constraint"),
    (ALL, constrain(key(UNIQUE, "five")), "add-unique"),
    ((POSTGRESQL,), constrain(key(UNIQUE, "added", nulls_not_distinct=True)), "add-unique"),
    ((MYSQL,), constrain(key(UNIQUE, "added", has_expressions=True)), "add-unique"),
    (ALL, constrain(key(ConstraintKind.PRIMARY_KEY, "added")), "add-primary-key"),
    ((POSTGRESQL,), constrain(key(ConstraintKind.EXCLUDE, "added")), "add-exclude"),
    ((POSTGRESQL,), constrain(key(FOREIGN_KEY, "added", not_valid=True)), "add-harmless-constraint"),
    ((POSTGRESQL,), constrain(key(FOREIGN_KEY, "added")), "add-harmless-constraint"),
    ((POSTGRESQL,), constrain(key(UNIQUE, "added", included=("note",))), "create-index-on-long-values"),
    ((POSTGRESQL,), constrain(key(FOREIGN_KEY, "name", not_valid=True)), "add-foreign-key"),
    ((POSTGRESQL,), constrain(key(FOREIGN_KEY, "added", "name", not_valid=True)), "add-foreign-key"),
    ((MYSQL, MARIADB), constrain(key(FOREIGN_KEY, "added")), "add-foreign-key"),
    ((POSTGRESQL,), constrain(check("added > 0", "added", not_valid=True)), "add-harmless-constraint"),
    ((POSTGRESQL,), constrain(check("five > 0", "five", not_valid=True)), "add-harmless-constraint"),
    ((POSTGRESQL,), constrain(check("five > 5", "five", not_valid=True)), "add-check"),
    ((POSTGRESQL,), constrain(check("added IS NOT NULL", "added", not_valid=True)), "add-check"),
    ((POSTGRESQL,), constrain(check("size > 0", "size", not_valid=True)), "add-check"),
    ((POSTGRESQL,), constrain(check("added > 0", "added")), "add-harmless-constraint"),
    (
        (POSTGRESQL,),
        constrain(check("added > 0 OR size > 0", "added", "size", not_valid=True)),
        "add-harmless-constraint",
    ),
    ((POSTGRESQL,), constrain(check("added > 0 OR 1 / size > 0", "added", "size")), "add-check"),
    ((MYSQL,), constrain(check("added > 0", "added")), "add-check"),
    ((MYSQL,), constrain(check("size > 0", "size", not_enforced=True)), "add-harmless-constraint"),
    ((POSTGRESQL,), constrain(key(ConstraintKind.NOT_NULL, "name", not_valid=True)), "set-not-null"),
    ((POSTGRESQL,), constrain(key(ConstraintKind.NOT_NULL, "five")), "add-harmless-constraint"),
    (ALL, op.DropConstraint(table=OLD, name="x"), "drop-constraint"),
    (ALL, op.DropConstraint(table=NEW, name="x"), "new-table"),
    ((POSTGRESQL,), op.ValidateConstraint(table=OLD, name="x"), "validate-constraint"),
    ((POSTGRESQL,), op.AlterConstraint(table=OLD, name="x", change="deferrable"), "alter-constraint"),
    ((POSTGRESQL,), op.AlterConstraint(table=OLD, name="x", change="other"), "unknown-option"),
    # --- existing columns ---
    (ALL, op.DropColumn(table=OLD, column="name"), "drop-column"),
    (ALL, op.DropColumn(table=OLD, column="added"), "change-new-column"),
    (ALL, op.RenameColumn(table=OLD, column="name", new="x"), "rename-column"),
    (ALL, op.RenameColumn(table=OLD, column="added", new="x"), "change-new-column"),
    (ALL, op.SetNotNull(table=OLD, column="name"), "set-not-null"),
    (ALL, op.SetNotNull(table=OLD, column="size"), "no-change"),
    (ALL, op.SetNotNull(table=OLD, column="added"), "add-not-null-column"),
    (ALL, op.SetNotNull(table=OLD, column="five"), "change-new-column"),
    (ALL, op.SetNotNull(table=NEW, column="id"), "new-table"),
    (ALL, op.DropNotNull(table=OLD, column="size"), "drop-not-null"),
    (ALL, op.SetDefault(table=OLD, column="name", default=constant("'x'")), "change-default"),
    (ALL, op.SetDefault(table=OLD, column="size", default=constant("0")), "set-first-default"),
    (ALL, op.SetDefault(table=OLD, column="state", default=constant("0")), "no-change"),
    (ALL, op.SetDefault(table=OLD, column="state", default=constant("1")), "change-default"),
    (ALL, op.SetDefault(table=OLD, column="state", default=None), "change-default"),
    (ALL, op.SetDefault(table=OLD, column="number", default=None), "change-default"),
    (ALL, op.SetDefault(table=OLD, column="added", default=constant("1")), "change-new-column"),
    (
        (POSTGRESQL,),
        op.SetDefault(table=OLD, column="added", default=expression("gen_random_uuid()", "gen_random_uuid")),
        "change-new-column",
    ),
    (ALL, op.SetDefault(table=OLD, column="added", default=expression("f()", "f")), "default-calls-function"),
    ((POSTGRESQL,), op.SetColumnOption(table=OLD, column="name", option="statistics"), "set-column-option"),
    (
        (POSTGRESQL,),
        op.SetColumnOption(table=OLD, column="size", option="add identity"),
        "change-column-option",
    ),
    ((MYSQL,), op.SetColumnOption(table=OLD, column="size", option="invisible"), "hide-column"),
    ((MYSQL,), op.SetColumnOption(table=OLD, column="added", option="invisible"), "change-new-column"),
    ((MYSQL,), op.SetColumnOption(table=OLD, column="size", option="unheard of"), "unknown-option"),
    # --- types ---
    ((POSTGRESQL,), retype("name", "varchar(30)"), "widen-type"),
    ((POSTGRESQL,), retype("name", "text"), "widen-type"),
    (
        (POSTGRESQL,),
        op.SetColumnType(table=OLD, column="name", type=type_of("text"), collation="C"),
        "change-type",
    ),
    ((POSTGRESQL,), retype("name", "varchar(20)"), "no-change"),
    ((POSTGRESQL,), retype("name", "varchar(10)"), "change-type"),
    ((POSTGRESQL,), retype("name", "text", expression("upper(name)", "upper")), "change-type"),
    ((POSTGRESQL,), retype("size", "bigint"), "change-type-rewrite"),
    ((POSTGRESQL,), retype("price", "numeric(9,2)"), "widen-type"),
    ((POSTGRESQL,), retype("absent", "text"), "change-unknown-column"),
    ((POSTGRESQL,), op.SetColumnType(table=NEW, column="id", type=type_of("text")), "new-table"),
    ((POSTGRESQL,), retype("added", "bigint"), "change-type-rewrite"),
    ((POSTGRESQL,), retype("text", "varchar(30)"), "widen-type"),
    # --- MODIFY and CHANGE ---
    ((MYSQL, MARIADB), modify(column("name", "varchar(40)")), "widen-type"),
    ((MYSQL, MARIADB), modify(column("name", "varchar(20)", comment="x")), "set-column-option"),
    ((MYSQL, MARIADB), modify(column("name", "varchar(20)")), "no-change"),
    ((MYSQL,), modify(column("name", "varchar(80)")), "change-type-rewrite"),
    ((MARIADB,), modify(column("name", "varchar(80)")), "widen-type"),
    ((MYSQL, MARIADB), modify(column("name", "varchar(20)", nullable=False)), "set-not-null"),
    ((MYSQL, MARIADB), modify(column("x", "varchar(20)"), "name"), "rename-column"),
    ((MYSQL, MARIADB), modify(column("name", "varchar(20)", collation="x")), "change-type"),
    ((MYSQL, MARIADB), modify(column("name", "varchar(20)", invisible=True)), "hide-column"),
    ((MYSQL, MARIADB), modify(column("absent", "varchar(20)")), "change-unknown-column"),
    ((MYSQL, MARIADB), modify(column("size", "integer")), "drop-not-null"),
    ((MYSQL, MARIADB), modify(column("size", "bigint", nullable=False)), "change-type-rewrite"),
    ((MYSQL, MARIADB), modify(column("size", nullable=False, default=constant("0"))), "set-first-default"),
    ((MYSQL, MARIADB), modify(column("state", nullable=False)), "change-default"),
    (
        (MYSQL, MARIADB),
        modify(column("state", nullable=False, identity=True, default=constant("0"))),
        "change-generated",
    ),
    ((MYSQL, MARIADB), modify(column("touched", "datetime")), "change-generated"),
    ((MYSQL, MARIADB), modify(column("moment", "timestamp")), "change-nullable-timestamp"),
    ((MYSQL, MARIADB), modify(column("kind", "enum('a','b','c')")), "widen-type"),
    ((MYSQL, MARIADB), modify(column("kind", "enum('a','c','b')")), "add-enum-value-in-middle"),
    ((MYSQL, MARIADB), modify(column("kind", "enum('a')")), "change-type"),
    ((MYSQL, MARIADB), modify(column("added", nullable=False)), "add-not-null-column"),
    ((MYSQL, MARIADB), modify(column("better"), "added"), "change-new-column"),
    (
        (MYSQL, MARIADB),
        modify(column("name", "varchar(20)", constraints=(key(UNIQUE, "name"),))),
        "add-unique",
    ),
    ((MYSQL,), op.RedefineColumn(table=NEW, old="id", column=column("x", "text")), "new-table"),
    # --- indexes ---
    (ALL, index("name"), "create-index"),
    (ALL, index("name", unique=True), "create-unique-index"),
    (ALL, index("added", unique=True), "create-harmless-unique-index"),
    (ALL, index("name", "added", unique=True), "create-harmless-unique-index"),
    (ALL, index("five", unique=True), "create-unique-index"),
    ((POSTGRESQL,), index("added", unique=True, nulls_not_distinct=True), "create-unique-index"),
    (ALL, index(None), "create-expression-index"),
    ((POSTGRESQL, SQLITE), index(None, expressions=(TOTAL,)), "create-index"),
    ((MYSQL,), index(None, expressions=(TOTAL,)), "create-expression-index"),
    (ALL, index(None, expressions=(expression("100 / size"),)), "create-expression-index"),
    ((POSTGRESQL, SQLITE), index("name", where=expression("name IS NOT NULL")), "create-index"),
    ((POSTGRESQL, SQLITE), index("name", where=expression("100 / size > 1")), "create-expression-index"),
    ((POSTGRESQL,), index("name", method="gin"), "create-index"),
    ((POSTGRESQL,), index("name", method="hnsw"), "unknown-option"),
    ((MYSQL, MARIADB), index("name", method="fulltext"), "create-blocking-index"),
    ((MYSQL, MARIADB), index("name", method="spatial"), "create-blocking-index"),
    ((MYSQL,), index(None, expressions=(IS_GIVEN,)), "create-expression-index"),
    ((POSTGRESQL,), index("note"), "create-index-on-long-values"),
    ((POSTGRESQL,), index("wide", "wide"), "create-index-on-long-values"),
    ((POSTGRESQL,), index("wide"), "create-index"),
    ((POSTGRESQL,), index("name", included=("note",)), "create-index-on-long-values"),
    ((POSTGRESQL,), index("note", method="brin"), "create-index-on-long-values"),
    ((POSTGRESQL,), index("note", method="hash"), "create-index"),
    ((POSTGRESQL,), index("tags", method="gin"), "create-index-on-long-values"),
    ((POSTGRESQL,), index("added", "text", method="btree"), "create-index"),
    ((POSTGRESQL,), index("feeling"), "create-index"),
    ((POSTGRESQL,), index("address"), "create-index-on-long-values"),
    ((POSTGRESQL,), index("price", "size", "moment", "state"), "create-index"),
    ((POSTGRESQL,), index(None, expressions=(expression("left(note, 200)"),)), "create-index"),
    ((POSTGRESQL,), index(None, expressions=(expression("md5(note)"),)), "create-index"),
    ((POSTGRESQL,), index(None, expressions=(expression("note IS NULL"),)), "create-index"),
    ((POSTGRESQL,), index(None, expressions=(expression("lower(note)"),)), "create-index-on-long-values"),
    ((MYSQL, MARIADB, SQLITE), index("note"), "create-index"),
    (ALL, op.CreateIndex(table=NEW, index=Index(name="i", unique=True)), "new-table"),
    (ALL, op.DropIndex(index=Name("i"), table=OLD), "drop-index"),
    (ALL, op.DropIndex(index=Name("i"), table=NEW), "new-table"),
    (ALL, op.DropIndex(index=Name("i")), "drop-index"),
    ((MYSQL,), op.AlterIndex(index=Name("i"), table=OLD, change="visible"), "alter-index"),
    ((MYSQL,), op.AlterIndex(index=Name("i"), table=OLD, change="invisible"), "hide-index"),
    ((MARIADB,), op.AlterIndex(index=Name("i"), table=OLD, change="ignored"), "hide-index"),
    ((MARIADB,), op.AlterIndex(index=Name("i"), table=OLD, change="not ignored"), "alter-index"),
    (ALL, op.AlterIndex(index=Name("i"), table=OLD, change="rename"), "rename-index"),
    ((POSTGRESQL,), op.AlterIndex(index=Name("i"), change="attach partition"), "alter-index"),
    ((POSTGRESQL,), op.AlterIndex(index=Name("i"), change="tablespace"), "change-index"),
    (ALL, op.AlterIndex(index=Name("i"), change="unheard of"), "unknown-option"),
    # --- other objects ---
    (ALL, op.CreateView(view=Name("v")), "create-view"),
    (ALL, op.CreateView(view=Name("v"), replace=True), "create-view"),
    (ALL, op.CreateView(view=Name("shown"), replace=True), "replace-view"),
    (ALL, op.CreateTrigger(trigger=Name("g"), table=OLD), "create-trigger"),
    (ALL, op.CreateTrigger(trigger=Name("g"), table=NEW), "new-table"),
    (ALL, op.CreateRoutine(routine=Name("f")), "create-routine"),
    (ALL, op.CreateRoutine(routine=Name("f"), replace=True), "replace-routine"),
    ((POSTGRESQL,), op.CreateRoutine(routine=Name("known")), "overload-routine"),
    ((POSTGRESQL,), op.CreateRoutine(routine=Name("known", "other")), "overload-routine"),
    ((MYSQL, MARIADB), op.CreateRoutine(routine=Name("known")), "create-routine"),
    ((POSTGRESQL,), op.CreateRoutine(routine=Name("fresh")), "create-routine"),
    (
        (POSTGRESQL,),
        op.CreateObject(kind="schema", object=Name("app"), of_account=True),
        "create-schema-of-account",
    ),
    ((POSTGRESQL,), op.CreateObject(kind="schema", object=Name("app")), "create-object"),
    (ALL, op.CreateObject(kind="sequence", object=Name("s")), "create-object"),
    (ALL, op.CreateObject(kind="extension", object=Name("s")), "create-object"),
    (ALL, op.CreateObject(kind="policy", object=Name("s"), table=OLD), "create-active-object"),
    (ALL, op.CreateObject(kind="policy", object=Name("s"), table=NEW), "new-table"),
    (ALL, op.CreateObject(kind="publication", object=Name("s")), "create-active-object"),
    (ALL, op.CreateObject(kind="cast", object=Name("s")), "unknown-option"),
    (ALL, op.DropObject(kind="view", object=Name("shown")), "drop-object"),
    (ALL, op.DropObject(kind="view", object=Name("absent"), guarded=True), "no-change"),
    (ALL, op.DropObject(kind="trigger", object=Name("g"), table=NEW), "new-table"),
    (ALL, op.AlterObject(kind="sequence", object=Name("s"), change="restart"), "change-object"),
    (ALL, op.AlterObject(kind="sequence", object=Name("s"), change="owned by none"), "alter-object"),
    (ALL, owned(Name("s"), OLD, "size"), "alter-object"),
    (ALL, owned(Name("s"), OLD, "added"), "change-object"),
    (ALL, owned(Name("s"), NEW, "id"), "change-object"),
    (ALL, owned(Name("fresh"), NEW, "id"), "alter-object"),
    (ALL, op.AlterObject(kind="extension", object=Name("s"), change="update"), "change-object"),
    (ALL, op.AlterObject(kind="type", object=Name("s"), change="rename value"), "change-object"),
    (ALL, op.AlterObject(kind="type", object=Name("s"), change="unheard of"), "unknown-option"),
    ((POSTGRESQL,), op.AddEnumValue(type=Name("mood"), value="x"), "add-enum-value"),
    ((POSTGRESQL,), op.AddEnumValue(type=Name("mood"), value="x", neighbour="a"), "add-enum-value-in-middle"),
    ((POSTGRESQL,), op.AddEnumValue(type=Name("mood"), value="x", neighbour="last"), "add-enum-value"),
    (ALL, op.CommentOn(kind="table", object="old"), "comment"),
    (ALL, op.ChangePrivileges(takes_away=False), "grant"),
    (ALL, op.ChangePrivileges(takes_away=True), "revoke"),
    # --- statements ---
    (ALL, op.ChangeRows(verb="insert", table=NEW), "seed-rows"),
    (ALL, op.ChangeRows(verb="insert", table=NEW, selects=True), "copy-rows"),
    (ALL, op.ChangeRows(verb="insert", table=OLD), "change-rows"),
    (ALL, op.ChangeRows(verb="update", table=OLD), "change-rows"),
    (ALL, op.ChangeRows(verb="update", table=None), "change-rows"),
    (ALL, op.ChangeRows(verb="insert", table=NEW, calls=("f",)), "unknown-function"),
    (ALL, op.ChangeRows(verb="truncate", table=OLD), "truncate"),
    (ALL, op.ChangeRows(verb="unheard of", table=OLD), "unknown-option"),
    (ALL, op.Query(), "query"),
    (ALL, op.Query(calls=("setval",)), "unknown-function"),
    (ALL, op.Query(locks_rows=True), "lock-rows"),
    (ALL, op.ChangeSession(setting="lock_timeout", harmless=True), "session-setting"),
    (ALL, op.ChangeSession(setting="search_path"), "unknown-setting"),
    (ALL, op.ControlTransaction(verb="commit"), "control-transaction"),
    (ALL, op.ControlTransaction(verb="savepoint"), "savepoint"),
    (ALL, op.ControlTransaction(verb="release"), "savepoint"),
    (ALL, op.ControlTransaction(verb="rollback to"), "savepoint"),
    (ALL, op.Maintain(verb="analyze", object=OLD), "maintain"),
    (ALL, op.Maintain(verb="cluster", object=OLD), "rewrite-table"),
    ((POSTGRESQL,), op.Maintain(verb="reindex", object=OLD), "rewrite-table"),
    ((POSTGRESQL,), op.Maintain(verb="reindex", object=OLD, concurrently=True), "maintain"),
    ((POSTGRESQL,), op.Maintain(verb="refresh", object=Name("shown")), "rewrite-table"),
    ((SQLITE,), op.Maintain(verb="reindex", object=OLD), "maintain"),
    ((POSTGRESQL,), op.Maintain(verb="vacuum full", object=OLD), "rewrite-table"),
    (ALL, op.Maintain(verb="cluster", object=NEW), "new-table"),
    (ALL, op.Maintain(verb="unheard of", object=OLD), "unknown-option"),
    (ALL, op.RunCode(verb="do"), "run-code"),
    (ALL, op.Unrecognized(what="FROBNICATE"), "unrecognized"),
]
EVERY = [(server, operation, rule) for servers, operation, rule in CASES for server in servers]


@pytest.mark.parametrize(
    ("server", "operation", "rule"), EVERY, ids=lambda value: getattr(value, "product", None)
)
def test_operation(server: Server, operation: Operation, rule: str) -> None:
    verdict = judge(operation, server, known())
    assert verdict.rule == rule, verdict
    assert verdict.place is RULES[rule].place
    assert bool(verdict.reason) is not verdict.additive, "a reason, unless it is additive"
    assert bool(verdict.hint) is not verdict.additive


@pytest.mark.parametrize("server", ALL, ids=lambda server: server.product)
def test_without_knowledge_nothing_that_depends_on_it_is_additive(server: Server) -> None:
    for servers, operation, rule in CASES:
        verdict = judge(operation, server, NothingKnown())
        if server in servers and not judge(operation, server, known()).additive:
            assert not verdict.additive or rule == "create-table", (operation, verdict)


# Views and tables that do not exist are new only if the schema is known.
NOT_IN_CASES = {"create-sync", "unknown-operation", "unreadable", "hide-table"}


class _Hiding(NothingKnown):
    def hides_table(self, table: Name) -> bool | None:
        return table == OLD


@pytest.mark.parametrize(("guarded", "temporary"), [(False, False), (True, False)])
def test_table_that_hides_one_of_old_code(guarded: bool, temporary: bool) -> None:
    create = op.CreateTable(table=OLD, guarded=guarded, temporary=temporary)
    assert judge(create, POSTGRESQL, _Hiding()).rule == "hide-table"
    assert judge(op.CreateTable(table=NEW), POSTGRESQL, _Hiding()).rule == "create-table"


def test_statement_of_create_sync() -> None:
    """Only the very text that the operation has rendered is accepted."""
    text = "CREATE TRIGGER online_migrate_sync_x BEFORE INSERT ON old FOR EACH ROW SET NEW.a = 1"
    judge = ScriptJudge(Server("mysql"))
    assert [one.verdict.rule for one in judge.statement(text)] == ["create-trigger"]
    remember([text])
    assert [str(one.verdict) for one in judge.statement(text)] == ["create-sync online_migrate_sync_x"]
    assert [one.verdict.rule for one in judge.statement(f"{text}0")] == ["create-trigger"]


def test_each_rule_is_reached() -> None:
    assert {rule for _, _, rule in EVERY} == set(RULES) - NOT_IN_CASES


def test_each_class_of_operation_has_a_decision() -> None:
    classes = {
        kind
        for _, kind in inspect.getmembers(op, inspect.isclass)
        if issubclass(kind, Operation) and kind is not Operation
    }
    assert classes == set(DECISIONS)


def test_a_class_of_operation_without_a_decision_is_refused() -> None:
    class Unheard(Operation):
        pass

    verdict = judge(Unheard(), POSTGRESQL, NothingKnown())
    assert (verdict.rule, verdict.place) == ("unknown-operation", Place.REFUSED)


TYPES = [
    ("postgresql", "varchar(10)", "varchar(11)", TypeChange.WIDER),
    ("postgresql", "varchar(10)", "varchar", TypeChange.WIDER),
    ("postgresql", "varchar(10)", "text", TypeChange.WIDER),
    ("postgresql", "text", "varchar", TypeChange.WIDER),
    ("postgresql", "text", "varchar(10)", TypeChange.OTHER),
    ("postgresql", "char(5)", "text", TypeChange.OTHER),
    ("postgresql", "numeric(5,2)", "numeric(7,2)", TypeChange.WIDER),
    ("postgresql", "numeric(5,2)", "numeric", TypeChange.WIDER),
    ("postgresql", "numeric", "numeric(5,2)", TypeChange.OTHER),
    ("postgresql", "numeric(5,2)", "numeric(9,4)", TypeChange.COPIED),
    ("postgresql", "numeric(5,2)", "numeric(5,3)", TypeChange.OTHER),
    ("postgresql", "timestamp(3)", "timestamp(6)", TypeChange.WIDER),
    ("postgresql", "timestamp(3)", "timestamp", TypeChange.WIDER),
    ("postgresql", "timestamp", "timestamptz", TypeChange.OTHER),
    ("postgresql", "cidr", "inet", TypeChange.WIDER),
    ("postgresql", "integer", "bigint", TypeChange.COPIED),
    ("postgresql", "bigint", "integer", TypeChange.OTHER),
    ("mysql", "varchar(10)", "varchar(63)", TypeChange.WIDER),
    ("mysql", "varchar(63)", "varchar(64)", TypeChange.COPIED),
    ("mysql", "varchar(256)", "varchar(1000)", TypeChange.WIDER),
    ("mysql", "varbinary(100)", "varbinary(255)", TypeChange.WIDER),
    ("mysql", "varbinary(100)", "varbinary(256)", TypeChange.COPIED),
    ("mysql", "varchar(10)", "text", TypeChange.OTHER),
    ("mysql", "char(5)", "char(6)", TypeChange.OTHER),
    ("mysql", "integer", "bigint", TypeChange.COPIED),
    ("mysql", "datetime", "datetime(6)", TypeChange.OTHER),
    ("mysql", "text", "mediumtext", TypeChange.COPIED),
    ("mysql", "set('a')", "set('a','b')", TypeChange.WIDER),
    (
        "mysql",
        "set('1','2','3','4','5','6','7','8')",
        "set('1','2','3','4','5','6','7','8','9')",
        TypeChange.COPIED,
    ),
    ("mariadb", "varchar(31)", "varchar(500)", TypeChange.WIDER),
    ("mariadb", "varchar(63)", "varchar(64)", TypeChange.COPIED),
    ("sqlite", "varchar(10)", "varchar(20)", TypeChange.OTHER),
]


@pytest.mark.parametrize(("product", "old", "new", "change"), TYPES)
def test_types(product: str, old: str, new: str, change: TypeChange) -> None:
    assert compare_types(type_of(old), type_of(new), product) is change


def test_the_character_set_decides_the_length_bytes() -> None:
    def compare(charset: str | None) -> TypeChange:
        types = (dataclasses.replace(type_of(f"varchar({n})"), charset=charset) for n in (100, 200))
        return compare_types(*types, "mysql")

    assert compare("latin1") is compare("utf8mb4") is TypeChange.WIDER
    assert compare(None) is TypeChange.COPIED  # in a character set of two bytes


def test_another_character_set_is_another_type() -> None:
    old, new = SqlType("varchar", ("10",), charset="latin1"), SqlType("varchar", ("20",), charset="utf8mb4")
    assert compare_types(old, new, "mysql") is TypeChange.OTHER


def test_elements_of_an_array_are_converted() -> None:
    """PostgreSQL rewrites the table; for a type that is no array it changes only the definition."""
    for old, new in (("10", "20"), ("10", "10")):
        types = [SqlType("varchar", (length,), array=True) for length in (old, new)]
        assert compare_types(*types, "postgresql") is (TypeChange.SAME if old == new else TypeChange.COPIED)


# --- texts ----------------------------------------------------------------------------------------

TABLE = "CREATE TABLE t (id bigint PRIMARY KEY, a int, s varchar(20), n int NOT NULL)"
TEXTS: list[tuple[Server, str, list[str]]] = [
    (POSTGRESQL, "ALTER TABLE t ADD b int, ADD UNIQUE (b)", ["add-column", "add-harmless-constraint"]),
    (POSTGRESQL, "ALTER TABLE t ADD b int, ADD UNIQUE NULLS NOT DISTINCT (b)", ["add-column", "add-unique"]),
    (
        POSTGRESQL,
        "ALTER TABLE t ADD b int; ALTER TABLE t ADD FOREIGN KEY (b) REFERENCES t NOT VALID",
        ["add-column", "add-harmless-constraint"],
    ),
    (
        POSTGRESQL,
        "ALTER TABLE t ADD b int; ALTER TABLE t ADD CHECK (b IS NOT NULL) NOT VALID",
        ["add-column", "add-check"],
    ),
    (POSTGRESQL, "ALTER TABLE t ADD b jsonb NOT NULL DEFAULT '{}'::jsonb", ["add-column"]),
    (POSTGRESQL, "ALTER TABLE t ADD b timestamp DEFAULT (now() AT TIME ZONE 'utc')", ["add-column"]),
    (
        POSTGRESQL,
        "CREATE TYPE mood AS ENUM ('a'); ALTER TABLE t ADD m mood; ALTER TYPE mood ADD VALUE 'b' BEFORE 'a'",
        ["create-object", "add-column", "add-enum-value"],
    ),
    (POSTGRESQL, "CREATE INDEX i ON t (lower(s)) WHERE s IS NOT NULL", ["create-index"]),
    (POSTGRESQL, "CREATE INDEX i ON t ((100 / a))", ["create-expression-index"]),
    (POSTGRESQL, "CREATE UNIQUE INDEX i ON t (s)", ["create-unique-index"]),
    (POSTGRESQL, "ALTER TABLE t ALTER s TYPE text", ["widen-type"]),
    (POSTGRESQL, 'ALTER TABLE t ALTER s TYPE text COLLATE "C"', ["change-type"]),
    (POSTGRESQL, "ALTER TABLE t ALTER n SET DEFAULT 0", ["set-first-default"]),
    (POSTGRESQL, "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", ["change-rows"]),
    (POSTGRESQL, "EXPLAIN ANALYZE DELETE FROM t", ["change-rows"]),
    (POSTGRESQL, "SELECT setval('s', 1)", ["unknown-function"]),
    (POSTGRESQL, "DO $$ BEGIN END $$", ["run-code"]),
    (POSTGRESQL, "SET lock_timeout = '1s'; SET search_path = x", ["session-setting", "unknown-setting"]),
    (POSTGRESQL, "VACUUM (VERBOSE, FULL) t", ["rewrite-table"]),
    (POSTGRESQL, "SELECT 'a", ["unreadable"]),
    (POSTGRESQL, "FROBNICATE t", ["unrecognized"]),
    (
        POSTGRESQL,
        "CREATE TABLE u (id int REFERENCES t); CREATE UNIQUE INDEX i ON u (id); INSERT INTO u VALUES (1)",
        ["create-table", "new-table", "seed-rows"],
    ),
    (POSTGRESQL, "CREATE TABLE u (id int); INSERT INTO u SELECT id FROM t", ["create-table", "copy-rows"]),
    (
        POSTGRESQL,
        "DROP TABLE t; CREATE TABLE t (id int); DROP TABLE t",
        ["drop-table", "create-table", "drop-table"],
    ),
    (MYSQL, "/*!50000 DROP TABLE t */", ["drop-table"]),
    (MYSQL, "ALTER TABLE t ADD b int AFTER a, ALGORITHM=INPLACE", ["add-column", "set-table-option"]),
    (MYSQL, "ALTER TABLE t ADD b int, ADD UNIQUE ((100 / a), b)", ["add-column", "add-unique"]),
    (MYSQL, "ALTER TABLE t ADD PARTITION (PARTITION p VALUES LESS THAN (5))", ["add-partition"]),
    (MYSQL, "ALTER TABLE t ADD PARTITION PARTITIONS 4", ["change-partitions"]),
    (MYSQL, "ALTER TABLE t ADD v int AS (a - 1)", ["add-generated-column"]),
    (
        MYSQL,
        "ALTER TABLE t ADD v int AS (a) VIRTUAL, ADD INDEX i (v)",
        ["add-generated-column", "create-index"],
    ),
    (MYSQL, "ALTER TABLE t ADD v int AS (a) VIRTUAL, ADD w int AS (n) VIRTUAL", ["add-column", "add-column"]),
    (
        MARIADB,
        "ALTER TABLE t ADD v int AS (a) VIRTUAL, ALGORITHM=INSTANT",
        ["add-column", "set-table-option"],
    ),
    (MARIADB, "ALTER TABLE t ADD v int DEFAULT NEXT VALUE FOR s", ["default-calls-function"]),
    (MARIADB, "SELECT NEXT VALUE FOR s", ["unknown-function"]),
    (MARIADB, "SELECT PREVIOUS VALUE FOR s", ["query"]),
    (POSTGRESQL, "CREATE MATERIALIZED VIEW v AS SELECT setval('s', 1)", ["create-view", "unknown-function"]),
    (POSTGRESQL, "CREATE MATERIALIZED VIEW v AS SELECT 1 WITH NO DATA", ["create-view"]),
    (MYSQL, "ALTER TABLE t ADD v tinyint AS (IF(s IS NULL, 1, NULL))", ["add-column"]),
    (MYSQL, "SET GLOBAL lock_wait_timeout = 1", ["unknown-setting"]),
    (MARIADB, "ALTER TABLE t MODIFY s varchar(500)", ["widen-type"]),
    (MARIADB, "SET STATEMENT max_statement_time = 1 FOR DELETE FROM t", ["session-setting", "change-rows"]),
    (SQLITE, "ALTER TABLE t ADD b int REFERENCES t (id)", ["add-column"]),
    (SQLITE, "PRAGMA user_version = 3", ["unknown-setting"]),
    # --- a write to a new table or view that reaches an old one ---
    *(
        (server, "CREATE VIEW v AS SELECT a FROM t; DELETE FROM v", ["create-view", "change-rows"])
        for server in ALL
    ),
    (
        SQLITE,
        "CREATE TABLE u (a int); CREATE TRIGGER g AFTER INSERT ON u BEGIN DELETE FROM t; END;"
        " INSERT INTO u VALUES (1)",
        ["create-table", "new-table", "change-rows"],
    ),
    (
        POSTGRESQL,
        "CREATE TABLE u (a int); CREATE RULE r AS ON INSERT TO u DO ALSO DELETE FROM t;"
        " INSERT INTO u VALUES (1)",
        ["create-table", "new-table", "change-rows"],
    ),
    *(
        (server, f"CREATE TABLE u (a int); {text}", ["create-table", "change-rows"])
        for server in (MYSQL, MARIADB)
        for text in (
            "UPDATE u x JOIN t SET t.a = 1",
            "UPDATE u AS x, t SET t.a = 1",
            "UPDATE u STRAIGHT_JOIN t SET t.a = 1",
            "DELETE FROM u, t USING u JOIN t",
        )
    ),
    (MYSQL, "CREATE TABLE u (a int); UPDATE u SET a = (SELECT max(a) FROM t)", ["create-table", "copy-rows"]),
    (POSTGRESQL, "CREATE TABLE u (a int); TRUNCATE u CASCADE", ["create-table", "seed-rows", "truncate"]),
    (POSTGRESQL, "CREATE TABLE u (a int); COPY u FROM PROGRAM 'cat'", ["create-table", "run-code"]),
    (
        POSTGRESQL,
        "CREATE TABLE u PARTITION OF t FOR VALUES IN (1); ALTER TABLE u ADD CHECK (false)",
        ["create-partition", "add-check"],
    ),
    (
        POSTGRESQL,
        "CREATE TABLE u (a int); ALTER TABLE t ATTACH PARTITION u FOR VALUES IN (1);"
        " ALTER TABLE u ALTER a SET NOT NULL",
        ["create-table", "attach-new-partition", "set-not-null"],
    ),
    (
        POSTGRESQL,
        "CREATE TABLE u (); CREATE TABLE w () INHERITS (u, t)",
        ["create-table", "create-table", "inherit-table"],
    ),
    (POSTGRESQL, "CREATE FOREIGN TABLE f () INHERITS (t) SERVER s", ["unrecognized"]),
    (POSTGRESQL, "CREATE FOREIGN TABLE f PARTITION OF t FOR VALUES IN (1) SERVER s", ["unrecognized"]),
    # --- names that look like the begin of a body ---
    *(
        (POSTGRESQL, f"{text}; DROP TABLE t; SELECT 1 AS end", [rule, "drop-table", "query"])
        for text, rule in (
            ("CREATE FUNCTION f(begin int) RETURNS int LANGUAGE sql AS 'SELECT 1'", "create-routine"),
            ("CREATE VIEW function AS SELECT 1 AS begin", "create-view"),
            ("CREATE TYPE procedure AS (begin int)", "create-object"),
            ("CREATE TRIGGER begin BEFORE INSERT ON t EXECUTE FUNCTION f()", "create-trigger"),
        )
    ),
    (
        SQLITE,
        "CREATE VIEW trigger AS SELECT 1 AS begin; DROP TABLE t; END",
        ["create-view", "drop-table", "control-transaction"],
    ),
    # --- options ---
    (POSTGRESQL, 'EXPLAIN ("analyze") DELETE FROM t', ["change-rows"]),
    (POSTGRESQL, "EXPLAIN (ANALYZE off, ANALYZE) DELETE FROM t", ["change-rows"]),
    (POSTGRESQL, "EXPLAIN (ANALYZE off) DELETE FROM t", ["query"]),
    (POSTGRESQL, 'VACUUM ("full") t', ["rewrite-table"]),
    (POSTGRESQL, "ALTER SEQUENCE s OWNED BY NONE RESTART WITH 1", ["change-object"]),
    (POSTGRESQL, "ALTER SEQUENCE s OWNED BY t.a", ["alter-object"]),
    (POSTGRESQL, "GRANT r TO app WITH INHERIT FALSE", ["unrecognized"]),
    (POSTGRESQL, "GRANT r TO app WITH ADMIN OPTION", ["grant"]),
    (MARIADB, "GRANT USAGE ON *.* TO app IDENTIFIED BY 'new'", ["unrecognized"]),
    (MARIADB, "GRANT USAGE ON *.* TO app REQUIRE SSL", ["unrecognized"]),
    (MARIADB, "GRANT SELECT ON t TO app WITH GRANT OPTION", ["grant"]),
    (POSTGRESQL, "ALTER TABLE v SET (security_invoker = true)", ["change-table-option"]),
    (POSTGRESQL, "ALTER TABLE t ALTER s SET STORAGE PLAIN", ["change-column-option"]),
    # --- values that do not fit, and conditions that fail ---
    *(
        (
            POSTGRESQL,
            f"ALTER TABLE t ADD c {type}; ALTER TABLE t ALTER c SET DEFAULT {default}",
            ["add-column", rule],
        )
        for type, default, rule in (
            ("varchar(3)", "'four'", "default-calls-function"),
            ("varchar(4)", "'four'", "change-new-column"),
            ("smallint", "100000", "default-calls-function"),
            ("numeric(3,1)", "100", "default-calls-function"),
            ("numeric(3,1)", "99.9", "change-new-column"),
            ("varchar(20)", "now()", "default-calls-function"),
            ("varchar(35)", "gen_random_uuid()::text", "default-calls-function"),
            ("varchar(36)", "gen_random_uuid()::text", "change-new-column"),
        )
    ),
    *(
        (server, f"ALTER TABLE t ADD v {column}", ["add-generated-column"])
        for server in (MYSQL, MARIADB)
        for column in ("tinyint AS (a) VIRTUAL", "date AS (s) VIRTUAL", "int AS (NOT s) VIRTUAL")
    ),
    *(
        (server, f"CREATE USER {name} IDENTIFIED BY 'x'", [rule])
        for server in (MYSQL, MARIADB)
        for name, rule in (
            ("'app'@'%'", "create-object"),
            ("app", "create-object"),
            ("'app'@'localhost'", "create-active-object"),
            ("app@localhost", "create-active-object"),
            ("a@'%', b@'10.%'", "create-active-object"),
        )
    ),
    (MYSQL, "ALTER TABLE t ADD PARTITION (PARTITION p)", ["change-partitions"]),
    (POSTGRESQL, "CREATE AGGREGATE f(int) (SFUNC = int4pl, STYPE = int)", ["create-object"]),
    (MARIADB, "ALTER TABLE t ADD c int DEFAULT 5.4 CHECK (c = 5.4)", ["add-check"]),
    (MARIADB, "ALTER TABLE t ADD c int CHECK (c > 0 OR s)", ["add-check"]),
    (MARIADB, "ALTER TABLE t ADD c int CHECK (s > c)", ["add-check"]),
    (MARIADB, "ALTER TABLE t ADD c int CHECK (c + s > 0)", ["add-check"]),
    (MARIADB, "ALTER TABLE t ADD c int CHECK (c > s)", ["add-column"]),
    (MARIADB, "ALTER TABLE t ADD c int CHECK (c > 0)", ["add-column"]),
    (POSTGRESQL, "ALTER TABLE t ADD c int; ALTER TABLE t ADD CHECK (1 / a > c)", ["add-column", "add-check"]),
]


@pytest.mark.parametrize(
    ("server", "text", "rules"), TEXTS, ids=lambda value: getattr(value, "product", None)
)
def test_text(server: Server, text: str, rules: list[str]) -> None:
    known = VirtualSchema(empty=True)
    for operation in read_operations(TABLE, server.product):
        known.apply(operation)
    known.begin_group()
    verdicts = judge_text(text, server, known)
    assert [verdict.rule for verdict in verdicts] == rules, verdicts
    assert known.table_exists(Name("u")) is False, "the known schema is not changed"


def test_new_aggregate_may_overload_a_function_of_old_code() -> None:
    text = "CREATE AGGREGATE f(int) (SFUNC = int4pl, STYPE = int)"
    [verdict] = judge_text(text, POSTGRESQL, NothingKnown())
    assert verdict.rule == "overload-routine"


@pytest.mark.parametrize("type", ["tsquery", "int4multirange"])
def test_index_on_a_type_of_any_length(type: str) -> None:
    schema = applied(op.CreateTable(table=OLD, columns=(column("c", type),)))
    schema.begin_group()
    assert judge(index("c"), POSTGRESQL, schema).rule == "create-index-on-long-values"
    assert judge(index("c", method="gist"), POSTGRESQL, schema).rule == "create-index"


# --- the schema -----------------------------------------------------------------------------------


def applied(*operations: Operation, below: KnownSchema | None = None, empty: bool = False) -> VirtualSchema:
    schema = VirtualSchema(below, empty=empty)
    for operation in operations:
        schema.apply(operation)
    return schema


T = Name("t")


def test_a_created_table_is_new_until_the_next_group() -> None:
    schema = applied(op.CreateTable(table=T, columns=(column(),)))
    assert schema.is_new_table(T)
    assert schema.is_new_column(T, "c")
    assert schema.column(T, "c") == column()
    assert schema.table_exists(T) is True
    schema.begin_group()
    assert not schema.is_new_table(T)
    assert not schema.is_new_column(T, "c")
    assert schema.column(T, "c") == column()


def test_a_table_that_is_dropped_and_created_again_is_not_new() -> None:
    schema = applied(op.DropTable(table=T), op.CreateTable(table=T))
    assert not schema.is_new_table(T)
    schema = applied(op.RenameTable(table=T, new=Name("u")), op.CreateTable(table=T))
    assert not schema.is_new_table(T)
    assert not schema.is_new_table(Name("u"))


def test_a_new_table_that_is_dropped_and_created_again_is_new() -> None:
    schema = applied(op.CreateTable(table=T), op.DropTable(table=T), op.CreateTable(table=T))
    assert schema.is_new_table(T)


def test_if_not_exists_makes_a_table_new_only_if_it_did_not_exist() -> None:
    created = op.CreateTable(table=T, guarded=True)
    assert not applied(created).is_new_table(T)
    assert applied(created, empty=True).is_new_table(T)
    schema = applied(op.CreateTable(table=T), empty=True)
    schema.begin_group()
    schema.apply(created)
    assert not schema.is_new_table(T)


def test_an_added_column_is_new_and_has_a_definition() -> None:
    schema = applied(op.AddColumn(table=T, column=column()))
    assert schema.is_new_column(T, "c")
    assert not schema.is_new_column(T, "d")
    assert not schema.is_new_table(T)
    assert schema.column(T, "c") == column()


def test_a_column_that_is_dropped_and_added_again_is_not_new() -> None:
    schema = applied(op.DropColumn(table=T, column="c"), op.AddColumn(table=T, column=column()))
    assert not schema.is_new_column(T, "c")
    assert schema.column(T, "c") == column()


def test_add_column_if_not_exists_is_new_only_in_a_table_that_is_known() -> None:
    added = op.AddColumn(table=T, column=column("d"), guarded=True)
    assert not applied(added).is_new_column(T, "d")
    assert applied(added).column(T, "d") is None
    schema = applied(op.CreateTable(table=T, columns=(column(),)))
    schema.begin_group()
    schema.apply(added)
    assert schema.is_new_column(T, "d")


CHANGES: list[tuple[Operation, Column | None]] = [
    (op.SetNotNull(table=T, column="c"), column(nullable=False)),
    (op.SetDefault(table=T, column="c", default=NOW), column(default=NOW)),
    (op.SetColumnType(table=T, column="c", type=type_of("text")), column(type="text")),
    (op.RedefineColumn(table=T, old="c", column=column(type="text")), column(type="text")),
    (op.SetColumnOption(table=T, column="c", option="invisible"), column(invisible=True)),
    (op.SetColumnOption(table=T, column="c", option="comment"), column()),
    (op.SetColumnOption(table=T, column="c", option="add identity"), None),
    (op.SetTableOption(table=T, option="convert to charset"), None),
    (op.SetTableOption(table=T, option="comment"), column()),
    (op.AddConstraint(table=T, constraint=key(ConstraintKind.PRIMARY_KEY, "c")), column(nullable=False)),
    (op.AddConstraint(table=T, constraint=key(UNIQUE, "c")), column()),
    (op.DropColumn(table=T, column="c"), None),
    (op.RenameColumn(table=T, column="c", new="d"), None),
    (op.RenameTable(table=T, new=Name("u")), None),
    (op.DropTable(table=T), None),
    (op.DropColumn(table=T, column="C"), None),
    (op.SetDefault(table=Name("t", "public"), column="c", default=NOW), None),
    (op.DropTable(table=Name("T")), None),
    (op.RunCode(verb="do"), None),
    (op.Unrecognized(what="x"), None),
    (op.Query(calls=("f",)), None),
    (op.Query(), column()),
    (op.ControlTransaction(verb="rollback"), None),
    (op.ChangeSession(setting="search_path"), None),
    (op.DropObject(kind="schema", object=Name("x")), None),
]


@pytest.mark.parametrize(("operation", "definition"), CHANGES, ids=lambda value: type(value).__name__)
def test_what_is_known_of_a_column_after_an_operation(
    operation: Operation, definition: Column | None
) -> None:
    created = op.CreateTable(table=T, columns=(column(),))
    assert applied(created, operation).column(T, "c") == definition
    below = applied(created)
    assert applied(operation, below=below).column(T, "c") == definition


def test_a_renamed_column_keeps_its_definition() -> None:
    schema = applied(op.CreateTable(table=T, columns=(column(),)))
    schema.begin_group()
    schema.apply(op.RenameColumn(table=T, column="c", new="d"))
    assert schema.column(T, "d") == column("d")
    assert not schema.is_new_column(T, "d")


def test_nothing_is_new_after_an_operation_that_is_not_known() -> None:
    schema = applied(op.CreateTable(table=T), op.RunCode(verb="do"), op.CreateTable(table=Name("u")))
    assert not schema.is_new_table(T)
    assert not schema.is_new_table(Name("u"))
    assert not applied(op.RunCode(verb="do"), op.AddColumn(table=T, column=column())).is_new_column(T, "c")


def test_the_schema_below_is_seen_and_not_changed() -> None:
    below = applied(op.CreateTable(table=T, columns=(column(),)))
    schema = applied(
        op.AddColumn(table=T, column=column("d")), op.DropColumn(table=T, column="c"), below=below
    )
    assert schema.is_new_table(T)
    assert schema.column(T, "c") is None
    assert below.column(T, "c") == column()
    assert below.column(T, "d") is None


def test_types_of_the_revisions_are_known() -> None:
    schema = applied(
        op.CreateObject(kind="type", object=Name("mood")),
        op.CreateObject(kind="domain", object=Name("email")),
    )
    assert schema.type_kind(SqlType("mood")) == "other"
    assert schema.type_kind(SqlType("email")) == "domain"
    assert schema.type_kind(SqlType("other")) is None


def test_a_routine_of_this_group_is_not_known_to_old_code() -> None:
    created = op.CreateRoutine(routine=Name("F"))
    schema = applied(created, empty=True)
    assert schema.routine_exists(Name("f")) is False
    schema.begin_group()
    assert schema.routine_exists(Name("f")) is True
    assert schema.routine_exists(Name("g")) is False
    assert applied(created).routine_exists(Name("f")) is None
    assert applied(op.RunCode(verb="do"), empty=True).routine_exists(Name("f")) is None


def test_a_schema_of_the_name_of_an_account_is_not_additive() -> None:
    class OneRole(NothingKnown):
        def role_exists(self, role: str) -> bool | None:
            return role == "app"

    verdicts = judge_text("CREATE SCHEMA app; CREATE SCHEMA other", POSTGRESQL, OneRole())
    assert [verdict.rule for verdict in verdicts] == ["create-schema-of-account", "create-object"]


def test_without_a_version_the_oldest_supported_one_is_assumed() -> None:
    assert POSTGRESQL.at_least(12)
    assert not POSTGRESQL.at_least(13)
    assert Server("mariadb", (11, 4, 2)).at_least(11, 4)
