"""Tables and their properties."""

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

_SERIAL = {PG: "SERIAL PRIMARY KEY", MY: "INTEGER AUTO_INCREMENT PRIMARY KEY", MA: "INTEGER AUTO_INCREMENT PRIMARY KEY", LITE: "INTEGER PRIMARY KEY AUTOINCREMENT"}

CREATED = [
    allowed("create-table", everywhere("CREATE TABLE racks (id INTEGER PRIMARY KEY, name VARCHAR(20) NOT NULL)"), "create-table"),
    allowed("create-table-with-everything", {server: f"CREATE TABLE racks (id {serial}, name VARCHAR(20) NOT NULL UNIQUE, size INTEGER NOT NULL DEFAULT 1 CHECK (size > 0), UNIQUE (name, size))" for server, serial in _SERIAL.items()}, "create-table"),
    allowed("create-table-with-foreign-key", everywhere("CREATE TABLE racks (id INTEGER PRIMARY KEY, volume_id INTEGER REFERENCES volumes (id) ON DELETE CASCADE)"), "create-table"),
    allowed("create-table-if-not-exists", everywhere("CREATE TABLE IF NOT EXISTS racks (id INTEGER PRIMARY KEY)"), "create-table"),
    allowed("create-table-like", {PG: "CREATE TABLE racks (LIKE volumes INCLUDING ALL)", MY: "CREATE TABLE racks LIKE volumes", MA: "CREATE TABLE racks LIKE volumes"}, "create-table"),
    allowed("create-table-inline-index", on("CREATE TABLE racks (id INTEGER PRIMARY KEY, name VARCHAR(20), INDEX ix_name (name), UNIQUE KEY uq_name (name)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COMMENT='racks'", MY, MA), "create-table"),
    allowed("create-unlogged-table", on("CREATE UNLOGGED TABLE racks (id INTEGER PRIMARY KEY)", PG), "create-table"),
    allowed("create-temporary-table", everywhere("CREATE TEMPORARY TABLE racks (id INTEGER PRIMARY KEY)"), "create-table"),
    allowed("create-partitioned-table", on("CREATE TABLE racks (id INTEGER NOT NULL, day DATE NOT NULL) PARTITION BY RANGE (day); CREATE TABLE racks_2030 PARTITION OF racks FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')", PG), "create-table", "create-table"),
    allowed("create-table-without-rowid", on("CREATE TABLE racks (id INTEGER PRIMARY KEY, name TEXT) WITHOUT ROWID", LITE), "create-table"),
    allowed("create-table-strict", on("CREATE TABLE racks (id INTEGER PRIMARY KEY, name TEXT) STRICT", LITE), "create-table"),
    allowed("create-table-and-index", everywhere("CREATE TABLE racks (id INTEGER PRIMARY KEY, name VARCHAR(20)); CREATE UNIQUE INDEX uq_racks ON racks (name)"), "create-table", "new-table"),
    allowed("create-table-and-constraint", on("CREATE TABLE racks (id INTEGER PRIMARY KEY, name VARCHAR(20)); ALTER TABLE racks ADD CONSTRAINT uq_racks UNIQUE (name)", PG, MY, MA), "create-table", "new-table"),
    allowed("create-table-and-not-null-column", on("CREATE TABLE racks (id INTEGER PRIMARY KEY); ALTER TABLE racks ADD COLUMN name VARCHAR(20) NOT NULL", PG, MY, MA), "create-table", "new-table"),
    allowed("create-table-and-drop-column", everywhere("CREATE TABLE racks (id INTEGER PRIMARY KEY, name VARCHAR(20), row_number_ INTEGER); ALTER TABLE racks DROP COLUMN row_number_"), "create-table", "change-new-column"),
    allowed("create-table-and-seed", everywhere("CREATE TABLE racks (id INTEGER PRIMARY KEY, name VARCHAR(20)); INSERT INTO racks (id, name) VALUES (1, 'first'), (2, 'second')"), "create-table", "seed-rows"),
    allowed("create-table-and-drop", everywhere("CREATE TABLE racks (id INTEGER PRIMARY KEY); DROP TABLE racks"), "create-table", "new-table"),
    allowed("create-table-as", everywhere("CREATE TABLE volumes_copy AS SELECT * FROM volumes"), "create-table"),
    refused("create-table-inherits", on("CREATE TABLE racks (shelf INTEGER) INHERITS (volumes); INSERT INTO racks (size) VALUES (1)", PG), "inherit-table", "change-rows", harm=wrong("read volumes")),
    refused("create-or-replace-table", on("CREATE OR REPLACE TABLE settings (id INTEGER PRIMARY KEY)", MA), "replace-table", harm=breaks("insert setting")),
    refused("drop-table-if-exists-and-create", everywhere("DROP TABLE IF EXISTS settings; CREATE TABLE settings (id INTEGER PRIMARY KEY, name VARCHAR(30), mode VARCHAR(10), revision INTEGER)"), "drop-table", "create-table", harm=lost("read settings")),
]

