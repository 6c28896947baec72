"""Scripts that look additive and are not, or the other way round."""

from __future__ import annotations

from online_migrate.phases.verdict import Place
from tests.support.corpus.case import (
    LITE,
    MA,
    MY,
    PG,
    Case,
    allowed,
    breaks,
    everywhere,
    fails,
    lost,
    on,
    refused,
    rewrite,
    wrong,
)

_TIER = "ALTER TABLE volumes ADD COLUMN tier INTEGER; ALTER TABLE volumes ADD CONSTRAINT ck_tier CHECK ("


def _check(condition: str) -> dict[str, str]:
    return {PG: f"{_TIER}{condition}) NOT VALID"}


CONDITIONS = [
    allowed("check-in-list", _check("tier IN (1, 2)"), "add-column", "add-harmless-constraint"),
    allowed("check-between", _check("tier BETWEEN 1 AND 9"), "add-column", "add-harmless-constraint"),
    allowed("check-or-null", _check("tier IS NULL OR tier > 0"), "add-column", "add-harmless-constraint"),
    allowed("check-new-or-old", _check("tier > 0 OR size > 0"), "add-column", "add-harmless-constraint"),
    refused("check-new-and-old", _check("tier > 0 AND size > 0"), "add-column", "add-check", harm=breaks("insert volume of size 0")),
    refused("check-not-null-by-not", _check("NOT (tier IS NULL)"), "add-column", "add-check", harm=breaks("insert volume")),
    refused("check-is-true", _check("(tier > 0) IS TRUE"), "add-column", "add-check", harm=breaks("insert volume")),
    refused("check-is-distinct-from-null", _check("tier IS DISTINCT FROM NULL"), "add-column", "add-check", harm=breaks("insert volume")),
    refused("check-num-nonnulls", _check("num_nonnulls(tier) = 1"), "add-column", "add-check", harm=breaks("insert volume")),
    refused("check-case", _check("CASE WHEN tier > 0 THEN TRUE ELSE FALSE END"), "add-column", "add-check", harm=breaks("insert volume")),
    refused("check-false", _check("FALSE"), "add-column", "add-check", harm=breaks("insert volume")),
    refused("check-that-raises", _check("tier > 0 OR 100 / size > 1"), "add-column", "add-check", harm=breaks("insert volume of size 0")),
    refused("check-of-default", on("ALTER TABLE volumes ADD COLUMN tier INTEGER DEFAULT 0; ALTER TABLE volumes ADD CONSTRAINT ck_tier CHECK (tier > 0) NOT VALID", PG), "add-column", "add-check", harm=breaks("insert volume")),
    allowed("unique-of-new-and-old-column", on("ALTER TABLE volumes ADD COLUMN tier INTEGER; ALTER TABLE volumes ADD CONSTRAINT uq_tier UNIQUE (tier, name)", MY, MA), "add-column", "add-harmless-constraint"),
    refused("unique-of-new-column-with-default-and-old", everywhere("ALTER TABLE volumes ADD COLUMN tier INTEGER DEFAULT 1; CREATE UNIQUE INDEX uq_tier ON volumes (tier, name)"), "add-column", "create-unique-index", harm=breaks("insert volume of the same name")),
    allowed("set-first-default", on("ALTER TABLE volumes ALTER COLUMN size SET DEFAULT 5", PG, MY, MA), "set-first-default"),
]

