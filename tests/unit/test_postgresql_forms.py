"""The steps in which PostgreSQL executes a statement without blocking writers."""

from __future__ import annotations

import dataclasses

import pytest

from online_migrate.sql.forms.form import IndexFacts, Partition, Table
from online_migrate.sql.forms.postgresql import steps_of


@dataclasses.dataclass
class Known:
    """A catalog with one table, ``t``, and one index, ``i``."""

    small: bool = False
    partitioned: bool = False
    taken: frozenset[str] = frozenset()

    def table(self, name: str) -> Table | None:
        if name not in ("t", "s.t", '"T"'):
            return None
        parts = (Partition("t1", name, True), Partition("t2", name, False), Partition("t3", "t2", True))
        return Table(
            name=name,
            plain_name=name.rpartition(".")[2].strip('"'),
            small=self.small,
            partitioned=self.partitioned,
            nullable=frozenset({"a"}),
            partitions=parts if self.partitioned else (),
            taken=self.taken,
        )

    def index(self, name: str) -> IndexFacts | None:
        return IndexFacts(self.small, not self.partitioned) if name in ("i", "s.i") else None


NOT_NULL = [
    "ALTER TABLE t ADD CONSTRAINT t_a_is_not_null CHECK (a IS NOT NULL) NOT VALID",
    "ALTER TABLE t VALIDATE CONSTRAINT t_a_is_not_null",
    "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
    "ALTER TABLE t DROP CONSTRAINT t_a_is_not_null",
]
STEPS = {
    "CREATE INDEX ix ON t (a)": ["CREATE INDEX CONCURRENTLY ix ON t (a)"],
    "CREATE UNIQUE INDEX IF NOT EXISTS ix ON t USING btree (lower(a), b) WHERE a > '; -- x'; -- y": [
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS ix ON t USING btree (lower(a), b) WHERE a > '; -- x'"
    ],
    "CREATE INDEX ON t (a, lower(b), (c + 1))": [
        "CREATE INDEX CONCURRENTLY t_a_expr_expr1_idx ON t (a, lower(b), (c + 1))"
    ],
    "CREATE INDEX CONCURRENTLY ix ON t (a)": ["CREATE INDEX CONCURRENTLY ix ON t (a)"],
    "DROP INDEX i": ["DROP INDEX CONCURRENTLY i"],
    "DROP INDEX IF EXISTS s.i, i": [
        "DROP INDEX CONCURRENTLY IF EXISTS s.i",
        "DROP INDEX CONCURRENTLY IF EXISTS i",
    ],
    "ALTER TABLE ONLY t ADD COLUMN b int, ADD CONSTRAINT k CHECK (a > 0)": [
        "ALTER TABLE ONLY t ADD COLUMN b int",
        "ALTER TABLE ONLY t ADD CONSTRAINT k CHECK (a > 0) NOT VALID",
        "ALTER TABLE ONLY t VALIDATE CONSTRAINT k",
    ],
    "ALTER TABLE ONLY s.t ADD CONSTRAINT k UNIQUE (a)": [
        "CREATE UNIQUE INDEX CONCURRENTLY k ON s.t (a)",
        "ALTER TABLE s.t ADD CONSTRAINT k UNIQUE USING INDEX k",
    ],
    "ALTER TABLE ONLY t VALIDATE CONSTRAINT k": ["ALTER TABLE ONLY t VALIDATE CONSTRAINT k"],
    "ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY(a) REFERENCES p (id) ON DELETE CASCADE": [
        "ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY(a) REFERENCES p (id) ON DELETE CASCADE NOT VALID",
        "ALTER TABLE t VALIDATE CONSTRAINT k",
    ],
    "ALTER TABLE s.t ADD FOREIGN KEY (a) REFERENCES p": [
        "ALTER TABLE s.t ADD CONSTRAINT t_a_fkey FOREIGN KEY (a) REFERENCES p NOT VALID",
        "ALTER TABLE s.t VALIDATE CONSTRAINT t_a_fkey",
    ],
    "ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0 AND b <> 'NOT VALID')": [
        "ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0 AND b <> 'NOT VALID') NOT VALID",
        "ALTER TABLE t VALIDATE CONSTRAINT k",
    ],
    "ALTER TABLE t ADD CHECK (a > 0)": [
        "ALTER TABLE t ADD CONSTRAINT t_a_check CHECK (a > 0) NOT VALID",
        "ALTER TABLE t VALIDATE CONSTRAINT t_a_check",
    ],
    "ALTER TABLE t ALTER COLUMN a SET NOT NULL": NOT_NULL,
    "ALTER TABLE t ADD COLUMN b INT, ALTER a SET NOT NULL, DROP COLUMN c": [
        "ALTER TABLE t ADD COLUMN b INT, DROP COLUMN c",
        *NOT_NULL,
    ],
    'ALTER TABLE "T" ADD CONSTRAINT "U" UNIQUE NULLS NOT DISTINCT ("A", b) INCLUDE (c) DEFERRABLE': [
        'CREATE UNIQUE INDEX CONCURRENTLY "U" ON "T" ("A", b) INCLUDE (c) NULLS NOT DISTINCT',
        'ALTER TABLE "T" ADD CONSTRAINT "U" UNIQUE USING INDEX "U" DEFERRABLE',
    ],
    "ALTER TABLE t ADD PRIMARY KEY (a, b) WITH (fillfactor = 70) USING INDEX TABLESPACE x": [
        *NOT_NULL,
        "CREATE UNIQUE INDEX CONCURRENTLY t_pkey ON t (a, b) WITH (fillfactor = 70) TABLESPACE x",
        "ALTER TABLE t ADD CONSTRAINT t_pkey PRIMARY KEY USING INDEX t_pkey",
    ],
    "ALTER TABLE t VALIDATE CONSTRAINT k": ["ALTER TABLE t VALIDATE CONSTRAINT k"],
}