CHANGED = [
    refused("drop-table", everywhere("DROP TABLE settings"), "drop-table", harm=breaks("insert setting")),
    refused("drop-table-if-exists", everywhere("DROP TABLE IF EXISTS settings"), "drop-table", harm=breaks("read settings")),
    refused("drop-table-cascade", on("DROP TABLE volumes CASCADE", PG), "drop-table", harm=breaks("read volumes")),
    refused("drop-two-tables", on("DROP TABLE snapshots, settings", PG, MY, MA), "drop-table", "drop-table", harm=breaks("read settings")),
    refused("rename-table", everywhere("ALTER TABLE settings RENAME TO options"), "rename-table", harm=breaks("read settings")),
    refused("rename-table-statement", on("RENAME TABLE settings TO options", MY, MA), "rename-table", harm=breaks("read settings")),
    refused("rename-table-as", on("ALTER TABLE settings RENAME AS options", MY, MA), "rename-table", harm=breaks("read settings")),
    refused("swap-tables", on("CREATE TABLE settings_new LIKE settings; RENAME TABLE settings TO settings_old, settings_new TO settings", MY, MA), "create-table", "rename-table", "new-table", harm=lost("read settings")),
    refused("move-table-to-schema", on("CREATE SCHEMA corpus_schema; ALTER TABLE settings SET SCHEMA corpus_schema", PG), "create-object", "rename-table", harm=breaks("read settings")),
    allowed("comment-on-table", on("COMMENT ON TABLE volumes IS 'disks'", PG), "comment"),
    allowed("comment-on-table", on("ALTER TABLE volumes COMMENT = 'disks'", MY, MA), "set-table-option"),
    allowed("storage-parameter", on("ALTER TABLE volumes SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01)", PG), "set-table-option"),
    allowed("statistics-of-table", on("ALTER TABLE volumes STATS_PERSISTENT = 1", MY, MA), "set-table-option"),
    refused("engine", on("ALTER TABLE snapshots ENGINE = MyISAM", MY, MA), "change-table-option", harm=fails("foreign key")),
    refused("convert-charset", on("ALTER TABLE settings CONVERT TO CHARACTER SET latin1", MY, MA), "change-table-option", harm=rewrite("settings")),
    refused("convert-collation", on("ALTER TABLE volumes CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", MY, MA), "change-table-option", harm=wrong("find volume")),
    refused("set-unlogged", on("ALTER TABLE settings SET UNLOGGED", PG), "change-table-option", harm=rewrite("settings")),
    refused("replica-identity-nothing", on("CREATE PUBLICATION corpus_publication FOR TABLE settings; ALTER TABLE settings REPLICA IDENTITY NOTHING", PG), "create-active-object", "change-replica-identity", harm=breaks("update setting")),
    refused("publication-of-table-without-key", on("ALTER TABLE settings DROP CONSTRAINT settings_pkey; CREATE PUBLICATION corpus_publication FOR TABLE settings", PG), "drop-constraint", "create-active-object", harm=breaks("update setting")),
    refused("inherit", on("CREATE TABLE old_settings (LIKE settings); INSERT INTO old_settings (id, name, revision) VALUES (77, 'stray', 1); ALTER TABLE old_settings INHERIT settings", PG), "create-table", "seed-rows", "inherit-table", harm=wrong("read settings")),
    refused("disable-trigger", on("ALTER TABLE settings DISABLE TRIGGER ALL", PG), "change-table-option", harm=wrong("read settings"), base="trigger"),
    refused("vacuum-full", on("VACUUM FULL volumes", PG), "rewrite-table", harm=rewrite("volumes")),
    refused("cluster", on("CLUSTER volumes USING ix_volumes_host", PG), "rewrite-table", harm=rewrite("volumes")),
    allowed("analyze", on("ANALYZE volumes", PG, LITE), "maintain", place=Place.EXPAND),
    allowed("analyze-table", on("ANALYZE TABLE volumes", MY, MA), "maintain", place=Place.EXPAND),
    allowed("vacuum", on("VACUUM (ANALYZE) volumes", PG), "maintain", place=Place.EXPAND),
    refused("system-versioning", on("ALTER TABLE settings ADD SYSTEM VERSIONING", MA), "unrecognized", harm=rewrite("settings"), place=Place.REFUSED),
]

CASES: list[Case] = [*CREATED, *CHANGED]
