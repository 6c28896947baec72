"""Scripts whose effect on old code is not in the statement that causes it."""

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
    fails,
    lost,
    on,
    refused,
    rewrite,
    wrong,
)

_EVIL = "CREATE FUNCTION evil() RETURNS INTEGER LANGUAGE sql AS $$ DELETE FROM public.snapshots; SELECT 1 $$; "
_EVIL_OF_ROW = "CREATE FUNCTION evil(settings) RETURNS INTEGER LANGUAGE sql AS $$ DELETE FROM snapshots; SELECT 1 $$; "
_EVIL_CHECK = "CREATE FUNCTION evil(TEXT) RETURNS BOOLEAN LANGUAGE plpgsql AS $$ BEGIN DELETE FROM snapshots; RETURN TRUE; END $$; "
_EVIL_OF_MYSQL = "CREATE FUNCTION evil() RETURNS INTEGER DETERMINISTIC BEGIN DELETE FROM snapshots; RETURN 1; END; "
_STAMP = "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$; "
_RACKS = "CREATE TABLE racks (id INTEGER PRIMARY KEY, name VARCHAR(20)); "

CALLS = [
    refused("function-as-attribute", on(_EVIL_OF_ROW + "SELECT settings.evil FROM settings", PG), "create-routine", "unknown-function", harm=lost("read snapshots"), place=Place.REFUSED),
    refused("function-in-a-new-view", {PG: _EVIL + "CREATE VIEW w AS SELECT evil() AS n; SELECT n FROM w", **on(_EVIL_OF_MYSQL + "CREATE VIEW w AS SELECT evil() AS n; SELECT n FROM w", MY, MA)}, "create-routine", "create-view", "unknown-function", harm=lost("read snapshots"), place=Place.REFUSED),
    refused("function-in-a-view-of-a-view", on(_EVIL + "CREATE VIEW w AS SELECT evil() AS n; CREATE VIEW v AS SELECT n FROM w; CREATE MATERIALIZED VIEW m AS SELECT n FROM v", PG), "create-routine", "create-view", "create-view", "unknown-function", harm=lost("read snapshots"), place=Place.REFUSED),
    refused("function-in-the-default-of-a-new-table", on(_EVIL + "CREATE TABLE racks (id INTEGER, n INTEGER DEFAULT evil()); INSERT INTO racks (id) VALUES (1)", PG), "create-routine", "create-table", "change-rows", harm=lost("read snapshots"), place=Place.DATA),
    refused("function-in-a-default-added-to-a-new-table", on(_EVIL + _RACKS + "INSERT INTO racks (id) VALUES (1); ALTER TABLE racks ADD COLUMN n INTEGER DEFAULT evil()", PG), "create-routine", "create-table", "seed-rows", "unknown-function", harm=lost("read snapshots"), place=Place.REFUSED),
    refused("function-in-a-new-domain", on(_EVIL_CHECK + "CREATE DOMAIN code AS TEXT CHECK (evil(VALUE)); SELECT 'x'::code", PG), "create-routine", "create-object", "unknown-function", harm=lost("read snapshots"), place=Place.REFUSED),
    refused("function-in-a-check-of-a-new-table", on(_EVIL_CHECK + "CREATE TABLE racks (name TEXT CHECK (evil(name))); INSERT INTO racks VALUES ('x')", PG), "create-routine", "create-table", "change-rows", harm=lost("read snapshots"), place=Place.DATA),
    refused("function-in-a-renamed-view", on(_EVIL + "CREATE VIEW w AS SELECT evil() AS n; ALTER TABLE w RENAME TO v; SELECT n FROM v", PG), "create-routine", "create-view", "new-table", "unknown-function", harm=lost("read snapshots"), place=Place.REFUSED),
    refused("setval-in-a-new-view", on("CREATE VIEW w AS SELECT setval('volumes_id_seq', 1) AS n; SELECT n FROM w", PG), "create-view", "unknown-function", harm=breaks("insert volume"), place=Place.REFUSED),
    refused("setval-in-the-default-of-a-new-table", on("CREATE TABLE racks (n BIGINT DEFAULT setval('volumes_id_seq', 1)); INSERT INTO racks DEFAULT VALUES", PG), "create-table", "change-rows", harm=breaks("insert volume"), place=Place.DATA),
    refused("setval-in-a-default-added-to-a-new-table", on(_RACKS + "INSERT INTO racks (id) VALUES (1); ALTER TABLE racks ADD COLUMN n BIGINT DEFAULT setval('volumes_id_seq', 1)", PG), "create-table", "seed-rows", "unknown-function", harm=breaks("insert volume"), place=Place.REFUSED),
    allowed("default-that-takes-a-number", on("CREATE SEQUENCE rack_numbers; CREATE TABLE racks (id INTEGER DEFAULT nextval('rack_numbers'), name TEXT DEFAULT upper('x')); INSERT INTO racks (name) VALUES ('x'); ALTER TABLE racks ADD COLUMN u UUID DEFAULT gen_random_uuid()", PG), "create-object", "create-table", "seed-rows", "new-table"),
    allowed("trigger-function-of-a-new-table", on(_STAMP + _RACKS + "CREATE TRIGGER stamp BEFORE UPDATE ON racks FOR EACH ROW EXECUTE FUNCTION stamp(); CREATE INDEX ix_racks ON racks (name)", PG), "create-routine", "create-table", "new-table", "new-table"),
    allowed("default-of-a-new-table-calls-a-new-function", on("CREATE FUNCTION one() RETURNS INTEGER LANGUAGE sql AS $$ SELECT 1 $$; CREATE TABLE racks (id INTEGER DEFAULT one()); CREATE INDEX ix_racks ON racks (id)", PG), "create-routine", "create-table", "new-table"),
]

