"""Where squawk and the corpus disagree on a PostgreSQL script, which of them is right, and why.

squawk lints a file without knowledge of old code: it warns of statements that are often harmful. The corpus
says what the server did to the old code of its base. Both are compared by their refusal alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

OTHER_SUBJECT: Mapping[str, str] = {
    "require-lock-timeout": "The executor sets the timeout of each statement.",
    "require-statement-timeout": "The executor sets the timeout of each statement.",
    "prefer-robust-stmts": "IF EXISTS makes a script repeatable; the journal does that here.",
    "prefer-bigint-over-int": "Style: the type of a new column.",
    "prefer-bigint-over-smallint": "Style: the type of a new column.",
    "prefer-text-field": "Style: the type of a new column.",
    "prefer-identity": "Style: the type of a new column.",
    "prefer-timestamp-tz": "Style: the type of a new column.",
    "require-concurrent-index-creation": "The form of the statement; the executor sends CONCURRENTLY.",
    "require-concurrent-index-deletion": "The form of the statement; the executor sends CONCURRENTLY.",
    "require-concurrent-reindex": "The form of the statement; the executor sends CONCURRENTLY.",
    "require-concurrent-partition-detach": "The form of the statement; the executor sends CONCURRENTLY.",
}
"""Rules of squawk that do not say that old code breaks, and are left out of the comparison."""


@dataclasses.dataclass(frozen=True)
class Disagreement:
    """*right*: corpus or squawk. *cases*: the ids to which *why* applies."""

    right: str
    why: str
    cases: tuple[str, ...]


ONLY_SQUAWK_REFUSES = (
    Disagreement(
        "corpus",
        "The table is new, so no old code waits while it is rewritten.",
        ("default-that-takes-a-number",),
    ),
    Disagreement(
        "corpus",
        "-1 is a constant, although it is an expression with a sign; the file of the table stays.",
        ("add-column-negative-default",),
    ),
    Disagreement(
        "corpus",
        "Old code leaves the new column NULL. The executor sends NOT VALID and VALIDATE, and builds the index"
        " CONCURRENTLY, so the form that squawk refuses is not sent.",
        (
            "add-check-of-new-column",
            "check-with-only",
            "default-that-passes-the-check",
            "add-foreign-key-of-new-column",
            "add-unique-of-new-column",
        ),
    ),
    Disagreement(
        "corpus",
        "No row refers to anything yet; the server neither reads the table nor refuses a write of old code.",
        ("add-column-references",),
    ),
    Disagreement(
        "corpus",
        "Old code reads NULL only after new code has written it.",
        ("drop-not-null",),
    ),
    Disagreement(
        "corpus",
        "squawk refuses each change of a type. A wider VARCHAR or NUMERIC changes only the catalog: the file of"
        " the table stays. A prepared statement of an old session fails once, which both should say.",
        (
            "varchar-wider",
            "varchar-set-data-type",
            "varchar-to-text",
            "varchar-without-length",
            "indexed-varchar-wider",
            "numeric-more-digits",
            "numeric-without-limit",
        ),
    ),
    Disagreement(
        "corpus",
        "The column has that type already; the file of the table stays.",
        ("same-type", "same-type-by-other-name"),
    ),
    Disagreement(
        "corpus",
        "squawk asks for BEFORE or AFTER. At the end, no old value changes its place.",
        (
            "enum-value-at-end",
            "enum-value-if-not-exists",
            "enum-value-after-a-new-one",
            "enum-value-before-a-new-one",
        ),
    ),
    Disagreement(
        "corpus",
        "The script itself creates the table, so no old code knows it. squawk sees that for few statements.",
        (
            "create-table-and-constraint",
            "create-table-and-not-null-column",
            "create-table-and-drop-column",
            "create-table-and-drop",
        ),
    ),
    Disagreement(
        "corpus",
        "A new domain harms no old code. squawk warns because its constraint is hard to change later.",
        ("create-domain",),
    ),
)

ONLY_CORPUS_REFUSES = (
    Disagreement(
        "corpus",
        "The server fills the column with NULL, and NOT NULL refuses it; squawk takes DEFAULT NULL for a default.",
        ("add-column-not-null-default-null",),
    ),
    Disagreement(
        "corpus",
        "The server gives each existing row a number, and rewrites the table.",
        ("add-column-serial",),
    ),
    Disagreement(
        "corpus",
        "squawk looks at constraints of ALTER TABLE ... ADD CONSTRAINT, not at those inside ADD COLUMN.",
        ("add-column-check", "add-column-check-of-other"),
    ),
    Disagreement(
        "corpus",
        "Old code that leaves the column out relies on the old default; squawk refuses only DROP DEFAULT.",
        ("change-default", "set-default-of-nullable", "set-default-of-new-column"),
    ),
    Disagreement(
        "corpus",
        "The number of each following value changes, which enum_range() shows. The order of old values stays.",
        ("enum-value-before", "enum-value-after-last", "enum-value-before-one-of-another-type"),
    ),
    Disagreement(
        "corpus",
        "squawk looks at each statement alone, and not at what a function of the script does when it is called.",
        (
            "function-as-attribute",
            "function-in-a-check-of-a-new-table",
            "function-in-a-new-view",
            "setval-in-a-new-view",
            "setval-in-the-default-of-a-new-table",
            "function-in-a-view-of-a-view",
            "function-in-the-default-of-a-new-table",
        ),
    ),
    Disagreement(
        "corpus",
        "The server evaluates the expression, or builds the entry, in each write of old code, and fails there.",
        (
            "set-default-of-unknown-time-zone",
            "set-default-that-is-cast-twice",
            "set-default-that-raises",
            "index-on-a-composite-type",
            "default-after-unique-index",
        ),
    ),
    Disagreement(
        "corpus",
        "squawk does not know the search_path of old code.",
        ("table-in-front-of-old-code", "view-in-front-of-old-code"),
    ),
    Disagreement(
        "corpus",
        "squawk refuses what is on its list; the decisions refuse what is not on theirs.",
        (
            "rows-of-a-foreign-table",
            "statistics-on-an-expression",
            "unknown-operator-class",
            "unknown-storage-parameter",
        ),
    ),
    Disagreement(
        "corpus",
        "The lock of a unique constraint is not its only harm: it refuses duplicates that old code writes."
        " squawk accepts an index that is built CONCURRENTLY, or asks for that form.",
        (
            "add-unique-using-index",
            "create-unique-index",
            "create-unique-index-concurrently",
            "create-unique-index-if-not-exists",
            "create-unique-index-nulls-not-distinct",
            "create-unique-index-on-expression",
            "create-partial-unique-index",
            "unique-index-of-new-column-with-default",
            "unique-of-new-column-with-default-and-old",
        ),
    ),
    Disagreement(
        "corpus",
        "NOT VALID saves the reading of existing rows; new rows are still checked, and those of old code fail.",
        (
            "add-check-not-valid",
            "add-check-not-null",
            "add-check-not-valid-not-null-of-new-column",
            "add-check-coalesce-of-new-column",
            "add-check-not-valid-of-both",
            "check-with-function",
            "add-foreign-key-not-valid",
            "check-is-true",
            "check-false",
            "check-of-default",
            "check-case",
            "check-new-and-old",
            "check-that-raises",
            "check-is-distinct-from-null",
            "check-not-null-by-not",
            "check-num-nonnulls",
        ),
    ),
    Disagreement(
        "corpus",
        "The constraint no longer refuses at the statement, on which old code relies.",
        ("defer-foreign-key",),
    ),
    Disagreement(
        "corpus",
        "An expression of an index is computed for each row that is written; it fails for rows of old code.",
        ("create-index-that-can-fail", "create-index-partial-that-can-fail", "create-index-on-cast"),
    ),
    Disagreement(
        "corpus",
        "A query of old code loses its index; squawk asks only for CONCURRENTLY.",
        ("drop-index", "drop-index-concurrently", "drop-index-if-exists"),
    ),
    Disagreement(
        "corpus",
        "The statement locks the table or index while it writes a copy; squawk knows none of these forms.",
        ("index-tablespace", "reindex", "set-unlogged", "vacuum-full", "cluster"),
    ),
    Disagreement(
        "corpus",
        "A row of a child table, or of a partition, is a row of its parent for old code.",
        ("create-table-inherits", "inherit"),
    ),
    Disagreement(
        "corpus",
        "A table or partition that old code writes changes its place or its accepted rows.",
        ("attach-existing-partition", "detach-partition", "detach-partition-concurrently"),
    ),
    Disagreement(
        "corpus",
        "Triggers, rules, policies and publications act inside the statements of old code; squawk has no rule.",
        (
            "replica-identity-nothing",
            "disable-trigger",
            "create-trigger-that-refuses",
            "create-trigger-that-skips",
            "create-constraint-trigger",
            "drop-trigger",
            "drop-trigger-if-exists",
            "create-rule",
            "enable-row-security",
            "row-security-and-policy",
        ),
    ),
    Disagreement(
        "corpus",
        "Old code uses the object that changes; squawk has rules for dropped objects only.",
        (
            "extend-view",
            "replace-view-with-fewer-columns",
            "replace-view-with-fewer-rows",
            "replace-view-with-other-values",
            "replace-function",
            "replace-trigger-function",
            "sequence-increment",
            "sequence-type",
            "restart-sequence",
            "sequence-maximum",
            "restart-serial",
            "setval",
            "values-function",
            "domain-not-null",
        ),
    ),
    Disagreement(
        "corpus",
        "Old code loses a privilege; squawk has no rule for privileges.",
        ("revoke", "revoke-all", "revoke-sequence", "revoke-schema", "drop-owned", "change-owner"),
    ),
    Disagreement(
        "corpus",
        "Rows of old code change. squawk lints definitions, not rows.",
        (
            "delete-rows",
            "delete-all-rows",
            "update-rows",
            "insert-row-that-old-code-inserts",
            "insert-select",
            "backfill-of-new-column",
            "truncate",
            "truncate-restart",
            "delete-in-with",
            "seed-from-deleted-rows",
            "update-in-with-of-select",
            "with-before-delete",
            "merge",
            "upsert",
            "explain-analyze-delete",
            "explain-analyze-update",
            "set-replica-role",
            "begin-delete-commit",
            "copy-program",
            "create-table-of-two-statements",
        ),
    ),
    Disagreement(
        "corpus",
        "The statement keeps locks until its transaction ends; squawk has no rule for statements that lock.",
        ("select-for-update", "lock-table"),
    ),
    Disagreement(
        "corpus",
        "The effect cannot be read from the statement; in these cases it destroys data. squawk ignores it.",
        (
            "call",
            "select-function-that-writes",
            "materialized-view-that-writes",
            "function-in-a-subquery",
            "function-in-quotes",
            "copy-of-a-query-that-writes",
            "function-with-schema",
            "seed-by-function-that-writes",
            "explain-analyze-function",
            "set-config",
            "do-block",
            "do-block-dynamic",
            "do-block-guarded-add-column",
            "prepare-execute",
            "function-in-a-query",
            "query-of-new-function",
            "alter-system",
        ),
    ),
    Disagreement(
        "corpus",
        "An entry of a btree is limited to 2704 bytes: a long text of old code is refused.",
        (
            "index-on-text",
            "index-that-includes-text",
            "index-on-lower-text",
            "brin-index-on-text",
            "unique-index-of-new-column-and-text",
        ),
    ),
    Disagreement(
        "corpus",
        "A name in a statement of old code means another object, or more than one, after the script.",
        (
            "schema-in-front-of-old-code",
            "schema-named-like-the-account",
            "overloaded-function",
            "column-that-makes-a-name-ambiguous",
        ),
    ),
)