@pytest.mark.parametrize(("text", "steps"), STEPS.items())
def test_steps_of_a_large_table(text: str, steps: list[str]) -> None:
    assert [step.sql for step in steps_of(text, Known())] == steps


@pytest.mark.parametrize("text", [text for text in STEPS if "CONCURRENTLY" not in text])
def test_small_table_needs_no_steps(text: str) -> None:
    """The statement runs in the transaction of the revision."""
    assert steps_of(text, Known(small=True)) == ()


@pytest.mark.parametrize(
    "text",
    [
        "CREATE INDEX ix ON new_table (a)",
        "CREATE INDEX ix ON ONLY t (a)",
        "CREATE TABLE t (a INT UNIQUE)",
        "ALTER TABLE t ADD COLUMN a INT",
        "ALTER TABLE t DROP CONSTRAINT k",
        "ALTER TABLE t ALTER a DROP NOT NULL",
        "ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES p NOT VALID",
        "ALTER TABLE t ADD CONSTRAINT k UNIQUE USING INDEX i",
        "ALTER TABLE t ADD CONSTRAINT k EXCLUDE USING gist (a WITH &&)",
        "ALTER TABLE t ADD COLUMN c TEXT DEFAULT 'ADD CONSTRAINT k UNIQUE (a)'",
        "DROP INDEX i CASCADE",
        "DROP INDEX unknown",
        "ALTER INDEX i RENAME TO j",
    ],
)
def test_statement_that_reads_no_row_needs_no_steps(text: str) -> None:
    assert steps_of(text, Known()) == ()


def test_index_of_a_partitioned_table_is_built_partition_by_partition() -> None:
    steps = steps_of("CREATE INDEX ix ON t (a)", Known(partitioned=True))
    assert [step.sql for step in steps] == [
        "CREATE INDEX ix ON ONLY t (a)",
        "CREATE INDEX CONCURRENTLY t1_a_idx ON t1 (a)",
        "ALTER INDEX ix ATTACH PARTITION t1_a_idx",
        "CREATE INDEX t2_a_idx ON ONLY t2 (a)",
        "ALTER INDEX ix ATTACH PARTITION t2_a_idx",
        "CREATE INDEX CONCURRENTLY t3_a_idx ON t3 (a)",
        "ALTER INDEX t2_a_idx ATTACH PARTITION t3_a_idx",
    ]


def test_name_that_is_taken_gets_a_number() -> None:
    known = Known(taken=frozenset({"t_a_idx", "t_a_idx1"}))
    [step] = steps_of("CREATE INDEX ON t (a)", known)
    assert step.sql == "CREATE INDEX CONCURRENTLY t_a_idx2 ON t (a)"