_TIER = "ALTER TABLE volumes ADD COLUMN tier INTEGER; ALTER TABLE volumes ALTER COLUMN tier SET DEFAULT "
_SEEN = "ALTER TABLE volumes ADD COLUMN seen TIMESTAMP; ALTER TABLE volumes ALTER COLUMN seen SET DEFAULT "

DEFAULTS = [
    refused("set-default-that-raises", on(_TIER + "(1 / 0)", PG, MY), "add-column", "default-calls-function", harm=breaks("insert volume")),
    refused("set-default-that-is-cast-twice", on(_TIER + "'abc'::text::integer", PG), "add-column", "default-calls-function", harm=breaks("insert volume")),
    refused("set-default-of-unknown-time-zone", on(_SEEN + "now() AT TIME ZONE 'nowhere'", PG), "add-column", "default-calls-function", harm=breaks("insert volume")),
    allowed("set-default-of-time-in-utc", on(_SEEN + "(now() AT TIME ZONE 'utc' + INTERVAL '1 day')", PG), "add-column", "change-new-column"),
    allowed("set-default-of-uuid", on("ALTER TABLE volumes ADD COLUMN uuid UUID; ALTER TABLE volumes ALTER COLUMN uuid SET DEFAULT gen_random_uuid()", PG), "add-column", "change-new-column"),
    allowed("set-default-of-uuid", on("ALTER TABLE volumes ADD COLUMN uuid VARCHAR(36); ALTER TABLE volumes ALTER COLUMN uuid SET DEFAULT (uuid())", MY, MA), "add-column", "change-new-column"),
]

_NEW = "ALTER TABLE volumes ADD COLUMN tier INTEGER; "
_SET_ONE = "; ALTER TABLE volumes ALTER tier SET DEFAULT 1"

