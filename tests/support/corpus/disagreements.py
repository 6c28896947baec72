"""Where the decisions disagree with what a server showed, and who is right.

A line is removed when the decision, or the corpus, has been corrected: the test of the verdicts fails if a
line no longer applies.
"""

from __future__ import annotations

import dataclasses
import enum

from tests.support.corpus.case import MA, MY, PG, SERVERS


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
    Disagreement("column-that-makes-a-name-ambiguous", SERVERS, Reason.DEFINED, "A join of old code that names a column without its table fails. A lint rule could say it: another table has the name."),
    Disagreement("create-table-as", SERVERS, Reason.STRICT, "Nothing fails here, but a query that fills a table may run for long: a data migration does it in chunks."),
    Disagreement("select-into", (PG,), Reason.STRICT, "The same as CREATE TABLE AS."),
    Disagreement("row-format", (MY, MA), Reason.STRICT, "ROW_FORMAT is rebuilt in place with LOCK=NONE. COMPACT and DYNAMIC limit a row in different ways."),
    Disagreement("executable-comment-of-mariadb", (MY,), Reason.STRICT, "The comment means nothing to MySQL, but another server executes it."),
    Disagreement("executable-comment-of-a-future-version", (MY, MA), Reason.STRICT, "This server skips the comment, a later one executes it."),
    Disagreement("executable-comment-not-in-mariadb", (MA,), Reason.STRICT, "MariaDB skips comments of MySQL 5.7 and later; MySQL executes them."),
    Disagreement("backslash-in-text", (MY, MA), Reason.STRICT, "sql_mode NO_BACKSLASH_ESCAPES changes where the text ends."),
)  # fmt: skip
