"""Views, triggers, routines and other objects of a schema."""

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

_TRIGGER = "CREATE TRIGGER guard BEFORE INSERT ON volumes FOR EACH ROW "
_SIGNAL = _TRIGGER + "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'"
_RAISE = """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN IF NEW.size = 0 THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$;
"""

VIEWS = [
    allowed("create-view", everywhere("CREATE VIEW big_volumes AS SELECT id, name FROM volumes WHERE size > 10"), "create-view"),
    allowed("create-view-if-not-exists", on("CREATE VIEW IF NOT EXISTS big_volumes AS SELECT id FROM volumes", MA, LITE), "create-view"),
    allowed("create-temporary-view", on("CREATE TEMPORARY VIEW big_volumes AS SELECT id FROM volumes", PG, LITE), "create-view"),
    allowed("create-materialized-view", on("CREATE MATERIALIZED VIEW volume_sizes AS SELECT status, sum(size) AS total FROM volumes GROUP BY status", PG), "create-view"),
    allowed("create-view-security", on("CREATE SQL SECURITY INVOKER VIEW big_volumes AS SELECT id FROM volumes", MY, MA), "create-view"),
    allowed("replace-new-view", on("CREATE VIEW big_volumes AS SELECT id FROM volumes; CREATE OR REPLACE VIEW big_volumes AS SELECT id, size FROM volumes", PG, MY, MA), "create-view", "create-view"),
    refused("extend-view", on("CREATE OR REPLACE VIEW volume_list AS SELECT id, name, status, size FROM volumes WHERE status <> 'error' AND id > 3", PG), "replace-view", harm=lost("read volume list"), base="view"),
    refused("replace-view-with-fewer-columns", on("CREATE OR REPLACE VIEW volume_list AS SELECT id, name FROM volumes", PG), "replace-view", harm=fails("cannot drop columns from view"), base="view"),
    refused("replace-view-with-fewer-columns", on("CREATE OR REPLACE VIEW volume_list AS SELECT id, name FROM volumes", MY, MA), "replace-view", harm=breaks("read volume list"), base="view"),
    refused("replace-view-with-fewer-rows", on("CREATE OR REPLACE VIEW volume_list AS SELECT id, name, status FROM volumes WHERE id > 3", MY, MA), "replace-view", harm=lost("read volume list"), base="view"),
    refused("replace-view-with-fewer-rows", on("CREATE OR REPLACE VIEW volume_list AS SELECT id, name, status FROM volumes WHERE id > 3", PG), "replace-view", harm=lost("read volume list"), base="view"),
    refused("replace-view-with-other-values", on("CREATE OR REPLACE VIEW volume_list AS SELECT id, host::varchar(40) AS name, status FROM volumes", PG), "replace-view", harm=wrong("read volume list"), base="view"),
    refused("alter-view", on("ALTER VIEW volume_list AS SELECT id FROM volumes", MY, MA), "replace-view", harm=breaks("read volume list"), base="view"),
    refused("drop-view", everywhere("DROP VIEW volume_list"), "drop-object", harm=breaks("read volume list"), base="view"),
    refused("drop-and-create-view", everywhere("DROP VIEW IF EXISTS volume_list; CREATE VIEW volume_list AS SELECT id FROM volumes"), "drop-object", "create-view", harm=breaks("read volume list"), base="view"),
    refused("rename-view", on("ALTER VIEW volume_list RENAME TO volume_names", PG), "change-object", harm=breaks("read volume list"), base="view"),
    refused("rename-view-column", on("ALTER VIEW volume_list RENAME COLUMN name TO label", PG), "change-object", harm=breaks("read volume list"), base="view"),
    refused("view-in-place-of-table", on("ALTER TABLE settings RENAME TO settings_table; CREATE VIEW settings AS SELECT id, name FROM settings_table", PG, MY, MA, LITE), "rename-table", "create-view", harm=breaks("read settings")),
]