LATER = [
    refused("default-after-check", on(_NEW + "ALTER TABLE volumes ADD CHECK (tier >= 0); ALTER TABLE volumes ALTER tier SET DEFAULT -1", PG), "add-column", "add-harmless-constraint", "add-check", harm=breaks("insert volume")),
    refused("default-after-inline-check", on("ALTER TABLE volumes ADD COLUMN tier INTEGER CHECK (tier >= 0); ALTER TABLE volumes ALTER tier SET DEFAULT -1", MA), "add-column", "add-check", harm=breaks("insert volume")),
    refused("default-after-unique", on(_NEW + "ALTER TABLE volumes ADD UNIQUE (tier)" + _SET_ONE, PG, MY, MA), "add-column", "add-harmless-constraint", "add-unique", harm=breaks("insert volume with defaults")),
    refused("default-after-unique-index", on(_NEW + "CREATE UNIQUE INDEX uq_tier ON volumes (tier)" + _SET_ONE, PG, MY, MA), "add-column", "create-harmless-unique-index", "add-unique", harm=breaks("insert volume with defaults")),
    refused("definition-after-unique-index", on(_NEW + "CREATE UNIQUE INDEX uq_tier ON volumes (tier); ALTER TABLE volumes MODIFY tier INTEGER COMMENT 'x'; ALTER TABLE volumes MODIFY tier INTEGER DEFAULT 1", MY, MA), "add-column", "create-harmless-unique-index", "change-new-column", "add-unique", harm=breaks("insert volume with defaults")),
    refused("default-after-foreign-key", on(_NEW + "ALTER TABLE volumes ADD FOREIGN KEY (tier) REFERENCES settings (id); ALTER TABLE volumes ALTER tier SET DEFAULT 999", PG), "add-column", "add-harmless-constraint", "add-foreign-key", harm=breaks("insert volume")),
    allowed("default-that-passes-the-check", on(_NEW + "ALTER TABLE volumes ADD CHECK (tier >= 0)" + _SET_ONE, PG), "add-column", "add-harmless-constraint", "change-new-column"),
    refused("date-of-today-by-expression", on("ALTER TABLE volumes ADD COLUMN day DATE DEFAULT (CURDATE())", MY), "add-column-rewrite", harm=rewrite("volumes")),
    refused("foreign-key-to-a-missing-table", on("ALTER TABLE volumes ADD COLUMN tier INTEGER REFERENCES not_there (id)", LITE), "add-foreign-key", harm=breaks("insert volume")),
    allowed("foreign-key-to-a-new-table", on("CREATE TABLE racks (id INTEGER PRIMARY KEY); ALTER TABLE volumes ADD COLUMN tier INTEGER REFERENCES racks (id)", LITE), "create-table", "add-column"),
]

_TOP = "DROP TABLE events_high; CREATE TABLE events_top (id INTEGER NOT NULL, kind VARCHAR(20)"
_ATTACH = "ALTER TABLE events ATTACH PARTITION events_top FOR VALUES FROM (100) TO (200)"
_ATTACHED = ("drop-table", "create-table", "partition-with-constraint")
_PART = "CREATE TABLE events_part (id INTEGER NOT NULL, kind VARCHAR(20) CHECK (kind <> 'tick')); ALTER TABLE events_top ATTACH PARTITION events_part DEFAULT; "

