"""Every rule that a verdict can name: its id, the place that it gives, and what it is about. Pure data.

An id does not change between releases: scripts and settings of users name it.
"""

from __future__ import annotations

import dataclasses

from online_migrate.phases.verdict import Place, Verdict


@dataclasses.dataclass(frozen=True)
class Rule:
    """*place*: where an operation belongs to which the rule applies. *summary*: one sentence."""

    place: Place
    summary: str


_ANYWHERE = {
    "query": "A query that only reads.",
    "savepoint": "A savepoint, its release, or a rollback to it.",
    "session-setting": "A setting of the session that changes neither rows nor definitions.",
}
_EXPAND = {
    "new-table": "A change of a table that the same revisions create.",
    "create-table": "A new table, with everything inside.",
    "create-partition": "A new, empty partition or child table.",
    "create-sync": "A trigger of op.create_sync: it only assigns the shape that a statement did not write.",
    "add-column": "A new column for which an INSERT of old code gets a value or NULL.",
    "change-new-column": "A change of a column that the same revisions add.",
    "widen-type": "A wider type, where the server changes only the definition.",
    "drop-not-null": "A column accepts NULL; old code reads NULL only after new code has written it.",
    "set-first-default": (
        "A default for a NOT NULL column without one, to which old code always gives a value."
    ),
    "set-column-option": "A property of a column without effect on its values.",
    "set-table-option": "A property of a table without effect on its rows.",
    "no-change": "The operation repeats what is known to be so already.",
    "add-harmless-constraint": "A constraint that every row passes which old code writes.",
    "validate-constraint": "Existing rows are checked; which rows may be written does not change.",
    "create-index": "An index that is not unique.",
    "create-harmless-unique-index": "A unique index on a new column that old code leaves NULL.",
    "alter-index": "A property of an index without effect on rows.",
    "attach-new-partition": "A table that the same revisions create becomes a partition.",
    "add-partition": "A partition for values that no partition had.",
    "create-view": "A new view.",
    "create-routine": "A new function or procedure.",
    "create-object": "A new sequence, type, schema, extension or other object that old code does not use.",
    "alter-object": "A property of an object without effect on old code.",
    "add-enum-value": "A new value of an enum type; old values and their order stay.",
    "comment": "A comment.",
    "grant": "A privilege is given.",
    "seed-rows": "Rows of a table that the same revisions create.",
    "maintain": "Maintenance that changes no definition and no row.",
}
_DATA = {
    "change-rows": "Rows of a table that old code uses are changed.",
    "create-table-as-select": "A table is filled by a query.",
    "copy-rows": "Rows of a new table are copied by a query.",
}
_CONTRACT = {
    "drop-table": "A table is dropped.",
    "rename-table": "A table is renamed.",
    "replace-table": "CREATE OR REPLACE drops an existing table.",
    "hide-table": "A new table hides one of old code, because its schema is earlier in the search_path.",
    "partition-with-constraint": "A new partition has constraints of its own.",
    "change-table-option": "A property of a table changes that old code depends on, or the table is copied.",
    "change-row-security": "Row level security changes which rows old code can read and write.",
    "change-replica-identity": (
        "The replica identity decides whether a published table accepts UPDATE and DELETE."
    ),
    "change-partitions": "Rows move between partitions, are removed, or get out of reach.",
    "inherit-table": "The rows of a table become rows of a parent that old code reads.",
    "attach-existing-partition": "A table that old code may write becomes a partition.",
    "drop-column": "A column is dropped.",
    "rename-column": "A column is renamed.",
    "add-not-null-column": "A NOT NULL column without a default.",
    "add-identity-column": "An AUTO_INCREMENT, serial or identity column; the table is rewritten.",
    "add-generated-column": "A generated column that is stored, or whose expression can fail.",
    "add-column-rewrite": "A default for which the server rewrites or copies the whole table.",
    "default-calls-function": "A default that calls a function which old code may not be able to execute.",
    "change-type": "A type that does not accept all old values, or that changes them.",
    "change-type-rewrite": "A wider type for which the server rewrites or copies the whole table.",
    "change-unknown-column": "A new definition of a column whose definition is not known.",
    "set-not-null": "A column no longer accepts NULL.",
    "change-default": "A default that old code relies on is changed or dropped.",
    "change-generated": "What the server computes for a column changes.",
    "change-nullable-timestamp": "TIMESTAMP becomes nullable: NULL no longer stands for the current time.",
    "hide-column": "A column becomes invisible.",
    "change-column-option": "A property of a column changes that old code depends on.",
    "add-primary-key": "A primary key on a table that old code writes.",
    "add-unique": "A unique constraint on columns that old code writes.",
    "add-exclude": "An exclusion constraint on a table that old code writes.",
    "add-check": "A check that a row of old code may not pass, or that reads or copies the table.",
    "add-foreign-key": "A foreign key on columns that old code writes, or that reads or copies the table.",
    "drop-constraint": "A constraint is dropped.",
    "alter-constraint": "A constraint changes when or whether it is checked.",
    "create-unique-index": "A unique index on columns that old code writes.",
    "create-expression-index": (
        "An index with an expression or condition that can fail for a row of old code."
    ),
    "create-index-on-long-values": (
        "An index that refuses a long value of old code, or whose columns are not known (PostgreSQL)."
    ),
    "create-blocking-index": "An index that the server builds only while the writers of the table wait.",
    "drop-index": "An index is dropped.",
    "hide-index": "An index becomes invisible or ignored.",
    "rename-index": "An index is renamed.",
    "change-index": "A property of an index changes, and the index is locked or rewritten.",
    "replace-view": "A view is replaced: it may lose columns or rows, or have other values.",
    "create-trigger": "A trigger runs inside the writes of old code.",
    "overload-routine": "A routine with the name of an old one: a call of old code may mean the new one.",
    "create-schema-of-account": "A schema with the name of an account is the first in its search_path.",
    "replace-routine": "CREATE OR REPLACE changes a function or procedure that old code may call.",
    "create-active-object": "A rule, policy, publication or event acts on statements or rows of old code.",
    "drop-object": "A view, trigger, routine, type or other object is dropped.",
    "change-object": "A property of an object changes that old code depends on.",
    "add-enum-value-in-middle": (
        "A value is added before others, which get other numbers; MySQL and MariaDB copy the table."
    ),
    "revoke": "A privilege is taken away.",
    "truncate": "All rows of a table are removed.",
    "rewrite-table": "A table, an index or a view is rewritten under a lock.",
    "lock-rows": "A query locks rows until the transaction ends.",
}
_REFUSED = {
    "unknown-operation": "An operation for which there is no decision.",
    "unknown-option": "An option, kind or change for which there is no decision.",
    "unknown-type": "A type that may be a domain with constraints.",
    "unknown-function": "A statement calls a function that may write.",
    "unknown-setting": "A setting that is not known to be harmless.",
    "control-transaction": "A statement that begins or ends the transaction, or locks a table.",
    "run-code": "Code whose effect cannot be read from the statement.",
    "unrecognized": "A part of a statement that the reader does not know.",
    "unreadable": "A text that cannot be split into statements.",
}

RULES: dict[str, Rule] = {
    id: Rule(place, summary)
    for place, rules in (
        (Place.ANYWHERE, _ANYWHERE),
        (Place.EXPAND, _EXPAND),
        (Place.DATA, _DATA),
        (Place.CONTRACT, _CONTRACT),
        (Place.REFUSED, _REFUSED),
    )
    for id, summary in rules.items()
}
"""The rules by id."""


def apply_rule(id: str, subject: object = "", reason: str = "", hint: str = "") -> Verdict:
    """Returns the verdict that a rule gives on *subject*, the table, column or other object."""
    return Verdict(place=RULES[id].place, rule=id, object=str(subject), reason=reason, hint=hint)