SHADOWS = [
    refused("existing-table-if-not-exists-then-drop-column", everywhere("CREATE TABLE IF NOT EXISTS settings (id INTEGER PRIMARY KEY, mode INTEGER); ALTER TABLE settings DROP COLUMN mode"), "create-table", "drop-column", harm=breaks("insert setting")),
    refused("temporary-table-hides-the-second-drop", everywhere("CREATE TEMPORARY TABLE settings (id INTEGER); DROP TABLE settings; DROP TABLE settings"), "create-table", "drop-table", "drop-table", harm=breaks("read settings")),
    refused("temporary-table-of-the-same-name", {PG: "CREATE TEMPORARY TABLE settings (id INTEGER); DROP TABLE public.settings", MY: "CREATE TEMPORARY TABLE volumes_x (id INTEGER); DROP TABLE corpus_db.settings", LITE: "CREATE TEMPORARY TABLE settings (id INTEGER); DROP TABLE main.settings"}, "create-table", "drop-table", harm=breaks("read settings")),
    refused("table-of-another-schema", on("CREATE SCHEMA corpus_schema; CREATE TABLE corpus_schema.settings (id INTEGER); DROP TABLE settings", PG), "create-object", "create-table", "drop-table", harm=breaks("read settings")),
    refused("table-in-other-case", {PG: 'CREATE TABLE "Settings" (id INTEGER); DROP TABLE Settings', MY: "CREATE TABLE Settings (id INTEGER); DROP TABLE settings", MA: "CREATE TABLE Settings (id INTEGER); DROP TABLE settings"}, "create-table", "drop-table", harm=breaks("read settings")),
    refused("drop-of-new-and-old-table", on("CREATE TABLE racks (id INTEGER); DROP TABLE racks, settings", PG, MY, MA), "create-table", "new-table", "drop-table", harm=breaks("read settings")),
    refused("rename-away-and-drop", everywhere("ALTER TABLE settings RENAME TO old_settings; CREATE TABLE settings (id INTEGER); DROP TABLE old_settings"), "rename-table", "create-table", "drop-table", harm=breaks("read settings")),
    refused("search-path", on("CREATE SCHEMA corpus_schema; CREATE TABLE corpus_schema.racks (id INTEGER); SET search_path = public, corpus_schema; DROP TABLE settings", PG), "create-object", "create-table", "unknown-setting", "drop-table", harm=breaks("read settings"), place=Place.REFUSED),
    refused("schema-in-front-of-old-code", on("CREATE SCHEMA AUTHORIZATION corpus_app; CREATE TABLE corpus_app.volumes (id INTEGER)", PG), "create-schema-of-account", "create-table", harm=breaks("read volumes"), base="account"),
    refused("schema-named-like-the-account", on("CREATE SCHEMA corpus_app; GRANT USAGE ON SCHEMA corpus_app TO corpus_app; CREATE TABLE corpus_app.volumes (id INTEGER)", PG), "create-schema-of-account", "grant", "create-table", harm=breaks("read volumes"), base="account"),
    refused("overloaded-function", on("CREATE FUNCTION volume_label(n TEXT) RETURNS VARCHAR LANGUAGE sql AS $$ SELECT 'text-' || n $$", PG), "overload-routine", harm=wrong("call volume label by text"), base="routine"),
    refused("column-that-makes-a-name-ambiguous", everywhere("ALTER TABLE volumes ADD COLUMN label VARCHAR(30)"), "add-column", harm=breaks("read labels"), base="join"),
    refused("index-on-text", on("CREATE INDEX ix_note ON volumes (note)", PG), "create-index-on-long-values", harm=breaks("insert volume with a long note")),
    refused("index-that-includes-text", on("CREATE INDEX ix_name ON volumes (name) INCLUDE (note)", PG), "create-index-on-long-values", harm=breaks("insert volume with a long note")),
    refused("index-on-lower-text", on("CREATE INDEX ix_note ON volumes (lower(note))", PG), "create-index-on-long-values", harm=breaks("insert volume with a long note")),
    refused("brin-index-on-text", on("CREATE INDEX ix_note ON volumes USING brin (note)", PG), "create-index-on-long-values", harm=breaks("insert volume with a long note")),
    allowed("index-on-a-part-of-text", on("CREATE INDEX ix_note ON volumes (left(note, 200))", PG), "create-index"),
    allowed("index-on-a-hash-of-text", on("CREATE INDEX ix_note ON volumes (md5(note))", PG), "create-index"),
    allowed("spgist-index-on-text", on("CREATE INDEX ix_note ON volumes USING spgist (note)", PG), "create-index"),
    allowed("hash-index-on-text", on("CREATE INDEX ix_note ON volumes USING hash (note)", PG), "create-index"),
    allowed("index-on-text", on("CREATE INDEX ix_note ON volumes (note)", LITE), "create-index"),
]