PARTITIONS = [
    allowed("attach-new-partition-like-its-table", on("CREATE TABLE events_top (LIKE events INCLUDING ALL); ALTER TABLE events ATTACH PARTITION events_top FOR VALUES FROM (200) TO (300)", PG), "create-table", "attach-new-partition", base="events"),
    refused("attach-new-partition-with-check", on(f"{_TOP} CHECK (kind <> 'tick')); {_ATTACH}", PG), *_ATTACHED, harm=breaks("insert event"), base="events"),
    refused("attach-new-partition-with-constraint", on(f"{_TOP}, CHECK (kind <> 'tick')); {_ATTACH}", PG), *_ATTACHED, harm=breaks("insert event"), base="events"),
    refused("attach-new-partition-with-added-check", on(f"{_TOP}); ALTER TABLE events_top ADD CHECK (kind <> 'tick'); {_ATTACH}", PG), "drop-table", "create-table", "new-table", "partition-with-constraint", harm=breaks("insert event"), base="events"),
    refused("attach-new-partition-with-unique-index", on(f"{_TOP}); CREATE UNIQUE INDEX uq_top ON events_top ((1)); {_ATTACH}; INSERT INTO events (id) VALUES (180)", PG), "drop-table", "create-table", "new-table", "partition-with-constraint", "change-rows", harm=breaks("insert event"), base="events"),
    refused("attach-new-partition-with-trigger", on(f"{_TOP}); CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$; CREATE TRIGGER guard BEFORE INSERT ON events_top FOR EACH ROW EXECUTE FUNCTION refuse(); {_ATTACH}", PG), "drop-table", "create-table", "create-routine", "new-table", "partition-with-constraint", harm=breaks("insert event"), base="events"),
    refused("attach-new-partition-with-not-null", on("DROP TABLE events_low; CREATE TABLE events_top (id INTEGER NOT NULL, kind VARCHAR(20) NOT NULL); ALTER TABLE events ATTACH PARTITION events_top FOR VALUES FROM (0) TO (100)", PG), *_ATTACHED, harm=breaks("insert event without kind"), base="events"),
    refused("create-partition-that-is-partitioned", on("DROP TABLE events_high; CREATE TABLE events_top PARTITION OF events FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id)", PG), "drop-table", "partition-with-constraint", harm=breaks("insert event"), base="events"),
    refused("attach-table-with-a-restricted-partition", on(f"{_TOP}) PARTITION BY RANGE (id); {_PART}{_ATTACH}", PG), "drop-table", "create-table", "create-table", "attach-new-partition", "partition-with-constraint", harm=breaks("insert event"), base="events"),
]

NAMES = [
    refused("table-in-front-of-old-code", on("CREATE TABLE corpus_schema.volumes (id INTEGER)", PG), "hide-table", harm=breaks("read volumes by the path"), base="path"),
    refused("view-in-front-of-old-code", on("CREATE VIEW corpus_schema.volumes AS SELECT 1 AS id", PG), "hide-table", harm=breaks("read volumes by the path"), base="path"),
    allowed("new-name-in-front-of-old-code", on("CREATE TABLE corpus_schema.racks (id INTEGER)", PG), "create-table", base="path"),
    refused("temporary-view-hides-the-second-drop", on("CREATE TEMPORARY VIEW volume_list AS SELECT 1 AS id; DROP VIEW volume_list; DROP VIEW IF EXISTS volume_list", PG, LITE), "create-view", "drop-object", "drop-object", harm=breaks("read volume list"), base="view"),
    refused("sequence-owned-by-a-new-table", on("CREATE TABLE racks (id INTEGER); ALTER SEQUENCE ticket_numbers OWNED BY racks.id; DROP TABLE racks", PG), "create-table", "change-object", "new-table", harm=breaks("next ticket"), base="sequence"),
    refused("sequence-owned-by-a-new-table-with-schema", on("CREATE TABLE racks (id INTEGER); ALTER SEQUENCE ticket_numbers OWNED BY public.racks.id; DROP TABLE racks", PG), "create-table", "change-object", "new-table", harm=breaks("next ticket"), base="sequence"),
    allowed("new-sequence-owned-by-a-new-column", on("CREATE SEQUENCE rack_numbers; ALTER TABLE volumes ADD COLUMN rack INTEGER; ALTER SEQUENCE rack_numbers OWNED BY volumes.rack", PG), "create-object", "add-column", "alter-object"),
    allowed("sequence-owned-by-an-old-column", on("ALTER SEQUENCE ticket_numbers OWNED BY volumes.id", PG), "alter-object", base="sequence"),
    allowed("sequence-owned-by-none", on("ALTER SEQUENCE volumes_id_seq OWNED BY NONE", PG), "alter-object"),
]

