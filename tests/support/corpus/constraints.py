"""Constraints of tables that old code writes."""

from __future__ import annotations

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
    on,
    refused,
    wrong,
)

_ADD = "ALTER TABLE volumes ADD CONSTRAINT "

UNIQUE = [
    refused("add-unique", on(_ADD + "uq_volumes_name UNIQUE (name)", PG, MY, MA), "add-unique", harm=breaks("insert volume of the same name")),
    refused("add-unique-without-name", on("ALTER TABLE volumes ADD UNIQUE (name)", PG, MY, MA), "add-unique", harm=breaks("insert volume of the same name")),
    refused("add-unique-key", on("ALTER TABLE volumes ADD UNIQUE KEY uq_name (name)", MY, MA), "add-unique", harm=breaks("insert volume of the same name")),
    refused("add-unique-with-duplicates", on(_ADD + "uq_volumes_status UNIQUE (status)", PG, MY, MA), "add-unique", harm=fails("uplicate")),
    refused("add-unique-of-two", on(_ADD + "uq_volumes_name UNIQUE (name, host)", PG, MY, MA), "add-unique", harm=breaks("insert volume of the same name")),
    refused("add-unique-using-index", on("CREATE UNIQUE INDEX uq_volumes_name ON volumes (name); " + _ADD + "uq_volumes_name UNIQUE USING INDEX uq_volumes_name", PG), "create-unique-index", "add-unique", harm=breaks("insert volume of the same name")),
    refused("add-unique-nulls-not-distinct", on("ALTER TABLE volumes ADD COLUMN code INTEGER; " + _ADD + "uq_code UNIQUE NULLS NOT DISTINCT (code)", PG), "add-column", "add-unique", harm=fails("duplicate")),
    refused("create-unique-index-nulls-not-distinct", on("ALTER TABLE volumes ADD COLUMN code INTEGER; CREATE UNIQUE INDEX uq_code ON volumes (code) NULLS NOT DISTINCT", PG), "add-column", "create-unique-index", harm=fails("duplicate")),
    refused("add-exclude", on(_ADD + "ex_volumes_name EXCLUDE USING btree (name WITH =)", PG), "add-exclude", harm=breaks("insert volume of the same name")),
    refused("add-exclude-gist", on("CREATE EXTENSION btree_gist; " + _ADD + "ex_volumes_name EXCLUDE USING gist (name WITH =)", PG), "create-object", "add-exclude", harm=breaks("insert volume of the same name")),
    refused("create-unique-index", everywhere("CREATE UNIQUE INDEX uq_volumes_name ON volumes (name)"), "create-unique-index", harm=breaks("insert volume of the same name")),
    refused("create-unique-index-concurrently", on("CREATE UNIQUE INDEX CONCURRENTLY uq_volumes_name ON volumes (name)", PG), "create-unique-index", harm=breaks("insert volume of the same name")),
    refused("create-unique-index-if-not-exists", on("CREATE UNIQUE INDEX IF NOT EXISTS uq_volumes_name ON volumes (name)", PG, MA, LITE), "create-unique-index", harm=breaks("insert volume of the same name")),
    refused("create-unique-index-on-expression", on("CREATE UNIQUE INDEX uq_lower ON volumes (lower(name))", PG, LITE), "create-unique-index", harm=breaks("insert volume of the same name")),
    refused("create-unique-index-on-expression", on("CREATE UNIQUE INDEX uq_lower ON volumes ((lower(name)))", MY), "create-expression-index", harm=breaks("insert volume of the same name")),
    refused("create-partial-unique-index", on("CREATE UNIQUE INDEX uq_part ON volumes (name) WHERE name = 'alpha'", PG, LITE), "create-unique-index", harm=breaks("insert volume of the same name")),
    refused("create-unique-index-online", on("CREATE UNIQUE INDEX uq_volumes_name ON volumes (name) ALGORITHM=INPLACE LOCK=NONE", MY, MA), "create-unique-index", "set-table-option", "set-table-option", harm=breaks("insert volume of the same name")),
    allowed("add-unique-of-new-column", on("ALTER TABLE volumes ADD COLUMN code VARCHAR(9); " + _ADD + "uq_volumes_code UNIQUE (code)", PG, MY, MA), "add-column", "add-harmless-constraint"),
    refused("add-unique-that-includes-text", on("ALTER TABLE volumes ADD COLUMN code VARCHAR(9); " + _ADD + "uq_volumes_code UNIQUE (code) INCLUDE (note)", PG), "add-column", "create-index-on-long-values", harm=breaks("insert volume with a long note")),
    refused("unique-index-of-new-column-and-text", on("ALTER TABLE volumes ADD COLUMN code VARCHAR(9); CREATE UNIQUE INDEX uq_volumes_code ON volumes (code, note)", PG), "add-column", "create-index-on-long-values", harm=breaks("insert volume with a long note")),
    allowed("unique-index-of-new-column", everywhere("ALTER TABLE volumes ADD COLUMN code VARCHAR(9); CREATE UNIQUE INDEX uq_volumes_code ON volumes (code)"), "add-column", "create-harmless-unique-index"),
    refused("unique-index-of-new-column-with-default", everywhere("ALTER TABLE settings ADD COLUMN code VARCHAR(9) DEFAULT 'x'; CREATE UNIQUE INDEX uq_settings_code ON settings (code)"), "add-column", "create-unique-index", harm=fails("u")),
]

