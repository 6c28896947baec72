"""Partitions, privileges, rows, and texts that hide what they do."""

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

PARTITIONS = [
    allowed("create-partition", on("CREATE TABLE events_top PARTITION OF events FOR VALUES FROM (200) TO (300)", PG), "create-partition", base="events"),
    allowed("add-partition", on("ALTER TABLE events ADD PARTITION (PARTITION events_top VALUES LESS THAN (300))", MY, MA), "add-partition", base="events"),
    allowed("attach-new-partition", on("CREATE TABLE events_top (id INTEGER NOT NULL, kind VARCHAR(20)); ALTER TABLE events ATTACH PARTITION events_top FOR VALUES FROM (200) TO (300)", PG), "create-table", "attach-new-partition", base="events"),
    allowed("attach-new-partition-with-the-same-key", on("CREATE TABLE events_top (id INTEGER NOT NULL PRIMARY KEY, kind VARCHAR(20)); ALTER TABLE events ATTACH PARTITION events_top FOR VALUES FROM (200) TO (300)", PG), "create-table", "attach-new-partition", base="events"),
    refused("create-partition-with-check", on("DROP TABLE events_high; CREATE TABLE events_high PARTITION OF events (CHECK (kind <> 'tick')) FOR VALUES FROM (100) TO (200)", PG), "drop-table", "partition-with-constraint", harm=breaks("insert event"), base="events"),
    refused("attach-existing-partition", on("ALTER TABLE events ATTACH PARTITION events_next FOR VALUES FROM (200) TO (300)", PG), "attach-existing-partition", harm=breaks("insert next event"), base="events"),
    refused("detach-partition", on("ALTER TABLE events DETACH PARTITION events_high", PG), "change-partitions", harm=breaks("insert event"), base="events"),
    refused("detach-partition-concurrently", on("ALTER TABLE events DETACH PARTITION events_high CONCURRENTLY", PG), "change-partitions", harm=breaks("insert event"), base="events"),
    refused("drop-partition-table", on("DROP TABLE events_high", PG), "drop-table", harm=breaks("insert event"), base="events"),
    refused("drop-partition", on("ALTER TABLE events DROP PARTITION events_low", MY, MA), "change-partitions", harm=lost("read events"), base="events"),
    refused("drop-last-partition", on("ALTER TABLE events DROP PARTITION events_high", MY, MA), "change-partitions", harm=breaks("insert event"), base="events"),
    refused("truncate-partition", on("ALTER TABLE events TRUNCATE PARTITION events_low", MY, MA), "change-partitions", harm=lost("read events"), base="events"),
    refused("exchange-partition", on("ALTER TABLE events EXCHANGE PARTITION events_low WITH TABLE events_next", MY, MA), "change-partitions", harm=lost("read events"), base="events"),
    refused("reorganize-partition", on("ALTER TABLE events REORGANIZE PARTITION events_high INTO (PARTITION events_other VALUES LESS THAN (101))", MY, MA), "change-partitions", harm=fails("reorganize"), base="events"),
    refused("remove-partitioning", on("ALTER TABLE events REMOVE PARTITIONING", MY, MA), "change-partitions", harm=rewrite("events"), base="events"),
    refused("partition-table", on("ALTER TABLE settings DROP INDEX uq_settings_name, ALGORITHM=INPLACE; ALTER TABLE settings PARTITION BY RANGE (id) (PARTITION p1 VALUES LESS THAN (6))", MY, MA), "drop-index", "set-table-option", "change-partitions", harm=breaks("insert setting")),
    refused("partition-by-hash", on("ALTER TABLE settings PARTITION BY HASH (id) PARTITIONS 4", MY, MA), "change-partitions", harm=fails("nique")),
]

_TO_APP = {PG: "corpus_app", MY: "corpus_app@'%'", MA: "corpus_app@'%'"}

PRIVILEGES = [
    allowed("grant", {server: f"CREATE TABLE racks (id INTEGER); GRANT SELECT, INSERT ON racks TO {app}" for server, app in _TO_APP.items()}, "create-table", "grant", base="account"),
    allowed("grant-on-old-table", {PG: "GRANT TRUNCATE ON volumes TO corpus_app", MY: "GRANT CREATE VIEW ON corpus_db.volumes TO corpus_app@'%'", MA: "GRANT CREATE VIEW ON corpus_db.volumes TO corpus_app@'%'"}, "grant", base="account"),
    allowed("create-role", {PG: "CREATE ROLE corpus_role", MY: "CREATE USER corpus_role@'%' IDENTIFIED BY 'x'", MA: "CREATE USER corpus_role@'%' IDENTIFIED BY 'x'"}, "create-object"),
    refused("revoke", {PG: "REVOKE INSERT ON volumes FROM corpus_app", MY: "REVOKE INSERT ON corpus_db.volumes FROM corpus_app@'%'", MA: "REVOKE INSERT ON corpus_db.volumes FROM corpus_app@'%'"}, "revoke", harm=breaks("insert volume"), base="account"),
    refused("revoke-all", {PG: "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM corpus_app", MY: "REVOKE ALL PRIVILEGES ON corpus_db.volumes FROM corpus_app@'%'", MA: "REVOKE ALL PRIVILEGES ON corpus_db.volumes FROM corpus_app@'%'"}, "revoke", harm=breaks("read volumes"), base="account"),
    refused("revoke-sequence", on("REVOKE USAGE ON SEQUENCE volumes_id_seq FROM corpus_app", PG), "revoke", harm=breaks("insert volume"), base="account"),
    refused("revoke-schema", on("REVOKE USAGE ON SCHEMA public FROM corpus_app", PG), "revoke", harm=breaks("read volumes"), base="account"),
    refused("drop-user", on("DROP USER corpus_app@'%'; CREATE USER corpus_app@'%' IDENTIFIED BY 'old-code'; GRANT SELECT ON corpus_db.volumes TO corpus_app@'%'", MY, MA), "drop-object", "create-object", "grant", harm=breaks("insert volume"), base="account"),
    refused("drop-owned", on("DROP OWNED BY corpus_app", PG), "unrecognized", harm=breaks("insert volume"), place=Place.REFUSED, base="account"),
    refused("enable-row-security", on("ALTER TABLE settings ENABLE ROW LEVEL SECURITY", PG), "change-row-security", harm=lost("read settings"), base="account"),
    refused("row-security-and-policy", on("ALTER TABLE volumes ENABLE ROW LEVEL SECURITY; CREATE POLICY small ON volumes USING (size < 15)", PG), "change-row-security", "create-active-object", harm=lost("read volumes"), base="account"),
    refused("change-owner", on("ALTER TABLE volumes OWNER TO corpus_app; CREATE ROLE corpus_role; ALTER TABLE volumes OWNER TO corpus_role", PG), "change-table-option", "create-object", "change-table-option", harm=breaks("read volumes"), base="account"),
    refused("default-that-calls-a-function", on("CREATE FUNCTION token() RETURNS INTEGER STABLE LANGUAGE sql AS $$ SELECT 1 $$; REVOKE EXECUTE ON FUNCTION token() FROM PUBLIC; ALTER TABLE volumes ADD COLUMN token INTEGER DEFAULT token()", PG), "create-routine", "revoke", "default-calls-function", harm=breaks("insert volume"), base="account"),
]