TRIGGERS = [
    refused("create-trigger-that-refuses", {PG: _RAISE + _TRIGGER + "EXECUTE FUNCTION refuse()"}, "create-routine", "create-trigger", harm=breaks("insert volume of size 0")),
    refused("create-trigger-that-refuses", on(_SIGNAL, MY, MA), "create-trigger", harm=breaks("insert volume")),
    refused("create-trigger-that-refuses", on("CREATE TRIGGER guard BEFORE INSERT ON volumes WHEN NEW.size = 0 BEGIN SELECT RAISE(ABORT, 'no'); END", LITE), "create-trigger", harm=breaks("insert volume of size 0")),
    refused("create-trigger-that-changes", on(_TRIGGER + "SET NEW.note = 'changed'", MY, MA), "create-trigger", harm=wrong("read volumes")),
    refused("create-trigger-that-changes", on("CREATE TRIGGER change AFTER INSERT ON volumes BEGIN UPDATE volumes SET note = 'changed' WHERE id = NEW.id; END", LITE), "create-trigger", harm=wrong("read volumes")),
    refused("create-trigger-that-skips", on("CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; " + _TRIGGER + "EXECUTE PROCEDURE skip()", PG), "create-routine", "create-trigger", harm=lost("read volumes")),
    refused("create-trigger-that-deletes", on("CREATE TRIGGER cleaning AFTER UPDATE ON volumes FOR EACH ROW DELETE FROM snapshots", MY, MA), "create-trigger", harm=lost("read snapshots")),
    refused("create-trigger-of-missing-table", on("CREATE TRIGGER copy AFTER INSERT ON volumes FOR EACH ROW INSERT INTO not_there (id) VALUES (NEW.id)", MY, MA), "create-trigger", harm=breaks("insert volume")),
    refused("create-constraint-trigger", on(_RAISE + "CREATE CONSTRAINT TRIGGER guard AFTER INSERT ON volumes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()", PG), "create-routine", "create-trigger", harm=breaks("insert volume of size 0")),
    refused("drop-trigger", {PG: "DROP TRIGGER count_revisions ON settings", MY: "DROP TRIGGER count_revisions", MA: "DROP TRIGGER count_revisions", LITE: "DROP TRIGGER count_revisions"}, "drop-object", harm=wrong("read settings"), base="trigger"),
    refused("drop-trigger-if-exists", {PG: "DROP TRIGGER IF EXISTS count_revisions ON settings", MY: "DROP TRIGGER IF EXISTS count_revisions", MA: "DROP TRIGGER IF EXISTS count_revisions", LITE: "DROP TRIGGER IF EXISTS count_revisions"}, "drop-object", harm=wrong("read settings"), base="trigger"),
    refused("replace-trigger", on("CREATE OR REPLACE TRIGGER count_revisions BEFORE UPDATE ON settings FOR EACH ROW SET NEW.revision = 0", MA), "create-trigger", harm=wrong("read settings"), base="trigger"),
    refused("drop-trigger-function", on("DROP FUNCTION count_revision() CASCADE", PG), "drop-object", harm=wrong("read settings"), base="trigger"),
    refused("create-rule", on("CREATE RULE quiet AS ON DELETE TO snapshots DO INSTEAD NOTHING", PG), "create-active-object", harm=wrong("read snapshots")),
    refused("create-event", on("CREATE EVENT cleaning ON SCHEDULE AT CURRENT_TIMESTAMP DO DELETE FROM snapshots; DROP TABLE settings", MY, MA), "create-active-object", "drop-table", harm=breaks("read settings")),
]

ROUTINES = [
    allowed("create-function", on("CREATE FUNCTION rack_label(n INTEGER) RETURNS TEXT LANGUAGE sql AS $$ SELECT 'rack-' || n $$", PG), "create-routine"),
    allowed("create-function", on("CREATE FUNCTION rack_label(n INTEGER) RETURNS VARCHAR(60) DETERMINISTIC RETURN CONCAT('rack-', n)", MY, MA), "create-routine"),
    allowed("create-procedure", on("CREATE PROCEDURE clean() DELETE FROM snapshots", MY, MA), "create-routine"),
    allowed("create-procedure-with-body", on("CREATE PROCEDURE clean() BEGIN DELETE FROM snapshots; DELETE FROM volumes; END", MY, MA), "create-routine"),
    allowed("create-procedure", on("CREATE PROCEDURE clean() LANGUAGE plpgsql AS $body$ BEGIN DELETE FROM snapshots; DROP TABLE volumes; END $body$", PG), "create-routine"),
    refused("replace-function", on("CREATE OR REPLACE FUNCTION volume_label(n INTEGER) RETURNS VARCHAR LANGUAGE sql AS $$ SELECT 'disk-' || n $$", PG), "replace-routine", harm=wrong("call volume label"), base="routine"),
    refused("replace-function", on("CREATE OR REPLACE FUNCTION volume_label(n INTEGER) RETURNS VARCHAR(60) DETERMINISTIC RETURN 'disk'", MA), "replace-routine", harm=wrong("call volume label"), base="routine"),
    refused("drop-function", {PG: "DROP FUNCTION volume_label(INTEGER)", MY: "DROP FUNCTION volume_label", MA: "DROP FUNCTION volume_label"}, "drop-object", harm=breaks("call volume label"), base="routine"),
    refused("rename-function", on("ALTER FUNCTION volume_label(INTEGER) RENAME TO disk_label", PG), "change-object", harm=breaks("call volume label"), base="routine"),
    refused("function-with-default-makes-calls-ambiguous", on("CREATE FUNCTION volume_label(n INTEGER, prefix VARCHAR DEFAULT 'x') RETURNS VARCHAR LANGUAGE sql AS $$ SELECT prefix || n $$; CREATE FUNCTION volume_label(n BIGINT) RETURNS VARCHAR LANGUAGE sql AS $$ SELECT 'big' $$; DROP FUNCTION volume_label(INTEGER)", PG), "overload-routine", "overload-routine", "drop-object", harm=wrong("call volume label"), base="routine"),
    refused("call", on("CALL purge_volumes()", PG, MY, MA), "run-code", harm=lost("read snapshots"), place=Place.REFUSED, base="routine"),
    refused("select-function-that-writes", on("SELECT purge_snapshots()", PG), "unknown-function", harm=lost("read snapshots"), place=Place.REFUSED, base="routine"),
]