KEYS = [
    refused("add-primary-key", on("UPDATE settings SET mode = 'auto'; ALTER TABLE settings DROP CONSTRAINT settings_pkey; ALTER TABLE settings ADD PRIMARY KEY (mode, name)", PG), "change-rows", "drop-constraint", "add-primary-key", harm=breaks("insert setting without mode"), base="modes"),
    refused("add-primary-key", on("UPDATE settings SET mode = 'auto'; ALTER TABLE settings DROP PRIMARY KEY, ADD PRIMARY KEY (id, mode)", MY, MA), "change-rows", "drop-constraint", "add-primary-key", harm=wrong("read settings"), base="modes"),
    refused("add-second-primary-key", on("ALTER TABLE volumes ADD PRIMARY KEY (name)", PG, MY, MA), "add-primary-key", harm=fails("ultiple primary key")),
    refused("drop-primary-key", on("ALTER TABLE settings DROP CONSTRAINT settings_pkey", PG), "drop-constraint", harm=breaks("upsert setting by id"), base="upsert"),
    refused("drop-primary-key", on("ALTER TABLE settings MODIFY id INTEGER NOT NULL, DROP PRIMARY KEY", MY, MA), "change-generated", "drop-constraint", harm=breaks("insert setting")),
    refused("drop-unique", on("ALTER TABLE settings DROP CONSTRAINT uq_settings_name", PG), "drop-constraint", harm=breaks("upsert setting"), base="upsert"),
    refused("drop-unique", on("ALTER TABLE settings DROP INDEX uq_settings_name", MY, MA), "drop-index", harm=wrong("read settings again"), base="upsert"),
    refused("drop-unique-constraint", on("ALTER TABLE settings DROP CONSTRAINT uq_settings_name", PG, MY, MA), "drop-constraint", harm=wrong("insert setting of the same name")),
    refused("drop-check", on("ALTER TABLE volumes DROP CONSTRAINT ck_volumes_priority", PG, MY, MA), "drop-constraint", harm=wrong("insert volume of bad priority")),
    refused("drop-check-by-kind", on("ALTER TABLE volumes DROP CHECK ck_volumes_priority", MY), "drop-constraint", harm=wrong("insert volume of bad priority")),
    refused("stop-to-enforce-check", on("ALTER TABLE volumes ALTER CHECK ck_volumes_priority NOT ENFORCED", MY), "alter-constraint", harm=wrong("insert volume of bad priority")),
    refused("drop-foreign-key", {PG: "ALTER TABLE snapshots DROP CONSTRAINT fk_snapshots_volume", MY: "ALTER TABLE snapshots DROP FOREIGN KEY fk_snapshots_volume", MA: "ALTER TABLE snapshots DROP FOREIGN KEY fk_snapshots_volume"}, "drop-constraint", harm=wrong("insert snapshot of a missing volume")),
    refused("defer-foreign-key", on("ALTER TABLE snapshots ALTER CONSTRAINT fk_snapshots_volume DEFERRABLE INITIALLY DEFERRED", PG), "alter-constraint", harm=wrong("insert snapshot in a transaction"), base="transaction"),
    refused("rename-constraint", on("ALTER TABLE settings RENAME CONSTRAINT uq_settings_name TO uq_other", PG), "alter-constraint", harm=breaks("upsert by constraint"), base="constraint name"),
    refused("rename-primary-key-index", on("ALTER INDEX uq_settings_name RENAME TO uq_other", PG), "rename-index", harm=breaks("upsert by constraint"), base="constraint name"),
]

