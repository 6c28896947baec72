"""Where the decisions disagree with what a server showed, and who is right.

A line is removed when the decision, or the corpus, has been corrected: the test of the verdicts fails if a
line no longer applies.
"""

from __future__ import annotations

import dataclasses
import enum

from tests.support.corpus.case import LITE, MA, MY, PG, SERVERS


class Reason(enum.Enum):
    """Why a decision differs from the server."""

    LAX = "the server shows a harm; the decision is wrong"
    STRICT = "the server shows no harm; the decision errs on the safe side"
    DEFINED = "the server shows a harm that the definition of additive accepts"


@dataclasses.dataclass(frozen=True)
class Disagreement:
    """*case*: the id; *servers*: where it applies."""

    case: str
    servers: tuple[str, ...]
    reason: Reason
    why: str


DISAGREEMENTS = (
    Disagreement("add-column-current-timestamp", (LITE,), Reason.LAX, "SQLite refuses a default that is not constant, so the script never succeeds."),
    Disagreement("add-column-unique", (LITE,), Reason.LAX, "SQLite refuses a UNIQUE column in ALTER TABLE, so the script never succeeds."),
    Disagreement("add-column-unique", (PG,), Reason.LAX, "The index is built under ACCESS EXCLUSIVE, which reads all rows. Additive only if the executor splits it."),
    Disagreement("drop-default-of-key", (PG,), Reason.LAX, "The default of a SERIAL column is dropped: each INSERT of old code fails. It is not a repetition."),
    Disagreement("create-fulltext-index", (MY, MA), Reason.LAX, "LOCK=NONE is refused: writers wait while a FULLTEXT index is built."),
    Disagreement("create-index-on-is-null", (MY,), Reason.LAX, "LOCK=NONE is refused for each index on an expression, whatever the expression is."),
    Disagreement("two-generated-in-one", (MY, MA), Reason.LAX, "LOCK=NONE is refused for a virtual column and its index in one statement; each alone is online."),
    Disagreement("reindex", (PG,), Reason.LAX, "REINDEX without CONCURRENTLY blocks writes. Additive only if the executor adds CONCURRENTLY."),
    Disagreement("create-table-inherits", (PG,), Reason.LAX, "Rows of the new child are rows of the old parent: a SELECT of old code returns them."),
    Disagreement("inherit", (PG,), Reason.LAX, "Rows of the new table become rows of the old parent."),
    Disagreement("replace-view-with-fewer-rows", (PG,), Reason.LAX, "The columns stay, but rows are missing. The new text alone does not show that the old rows stay."),
    Disagreement("replace-view-with-other-values", (PG,), Reason.LAX, "The columns stay, but a column has other values."),
    Disagreement("materialized-view-that-writes", (PG,), Reason.LAX, "The query of a materialized view is executed at once, with the functions that it calls."),
    Disagreement("index-on-text", (PG,), Reason.LAX, "An entry of a btree is limited to 2704 bytes: a long text of old code is refused. hash and gin have no such limit."),
    Disagreement("index-that-includes-text", (PG,), Reason.LAX, "The same limit holds for INCLUDE."),
    Disagreement("auto-increment-maximum", (MY, MA), Reason.LAX, "With the greatest value of the type, the next INSERT but one of old code fails."),
    Disagreement("overloaded-function", (PG,), Reason.LAX, "A new function of the name of an old one changes which of them a call of old code means."),
    Disagreement("schema-in-front-of-old-code", (PG,), Reason.LAX, 'A schema of the name of the account is first in its search_path ("$user").'),
    Disagreement("enum-value-before", (PG,), Reason.DEFINED, "Only enum_range() shows the number; ORDER BY of old values stays. Issue 14 refuses it."),
    Disagreement("enum-value-after-last", (PG,), Reason.DEFINED, "Only enum_range() shows the number; ORDER BY of old values stays. Issue 14 refuses it."),
    Disagreement("column-that-makes-a-name-ambiguous", SERVERS, Reason.DEFINED, "A join of old code that names a column without its table fails. A lint rule could say it: another table has the name."),
    Disagreement("add-column-references", (PG,), Reason.STRICT, "No row is read, because all are NULL: the lock is as short as that of NOT VALID."),
    Disagreement("create-table-as", SERVERS, Reason.STRICT, "Nothing fails here, but a query that fills a table may run for long: a data migration does it in chunks."),
    Disagreement("select-into", (PG,), Reason.STRICT, "The same as CREATE TABLE AS."),
    Disagreement("check-new-or-old", (PG,), Reason.STRICT, "NULL OR anything is never false."),
    Disagreement("row-format", (MY, MA), Reason.STRICT, "ROW_FORMAT is rebuilt in place with LOCK=NONE. COMPACT and DYNAMIC limit a row in different ways."),
    Disagreement("virtual-table", (LITE,), Reason.STRICT, "The reader does not know CREATE VIRTUAL TABLE."),
    Disagreement("executable-comment-of-mariadb", (MY,), Reason.STRICT, "The comment means nothing to MySQL, but another server executes it."),
    Disagreement("executable-comment-of-a-future-version", (MY, MA), Reason.STRICT, "This server skips the comment, a later one executes it."),
    Disagreement("executable-comment-not-in-mariadb", (MA,), Reason.STRICT, "MariaDB skips comments of MySQL 5.7 and later; MySQL executes them."),
    Disagreement("backslash-in-text", (MY, MA), Reason.STRICT, "sql_mode NO_BACKSLASH_ESCAPES changes where the text ends."),
)  # fmt: skip