OBJECTS = [
    allowed("create-sequence", on("CREATE SEQUENCE rack_numbers START WITH 5", PG, MA), "create-object"),
    refused("drop-sequence", on("DROP SEQUENCE ticket_numbers", PG, MA), "drop-object", harm=breaks("next ticket"), base="sequence"),
    refused("restart-sequence", on("ALTER SEQUENCE ticket_numbers RESTART WITH 1", PG, MA), "change-object", harm=wrong("next ticket"), base="sequence"),
    refused("sequence-maximum", on("ALTER SEQUENCE ticket_numbers MAXVALUE 10", PG, MA), "change-object", harm=breaks("next ticket"), base="sequence"),
    refused("rename-sequence", on("ALTER SEQUENCE ticket_numbers RENAME TO numbers", PG), "change-object", harm=breaks("next ticket"), base="sequence"),
    refused("restart-serial", on("ALTER SEQUENCE volumes_id_seq RESTART WITH 1", PG), "change-object", harm=breaks("insert volume")),
    refused("setval", on("SELECT setval('volumes_id_seq', 1)", PG), "unknown-function", harm=breaks("insert volume"), place=Place.REFUSED),
    allowed("create-extension", on("CREATE EXTENSION pg_trgm", PG), "create-object"),
    allowed("create-extension-if-not-exists", on("CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public", PG), "create-object"),
    allowed("create-schema", on("CREATE SCHEMA corpus_schema", PG), "create-object"),
    allowed("create-enum-type", on("CREATE TYPE rack_kind AS ENUM ('a', 'b')", PG), "create-object"),
    allowed("create-composite-type", on("CREATE TYPE pair AS (a INTEGER, b INTEGER)", PG), "create-object"),
    allowed("create-domain", on("CREATE DOMAIN shelf_name AS VARCHAR(10) CHECK (VALUE <> '')", PG), "create-object"),
    allowed("create-statistics", on("CREATE STATISTICS st_volumes ON status, host FROM volumes", PG), "create-object"),
    allowed("create-collation", on("CREATE COLLATION no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)", PG), "create-object"),
    refused("domain-not-null", on("ALTER DOMAIN rack_name SET NOT NULL", PG), "change-object", harm=breaks("insert rack without name"), base="domain", place=Place.CONTRACT),
    refused("domain-add-check", on("ALTER DOMAIN rack_name ADD CHECK (VALUE NOT LIKE 'rack%') NOT VALID", PG), "change-object", harm=breaks("insert rack"), base="domain", place=Place.CONTRACT),
    refused("drop-domain", on("DROP DOMAIN rack_name CASCADE", PG), "drop-object", harm=breaks("insert rack"), base="domain"),
    refused("rename-schema", on("ALTER SCHEMA public RENAME TO corpus_schema; CREATE SCHEMA public", PG), "change-object", "create-object", harm=breaks("read volumes")),
    refused("drop-schema", on("DROP SCHEMA public CASCADE; CREATE SCHEMA public", PG), "drop-object", "create-object", harm=breaks("read volumes")),
    refused("add-column-of-strict-domain", on("CREATE DOMAIN code AS INTEGER NOT NULL; ALTER TABLE volumes ADD COLUMN code code", PG), "create-object", "unknown-type", harm=fails("does not allow null values"), place=Place.REFUSED),
    refused("add-column-of-checking-domain", on("CREATE DOMAIN code AS INTEGER CHECK (VALUE IS NOT NULL); CREATE TABLE logs (id INTEGER); ALTER TABLE volumes ADD COLUMN code code DEFAULT 1; ALTER DOMAIN code DROP CONSTRAINT code_check", PG), "create-object", "create-table", "unknown-type", "change-object", harm=rewrite("volumes"), place=Place.REFUSED),
]

CASES: list[Case] = [*VIEWS, *TRIGGERS, *ROUTINES, *OBJECTS]