ENUMS = [
    allowed("enum-value-before-a-new-one", on("ALTER TYPE setting_mode ADD VALUE 'off'; ALTER TYPE setting_mode ADD VALUE 'low' BEFORE 'off'", PG), "add-enum-value", "add-enum-value", base="modes"),
    allowed("enum-value-after-a-new-one", on("ALTER TYPE setting_mode ADD VALUE 'off'; ALTER TYPE setting_mode ADD VALUE 'low' AFTER 'off'; ALTER TYPE setting_mode ADD VALUE 'mid' BEFORE 'low'", PG), "add-enum-value", "add-enum-value", "add-enum-value", base="modes"),
    refused("enum-value-before-one-that-may-be-old", on("ALTER TYPE setting_mode ADD VALUE IF NOT EXISTS 'auto'; ALTER TYPE setting_mode ADD VALUE 'low' BEFORE 'auto'", PG), "add-enum-value", "add-enum-value-in-middle", harm=wrong("settings by mode number"), base="modes"),
    refused("enum-value-before-one-of-another-type", on("CREATE TYPE rack_mode AS ENUM ('auto'); ALTER TYPE setting_mode ADD VALUE 'low' BEFORE 'auto'", PG), "create-object", "add-enum-value-in-middle", harm=wrong("settings by mode number"), base="modes"),
]

OTHERS = [
    allowed("check-with-only", on("ALTER TABLE ONLY volumes ADD COLUMN tier INTEGER; ALTER TABLE ONLY volumes ADD CONSTRAINT ck_tier CHECK (tier > 0)", PG), "add-column", "add-harmless-constraint"),
    refused("index-on-a-composite-type", on("CREATE INDEX ix_pairs ON pairs (both_)", PG), "create-index-on-long-values", harm=breaks("insert pair"), base="pairs"),
    refused("unknown-operator-class", on("CREATE INDEX ix_host ON volumes (host not_there_ops)", PG), "unknown-option", harm=fails("not_there_ops"), place=Place.REFUSED),
    allowed("index-with-a-known-operator-class", on("CREATE INDEX ix_name ON volumes (host varchar_pattern_ops, name text_pattern_ops DESC)", PG), "create-index"),
    refused("statistics-on-an-expression", on("CREATE STATISTICS st_volumes ON (1 / size), status FROM volumes", PG), "unknown-option", harm=breaks("analyze volumes"), base="analyze", place=Place.REFUSED),
    allowed("statistics-of-kinds", on("CREATE STATISTICS st_volumes (ndistinct, mcv) ON status, host FROM volumes", PG), "create-object"),
    refused("optimize-table-with-fulltext-index", on("OPTIMIZE TABLE volumes", MY, MA), "rewrite-table", harm=rewrite("volumes"), base="fulltext"),
    refused("vacuum-in-a-transaction", on("BEGIN; VACUUM", LITE), "control-transaction", "rewrite-table", harm=fails("within a transaction"), place=Place.REFUSED),
    refused("rows-of-a-foreign-table", on("CREATE FOREIGN TABLE far (id INTEGER) SERVER not_there; DELETE FROM far", PG), "create-object", "change-rows", harm=fails("not_there"), place=Place.DATA),
    refused("rows-of-an-unknown-virtual-table", on("CREATE VIRTUAL TABLE far USING not_there; DELETE FROM far", LITE), "create-table", "change-rows", harm=fails("not_there"), place=Place.DATA),
    refused("rows-of-a-federated-table", on("CREATE TABLE far (id INTEGER) ENGINE=FEDERATED CONNECTION='mysql://root@localhost/x/snapshots'; DELETE FROM far", MY, MA), "create-table", "change-rows", harm=fails("federated"), place=Place.DATA),
    refused("unknown-storage-parameter", on("ALTER TABLE volumes SET (fillfactor = 80, not_there = 1)", PG), "unknown-option", harm=fails("not_there"), place=Place.REFUSED),
    allowed("user-catalog-table", on("ALTER TABLE volumes SET (user_catalog_table = true)", PG), "set-table-option"),
]

CASES: list[Case] = [*CALLS, *DEFAULTS, *LATER, *PARTITIONS, *NAMES, *ENUMS, *OTHERS]