WRITERS = [
    refused("seed-by-function-that-writes", on("CREATE TABLE racks (id BIGINT); INSERT INTO racks SELECT setval('volumes_id_seq', 1)", PG), "create-table", "unknown-function", harm=breaks("insert volume"), place=Place.REFUSED),
    refused("seed-from-deleted-rows", on("CREATE TABLE racks (id INTEGER); WITH gone AS (DELETE FROM snapshots RETURNING id) INSERT INTO racks SELECT id FROM gone", PG), "create-table", "change-rows", "copy-rows", harm=lost("read snapshots"), place=Place.DATA),
    refused("materialized-view-that-writes", on("CREATE MATERIALIZED VIEW numbers AS SELECT setval('volumes_id_seq', 1)", PG), "create-view", "unknown-function", harm=breaks("insert volume"), place=Place.REFUSED),
    refused("copy-of-a-query-that-writes", on("CREATE TABLE racks (id INTEGER); COPY (SELECT setval('volumes_id_seq', 1)) TO '/dev/null'", PG), "create-table", "run-code", harm=breaks("insert volume"), place=Place.REFUSED),
    refused("function-in-a-subquery", on("SELECT id FROM volumes WHERE id = (SELECT setval('volumes_id_seq', 1))", PG), "unknown-function", harm=breaks("insert volume"), place=Place.REFUSED),
    refused("function-with-schema", on("SELECT pg_catalog.setval('volumes_id_seq', 1)", PG), "unknown-function", harm=breaks("insert volume"), place=Place.REFUSED),
    refused("function-in-quotes", on('SELECT "setval" (\'volumes_id_seq\', 1)', PG), "unknown-function", harm=breaks("insert volume"), place=Place.REFUSED),
    refused("explain-analyze-function", on("EXPLAIN (ANALYZE, COSTS OFF) SELECT setval('volumes_id_seq', 1)", PG), "unknown-function", harm=breaks("insert volume"), place=Place.REFUSED),
    refused("setval-of-mariadb", on("SELECT setval(ticket_numbers, 9223372036854775806, 1)", MA), "unknown-function", harm=breaks("next ticket"), base="sequence", place=Place.REFUSED),
    refused("next-value-for", on("SELECT NEXT VALUE FOR ticket_numbers", MA), "unknown-function", harm=wrong("next ticket"), base="sequence", place=Place.REFUSED),
    refused("set-config", on("SELECT set_config('session_replication_role', 'replica', false); DELETE FROM volumes WHERE id = 1", PG), "unknown-function", "change-rows", harm=lost("read volumes"), place=Place.REFUSED),
    refused("load-file", on("INSERT INTO snapshots (label) SELECT 'x' FROM volumes", MY, MA), "change-rows", harm=wrong("read snapshots"), place=Place.DATA),
    refused("delete-from-new-and-old-table", on("CREATE TABLE racks (id INTEGER); DELETE racks, snapshots FROM snapshots LEFT JOIN racks ON racks.id = snapshots.id", MY, MA), "create-table", "change-rows", harm=lost("read snapshots"), place=Place.DATA),
    refused("update-of-new-and-old-table", on("CREATE TABLE racks (id INTEGER); INSERT INTO racks VALUES (1); UPDATE racks, volumes SET volumes.size = 0", MY, MA), "create-table", "seed-rows", "change-rows", harm=wrong("read volumes"), place=Place.DATA),
]

