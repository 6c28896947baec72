"""Indexes: created, dropped, changed."""

from __future__ import annotations

from online_migrate.phases.verdict import Place
from tests.support.corpus.case import (
    LITE,
    MA,
    MY,
    PG,
    Case,
    allowed,
    blocks,
    breaks,
    everywhere,
    fails,
    on,
    refused,
    rewrite,
    wrong,
)

CREATED = [
    allowed("create-index", everywhere("CREATE INDEX ix_volumes_name ON volumes (name)"), "create-index"),
    allowed("create-index-of-two", everywhere("CREATE INDEX ix_volumes_name ON volumes (status, name DESC)"), "create-index"),
    allowed("create-index-concurrently", on("CREATE INDEX CONCURRENTLY ix_volumes_name ON volumes (name)", PG), "create-index"),
    allowed("create-index-if-not-exists", on("CREATE INDEX IF NOT EXISTS ix_volumes_name ON volumes (name)", PG, MA, LITE), "create-index"),
    allowed("create-index-without-name", on("CREATE INDEX ON volumes (name)", PG), "create-index"),
    allowed("create-index-partial", on("CREATE INDEX ix_part ON volumes (name) WHERE status = 'error'", PG, LITE), "create-index"),
    allowed("create-index-include", on("CREATE INDEX ix_inc ON volumes (status) INCLUDE (name)", PG), "create-index"),
    allowed("create-index-gin", on("ALTER TABLE volumes ADD COLUMN extra JSONB; CREATE INDEX ix_extra ON volumes USING gin (extra)", PG), "add-column", "create-index"),
    allowed("create-index-brin", on("CREATE INDEX ix_created ON volumes USING brin (created_at)", PG), "create-index"),
    allowed("create-index-hash", on("CREATE INDEX ix_hash ON volumes USING hash (host)", PG), "create-index"),
    allowed("create-index-with-fillfactor", on("CREATE INDEX ix_volumes_name ON volumes (name) WITH (fillfactor = 70)", PG), "create-index"),
    allowed("create-index-prefix", on("CREATE INDEX ix_volumes_note ON volumes (note(10))", MY, MA), "create-index"),
    allowed("create-index-online", on("CREATE INDEX ix_volumes_name ON volumes (name) ALGORITHM=INPLACE LOCK=NONE", MY, MA), "create-index", "set-table-option", "set-table-option"),
    allowed("add-index", on("ALTER TABLE volumes ADD INDEX ix_volumes_name (name)", MY, MA), "create-index"),
    allowed("add-key", on("ALTER TABLE volumes ADD KEY ix_volumes_name (name), ALGORITHM=INPLACE, LOCK=NONE", MY, MA), "create-index", "set-table-option", "set-table-option"),
    allowed("create-index-btree", on("CREATE INDEX ix_volumes_name USING BTREE ON volumes (name)", MY, MA), "create-index"),
    allowed("create-index-on-lower", {PG: "CREATE INDEX ix_lower ON volumes (lower(name))", LITE: "CREATE INDEX ix_lower ON volumes (lower(name))"}, "create-index"),
    refused("create-index-on-is-null", on("CREATE INDEX ix_null ON volumes ((name IS NULL))", MY), "create-expression-index", harm=rewrite("volumes")),
    refused("create-index-on-lower", on("CREATE INDEX ix_lower ON volumes ((lower(name)))", MY), "create-expression-index", harm=rewrite("volumes")),
    allowed("create-index-invisible", on("CREATE INDEX ix_volumes_name ON volumes (name) INVISIBLE", MY), "create-index"),
    allowed("create-index-ignored", on("CREATE INDEX ix_volumes_name ON volumes (name) IGNORED", MA), "create-index"),
    refused("create-fulltext-index", on("CREATE FULLTEXT INDEX ft_note ON volumes (note)", MY, MA), "create-blocking-index", harm=rewrite("volumes")),
    refused("create-index-that-can-fail", {PG: "CREATE INDEX ix_ratio ON volumes ((100 / size))", MY: "CREATE INDEX ix_ratio ON volumes ((CAST(100 / size AS SIGNED)))"}, "create-expression-index", harm=breaks("insert volume of size 0")),
    refused("create-index-partial-that-can-fail", on("CREATE INDEX ix_ratio ON volumes (name) WHERE 100 / size > 1", PG), "create-expression-index", harm=breaks("insert volume of size 0")),
    refused("create-index-on-cast", on("CREATE INDEX ix_note ON volumes ((note::integer))", PG), "create-expression-index", harm=fails("invalid input syntax")),
]

DROPPED = [
    refused("drop-index", on("DROP INDEX ix_volumes_host", LITE), "drop-index", harm=breaks("find volume by index"), base="hints"),
    refused("drop-index", on("DROP INDEX ix_volumes_host ON volumes", MY, MA), "drop-index", harm=breaks("find volume by index"), base="hints"),
    refused("drop-index-by-alter-table", on("ALTER TABLE volumes DROP INDEX ix_volumes_host", MY, MA), "drop-index", harm=breaks("find volume by index"), base="hints"),
    refused("drop-key", on("ALTER TABLE volumes DROP KEY ix_volumes_host, ADD KEY ix_other (host)", MY, MA), "drop-index", "create-index", harm=breaks("find volume by index"), base="hints"),
    refused("drop-index", on("DROP INDEX ix_volumes_host", PG), "drop-index", harm=wrong("plan of find by host"), base="plans"),
    refused("drop-index-concurrently", on("DROP INDEX CONCURRENTLY ix_volumes_host", PG), "drop-index", harm=wrong("plan of find by host"), base="plans"),
    refused("drop-index-if-exists", on("DROP INDEX IF EXISTS ix_volumes_host", PG), "drop-index", harm=wrong("plan of find by host"), base="plans"),
    refused("rename-index", on("ALTER TABLE volumes RENAME INDEX ix_volumes_host TO ix_other", MY, MA), "rename-index", harm=breaks("find volume by index"), base="hints"),
    refused("make-index-invisible", on("ALTER TABLE volumes ALTER INDEX ix_volumes_host INVISIBLE", MY), "hide-index", harm=breaks("find volume by index"), base="hints"),
    refused("make-index-ignored", on("ALTER TABLE volumes ALTER INDEX ix_volumes_host IGNORED", MA), "hide-index", harm=breaks("find volume by index"), base="hints"),
    allowed("index-storage-parameter", on("ALTER INDEX ix_volumes_host SET (fillfactor = 80)", PG), "alter-index"),
    refused("index-tablespace", on("ALTER INDEX ix_volumes_host SET TABLESPACE pg_global", PG), "change-index", harm=fails("tablespace")),
    allowed("comment-on-index", on("COMMENT ON INDEX ix_volumes_host IS 'by host'", PG), "comment"),
    refused("reindex", on("REINDEX TABLE volumes", PG), "rewrite-table", harm=blocks("insert volume")),
    allowed("reindex-concurrently", on("REINDEX INDEX CONCURRENTLY ix_volumes_host", PG), "maintain", place=Place.EXPAND),
]

CASES: list[Case] = [*CREATED, *DROPPED]