CHECKS = [
    refused("add-check", on(_ADD + "ck_size CHECK (size > 0)", PG, MY, MA), "add-check", harm=breaks("insert volume of size 0")),
    refused("add-check-without-name", on("ALTER TABLE volumes ADD CHECK (size > 0)", PG, MY, MA), "add-check", harm=breaks("insert volume of size 0")),
    refused("add-check-not-valid", on(_ADD + "ck_size CHECK (size > 0) NOT VALID", PG), "add-check", harm=breaks("insert volume of size 0")),
    refused("add-check-not-null", on(_ADD + "ck_host CHECK (host IS NOT NULL) NOT VALID", PG), "add-check", harm=breaks("insert volume with defaults")),
    refused("add-check-that-rows-fail", on(_ADD + "ck_size CHECK (size > 15)", PG, MY, MA), "add-check", harm=fails("onstraint")),
    allowed("add-check-of-new-column", on("ALTER TABLE volumes ADD COLUMN tier INTEGER; " + _ADD + "ck_tier CHECK (tier > 0)", PG), "add-column", "add-harmless-constraint"),
    allowed("add-check-not-valid-of-new-column", on("ALTER TABLE volumes ADD COLUMN tier INTEGER; " + _ADD + "ck_tier CHECK (tier > 0) NOT VALID", PG), "add-column", "add-harmless-constraint"),
    refused("add-check-not-valid-not-null-of-new-column", on("ALTER TABLE volumes ADD COLUMN tier INTEGER; " + _ADD + "ck_tier CHECK (tier IS NOT NULL) NOT VALID", PG), "add-column", "add-check", harm=breaks("insert volume")),
    refused("add-check-coalesce-of-new-column", on("ALTER TABLE volumes ADD COLUMN tier INTEGER; " + _ADD + "ck_tier CHECK (coalesce(tier, 0) > 0) NOT VALID", PG), "add-column", "add-check", harm=breaks("insert volume")),
    refused("add-check-not-valid-of-both", on("ALTER TABLE volumes ADD COLUMN tier INTEGER; " + _ADD + "ck_tier CHECK (size > 0 AND tier IS NULL) NOT VALID", PG), "add-column", "add-check", harm=breaks("insert volume of size 0")),
    allowed("validate-constraint", on("ALTER TABLE volumes ADD COLUMN tier INTEGER; " + _ADD + "ck_tier CHECK (tier > 0) NOT VALID; ALTER TABLE volumes VALIDATE CONSTRAINT ck_tier", PG), "add-column", "add-harmless-constraint", "validate-constraint"),
    allowed("check-not-enforced", on(_ADD + "ck_size CHECK (size > 0) NOT ENFORCED", MY), "add-harmless-constraint"),
    refused("check-no-inherit", on(_ADD + "ck_size CHECK (size > 0) NO INHERIT", PG), "add-check", harm=breaks("insert volume of size 0")),
    refused("check-with-function", on("CREATE FUNCTION fits(n INTEGER) RETURNS BOOLEAN LANGUAGE sql AS $$ SELECT n > 0 $$; " + _ADD + "ck_size CHECK (fits(size)) NOT VALID", PG), "create-routine", "add-check", harm=breaks("insert volume of size 0")),
]

FOREIGN_KEYS = [
    refused("add-foreign-key", on("ALTER TABLE snapshots ADD CONSTRAINT fk_parent FOREIGN KEY (parent_id) REFERENCES volumes (id)", PG, MY, MA), "add-foreign-key", harm=breaks("insert snapshot of no volume")),
    refused("add-foreign-key-not-valid", on("ALTER TABLE snapshots ADD CONSTRAINT fk_parent FOREIGN KEY (parent_id) REFERENCES volumes (id) NOT VALID", PG), "add-foreign-key", harm=breaks("insert snapshot of no volume")),
    refused("add-foreign-key-that-rows-fail", on("UPDATE snapshots SET parent_id = 77; ALTER TABLE snapshots ADD FOREIGN KEY (parent_id) REFERENCES volumes (id)", PG, MY, MA), "change-rows", "add-foreign-key", harm=fails("foreign key constraint")),
    refused("add-foreign-key-without-checks", on("SET foreign_key_checks = 0; ALTER TABLE snapshots ADD CONSTRAINT fk_parent FOREIGN KEY (parent_id) REFERENCES volumes (id)", MY, MA), "session-setting", "add-foreign-key", harm=breaks("insert snapshot of no volume")),
    allowed("add-foreign-key-of-new-column", on("ALTER TABLE volumes ADD COLUMN setting_id INTEGER; " + _ADD + "fk_setting FOREIGN KEY (setting_id) REFERENCES settings (id)", PG), "add-column", "add-harmless-constraint"),
    allowed("add-foreign-key-not-valid-of-new-column", on("ALTER TABLE volumes ADD COLUMN setting_id INTEGER; " + _ADD + "fk_setting FOREIGN KEY (setting_id) REFERENCES settings (id) NOT VALID", PG), "add-column", "add-harmless-constraint"),
    allowed("add-foreign-key-then-validate", on("ALTER TABLE volumes ADD COLUMN setting_id INTEGER; " + _ADD + "fk_setting FOREIGN KEY (setting_id) REFERENCES settings (id) NOT VALID; ALTER TABLE volumes VALIDATE CONSTRAINT fk_setting", PG), "add-column", "add-harmless-constraint", "validate-constraint"),
]

CASES: list[Case] = [*UNIQUE, *KEYS, *CHECKS, *FOREIGN_KEYS]