REPLACERS = [
    refused("replace-sequence", on("CREATE OR REPLACE SEQUENCE ticket_numbers START WITH 1", MA), "unrecognized", harm=wrong("next ticket"), base="sequence", place=Place.REFUSED),
    refused("replace-index", on("CREATE OR REPLACE INDEX ix_volumes_host ON volumes (name)", MA), "drop-index", "create-index", harm=wrong("find volume by index"), base="covering hints"),
    refused("replace-user", on("CREATE OR REPLACE USER corpus_app@'%' IDENTIFIED BY 'old-code'; GRANT SELECT ON corpus_db.settings TO corpus_app@'%'", MA), "unrecognized", "grant", harm=breaks("read volumes"), base="account", place=Place.REFUSED),
    refused("alter-ignore", on("ALTER IGNORE TABLE settings ADD UNIQUE (mode)", MA), "unrecognized", harm=breaks("insert setting"), place=Place.REFUSED),
    refused("replace-trigger-function", on("CREATE OR REPLACE FUNCTION count_revision() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$", PG), "replace-routine", harm=wrong("update setting"), base="trigger"),
    refused("sequence-increment", on("ALTER SEQUENCE ticket_numbers INCREMENT BY -20 MINVALUE -100", PG, MA), "change-object", harm=wrong("next ticket"), base="sequence"),
    refused("sequence-type", on("ALTER SEQUENCE volumes_id_seq AS SMALLINT MAXVALUE 6", PG), "change-object", harm=breaks("insert volume")),
    refused("auto-increment-maximum", on("ALTER TABLE volumes AUTO_INCREMENT = 2147483647", MY, MA), "change-table-option", harm=breaks("insert volume with defaults")),
]

OPTIONS = [
    allowed("row-format", on("ALTER TABLE volumes ROW_FORMAT = COMPACT", MY, MA), "set-table-option"),
    allowed("default-charset", on("ALTER TABLE volumes DEFAULT CHARACTER SET latin1", MY, MA), "set-table-option"),
    allowed("force-rebuild", on("ALTER TABLE volumes FORCE", MY, MA), "set-table-option"),
    allowed("add-column-current-timestamp", on("ALTER TABLE volumes ADD COLUMN seen_at DATETIME DEFAULT CURRENT_TIMESTAMP", MY, MA), "add-column"),
    allowed("add-column-on-update-timestamp", on("ALTER TABLE volumes ADD COLUMN touched_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP", MY, MA), "add-column"),
    allowed("optimize-table", on("OPTIMIZE TABLE volumes", MY, MA), "maintain"),
    allowed("add-column-and-index", on("ALTER TABLE volumes ADD COLUMN tier INTEGER, ADD INDEX ix_tier (tier)", MY, MA), "add-column", "create-index"),
    allowed("add-column-and-widen", on("ALTER TABLE volumes ADD COLUMN tier INTEGER, MODIFY host VARCHAR(63)", MY, MA), "add-column", "widen-type"),
    allowed("cluster-on", on("ALTER TABLE volumes CLUSTER ON ix_volumes_host", PG), "set-table-option"),
    allowed("create-default-partition", on("CREATE TABLE events_rest PARTITION OF events DEFAULT", PG), "create-partition", base="events"),
    refused("order-by", on("ALTER TABLE snapshots ORDER BY label", MY, MA), "change-table-option", harm=rewrite("snapshots")),
    refused("compressed-row-format", on("ALTER TABLE volumes DROP COLUMN price, ROW_FORMAT = COMPRESSED", MY, MA), "drop-column", "change-table-option", harm=breaks("read volumes")),
    refused("discard-tablespace", on("ALTER TABLE settings DISCARD TABLESPACE", MY, MA), "unrecognized", harm=breaks("read settings"), place=Place.REFUSED),
    refused("two-generated-in-one", on("ALTER TABLE volumes ADD COLUMN place VARCHAR(60) GENERATED ALWAYS AS (host) VIRTUAL, ADD INDEX ix_place (place)", MY, MA), "add-generated-column", "create-index", harm=rewrite("volumes")),
    allowed("virtual-table", on("CREATE VIRTUAL TABLE words USING fts5(line)", LITE), "create-table"),
    allowed("pragma-foreign-keys", on("PRAGMA foreign_keys = ON", LITE), "session-setting", place=Place.ANYWHERE),
    refused("pragma-read-only", on("PRAGMA foreign_keys = OFF; DELETE FROM volumes WHERE id = 1", LITE), "session-setting", "change-rows", harm=lost("read volumes"), place=Place.DATA),
    refused("add-column-not-null-default-null", on("ALTER TABLE volumes ADD COLUMN tier INTEGER NOT NULL DEFAULT NULL", LITE), "add-not-null-column", harm=fails("NOT NULL")),
]

CASES: list[Case] = [*CONDITIONS, *SHADOWS, *WRITERS, *REPLACERS, *OPTIONS]