ROWS = [
    refused("delete-rows", everywhere("DELETE FROM snapshots WHERE volume_id = 2"), "change-rows", harm=lost("read snapshots"), place=Place.DATA),
    refused("delete-all-rows", everywhere("DELETE FROM snapshots"), "change-rows", harm=lost("read snapshots"), place=Place.DATA),
    refused("update-rows", everywhere("UPDATE volumes SET size = 0 WHERE name = 'beta'"), "change-rows", harm=wrong("read volumes"), place=Place.DATA),
    refused("insert-row-that-old-code-inserts", everywhere("INSERT INTO settings (name, mode) VALUES ('setting-2', 'auto')"), "change-rows", harm=breaks("insert setting"), place=Place.DATA),
    refused("insert-select", everywhere("INSERT INTO snapshots (volume_id, label) SELECT id, 'copy' FROM volumes"), "change-rows", harm=wrong("read snapshots"), place=Place.DATA),
    refused("backfill-of-new-column", everywhere("ALTER TABLE volumes ADD COLUMN tier INTEGER; UPDATE volumes SET tier = 1, size = size + 1"), "add-column", "change-rows", harm=wrong("read volumes"), place=Place.DATA),
    refused("replace-rows", on("REPLACE INTO settings (id, name) VALUES (1, 'other')", MY, MA, LITE), "change-rows", harm=wrong("read settings"), place=Place.DATA),
    refused("truncate", on("TRUNCATE TABLE snapshots", PG, MY, MA), "truncate", harm=lost("read snapshots")),
    refused("truncate-cascade", on("TRUNCATE volumes CASCADE", PG), "truncate", "truncate", harm=lost("read snapshots")),
    refused("truncate-restart", on("TRUNCATE snapshots RESTART IDENTITY", PG), "truncate", harm=lost("read snapshots")),
    refused("delete-in-with", on("WITH gone AS (DELETE FROM snapshots RETURNING id) SELECT count(*) FROM gone", PG), "change-rows", harm=lost("read snapshots"), place=Place.DATA),
    refused("update-in-with-of-select", on("WITH x AS (SELECT 1), y AS (UPDATE volumes SET size = 1 RETURNING id) SELECT * FROM x, y", PG), "change-rows", harm=wrong("read volumes"), place=Place.DATA),
    refused("with-before-delete", everywhere("WITH old AS (SELECT id FROM snapshots) DELETE FROM snapshots WHERE id IN (SELECT id FROM old)") | {MA: "DELETE FROM snapshots WHERE id IN (WITH old AS (SELECT 1 AS id) SELECT id FROM old)"}, "change-rows", harm=lost("read snapshots"), place=Place.DATA),
    refused("merge", on("MERGE INTO settings s USING (SELECT 1 AS id) n ON s.id = n.id WHEN MATCHED THEN DELETE", PG), "change-rows", harm=wrong("read settings"), place=Place.DATA),
    refused("upsert", on("INSERT INTO settings (id, name) VALUES (1, 'quota') ON CONFLICT (id) DO UPDATE SET name = 'other'", PG, LITE), "change-rows", harm=wrong("read settings"), place=Place.DATA),
    refused("delete-of-two-tables", on("DELETE s FROM snapshots s JOIN volumes v ON v.id = s.volume_id", MY, MA), "change-rows", harm=lost("read snapshots"), place=Place.DATA),
    refused("explain-analyze-delete", on("EXPLAIN ANALYZE DELETE FROM snapshots", PG), "change-rows", harm=lost("read snapshots"), place=Place.DATA),
    refused("analyze-delete", on("ANALYZE DELETE FROM snapshots", MA), "change-rows", harm=lost("read snapshots"), place=Place.DATA),
    allowed("explain-delete", on("EXPLAIN DELETE FROM snapshots", PG, MY, MA), "query", place=Place.ANYWHERE),
    allowed("explain-query-plan", on("EXPLAIN QUERY PLAN DELETE FROM snapshots", LITE), "query", place=Place.ANYWHERE),
]

CASES: list[Case] = [*PARTITIONS, *PRIVILEGES, *ROWS]
