"""Where the decisions disagree with what a server showed, and which of the two is right.

A line is removed when the decision, or the corpus, has been corrected: the test of the verdicts fails if a
line no longer applies.
"""

from __future__ import annotations

import dataclasses
import enum

from tests.support.corpus.case import MA, MY, PG, SERVERS


class Reason(enum.Enum):
    """Why a decision differs from the server."""

    ACCEPTED = "the server shows a harm that the definition of additive accepts"
    NOT_PROVED = "this server shows no harm, but another one, other rows or another setting may"


@dataclasses.dataclass(frozen=True)
class Disagreement:
    """*case*: the id; *servers*: where it applies."""

    case: str
    servers: tuple[str, ...]
    reason: Reason
    why: str


DISAGREEMENTS = (
    Disagreement("column-that-makes-a-name-ambiguous", SERVERS, Reason.ACCEPTED, "A join of old code that names a column without its table fails. A lint rule could say it: another table has the name."),
    Disagreement("create-table-as", SERVERS, Reason.NOT_PROVED, "Nothing fails here, but a query that fills a table may run for long: a data migration does it in chunks."),
    Disagreement("select-into", (PG,), Reason.NOT_PROVED, "The same as CREATE TABLE AS."),
    Disagreement("row-format", (MY, MA), Reason.NOT_PROVED, "ROW_FORMAT is rebuilt in place with LOCK=NONE. COMPACT and DYNAMIC limit a row in different ways."),
    Disagreement("executable-comment-of-mariadb", (MY,), Reason.NOT_PROVED, "The comment means nothing to MySQL, but another server executes it."),
    Disagreement("executable-comment-of-a-future-version", (MY, MA), Reason.NOT_PROVED, "This server skips the comment, a later one executes it."),
    Disagreement("executable-comment-not-in-mariadb", (MA,), Reason.NOT_PROVED, "MariaDB skips comments of MySQL 5.7 and later; MySQL executes them."),
    Disagreement("attach-new-partition-with-the-same-key", (PG,), Reason.NOT_PROVED, "The key repeats that of the partitioned table. CREATE TABLE ... PARTITION OF takes it over by itself."),
    Disagreement("optimize-table", (MY, MA), Reason.NOT_PROVED, "Without a FULLTEXT index the table is rebuilt in place, but the statement does not say whether there is one."),
    Disagreement("user-catalog-table", (PG,), Reason.NOT_PROVED, "Only logical decoding notices it. The storage parameters are an allow-list."),
    Disagreement("backslash-in-text", (MY, MA), Reason.NOT_PROVED, "sql_mode NO_BACKSLASH_ESCAPES changes where the text ends."),
)  # fmt: skip
