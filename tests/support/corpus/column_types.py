"""Types of columns: wider, narrower, other."""

from __future__ import annotations

from tests.support.corpus.case import (
    MA,
    MY,
    PG,
    Case,
    allowed,
    breaks,
    fails,
    on,
    refused,
    rewrite,
    wrong,
)

_TYPE = "ALTER TABLE volumes ALTER COLUMN "
_MODIFY = "ALTER TABLE volumes MODIFY COLUMN "

WIDER = [
    allowed("varchar-wider", {PG: _TYPE + "name TYPE VARCHAR(60)", MY: _MODIFY + "name VARCHAR(60)", MA: _MODIFY + "name VARCHAR(60)"}, "widen-type"),
    allowed("varchar-set-data-type", on(_TYPE + "name SET DATA TYPE VARCHAR(60)", PG), "widen-type"),
    allowed("varchar-to-text", on(_TYPE + "name TYPE TEXT", PG), "widen-type"),
    allowed("varchar-without-length", on(_TYPE + "name TYPE VARCHAR", PG), "widen-type"),
    allowed("indexed-varchar-wider", {PG: _TYPE + "host TYPE VARCHAR(120)", MY: _MODIFY + "host VARCHAR(63)", MA: _MODIFY + "host VARCHAR(63)"}, "widen-type"),
    allowed("numeric-more-digits", on(_TYPE + "price TYPE NUMERIC(12,2)", PG), "widen-type"),
    allowed("numeric-without-limit", on(_TYPE + "price TYPE NUMERIC", PG), "widen-type"),
    allowed("varchar-change-same-name", on("ALTER TABLE volumes CHANGE COLUMN name name VARCHAR(50)", MY, MA), "widen-type"),
    allowed("same-type", on(_TYPE + "size TYPE INTEGER", PG), "no-change"),
    allowed("same-type-by-other-name", on(_TYPE + "size TYPE int4", PG), "no-change"),
    refused("varchar-over-255-bytes", on(_MODIFY + "name VARCHAR(64)", MY, MA), "change-type-rewrite", harm=rewrite("volumes")),
    refused("varchar-60-over-255-bytes", on(_MODIFY + "host VARCHAR(255)", MY, MA), "change-type-rewrite", harm=rewrite("volumes")),
    refused("varchar-to-text", on(_MODIFY + "name TEXT", MY, MA), "change-type", harm=rewrite("volumes")),
    refused("integer-to-bigint", {PG: _TYPE + "size TYPE BIGINT", MY: _MODIFY + "size BIGINT NOT NULL", MA: _MODIFY + "size BIGINT NOT NULL"}, "change-type-rewrite", harm=rewrite("volumes")),
    refused("smallint-to-integer", {PG: _TYPE + "priority TYPE INTEGER", MY: _MODIFY + "priority INTEGER NOT NULL DEFAULT 3", MA: _MODIFY + "priority INTEGER NOT NULL DEFAULT 3"}, "change-type-rewrite", harm=rewrite("volumes")),
    refused("numeric-more-digits", on(_MODIFY + "price NUMERIC(12,2)", MY, MA), "change-type-rewrite", harm=rewrite("volumes")),
    refused("numeric-more-scale", on(_TYPE + "price TYPE NUMERIC(12,4)", PG), "change-type-rewrite", harm=rewrite("volumes")),
    refused("numeric-more-scale", on(_MODIFY + "price NUMERIC(12,4)", MY, MA), "change-type", harm=rewrite("volumes")),
    refused("timestamp-to-timestamptz", on(_TYPE + "created_at TYPE TIMESTAMPTZ", PG), "change-type", harm=wrong("read volumes")),
    refused("datetime-to-timestamp", on(_MODIFY + "created_at TIMESTAMP NULL", MY, MA), "change-type", harm=rewrite("volumes")),
    refused("integer-to-varchar", {PG: _TYPE + "size TYPE VARCHAR(20)", MY: _MODIFY + "size VARCHAR(20) NOT NULL", MA: _MODIFY + "size VARCHAR(20) NOT NULL"}, "change-type", harm=wrong("read volumes")),
    refused("text-to-jsonb", on("ALTER TABLE volumes ALTER COLUMN note TYPE JSONB USING to_jsonb(note)", PG), "change-type", harm=breaks("insert volume")),
    refused("varchar-to-integer", on("UPDATE volumes SET host = '1'; " + _TYPE + "host TYPE INTEGER USING host::integer", PG), "change-rows", "change-type", harm=breaks("insert volume")),
    refused("same-type-with-using", on(_TYPE + "name TYPE VARCHAR(60) USING upper(name)", PG), "change-type", harm=wrong("read volumes")),
    refused("wider-with-other-collation", on(_TYPE + 'name TYPE VARCHAR(60) COLLATE "und-x-icu"', PG), "change-type", harm=wrong("volumes by name"), base="sorted"),
    refused("charset", on(_MODIFY + "name VARCHAR(40) CHARACTER SET latin1", MY, MA), "change-type", harm=rewrite("volumes")),
    refused("collation", on(_MODIFY + "name VARCHAR(40) COLLATE utf8mb4_bin", MY, MA), "change-type", harm=wrong("find volume")),
    refused("integer-to-unsigned", on("UPDATE volumes SET size = 1; " + _MODIFY + "size INTEGER UNSIGNED NOT NULL", MY, MA), "change-rows", "change-type", harm=wrong("read volumes")),
    refused("datetime-precision", on(_MODIFY + "created_at DATETIME(6)", MY), "change-type", harm=rewrite("volumes")),
]

NARROWER = [
    refused("varchar-narrower", {PG: _TYPE + "name TYPE VARCHAR(20)", MY: _MODIFY + "name VARCHAR(20)", MA: _MODIFY + "name VARCHAR(20)"}, "change-type", harm=breaks("insert volume with the longest name")),
    refused("varchar-narrower-than-rows", on(_TYPE + "name TYPE VARCHAR(3)", PG), "change-type", harm=fails("too long")),
    refused("varchar-narrower-than-rows", on(_MODIFY + "name VARCHAR(3)", MY, MA), "change-type", harm=fails("truncated")),
    refused("varchar-cut", on(_TYPE + "name TYPE VARCHAR(3) USING left(name, 3)", PG), "change-type", harm=breaks("insert volume")),
    refused("varchar-cut-without-strict-mode", on("SET sql_mode = ''; " + _MODIFY + "name VARCHAR(3)", MY, MA), "session-setting", "change-type", harm=breaks("insert volume")),
    refused("integer-to-smallint", {PG: _TYPE + "size TYPE SMALLINT", MY: _MODIFY + "size SMALLINT NOT NULL", MA: _MODIFY + "size SMALLINT NOT NULL"}, "change-type", harm=breaks("insert volume of the largest size")),
    refused("numeric-fewer-digits", {PG: _TYPE + "price TYPE NUMERIC(6,2)", MY: _MODIFY + "price NUMERIC(6,2)", MA: _MODIFY + "price NUMERIC(6,2)"}, "change-type", harm=breaks("insert volume of the highest price")),
    refused("numeric-fewer-scale", {PG: _TYPE + "price TYPE NUMERIC(8,0)", MY: _MODIFY + "price NUMERIC(8,0)", MA: _MODIFY + "price NUMERIC(8,0)"}, "change-type", harm=wrong("read volumes")),
    refused("timestamp-to-date", {PG: _TYPE + "created_at TYPE DATE", MY: _MODIFY + "created_at DATE", MA: _MODIFY + "created_at DATE"}, "change-type", harm=wrong("read volumes")),
    refused("text-to-varchar", {PG: _TYPE + "note TYPE VARCHAR(6)", MY: _MODIFY + "note VARCHAR(6)", MA: _MODIFY + "note VARCHAR(6)"}, "change-type", harm=rewrite("volumes")),
    refused("change-type-and-add", on(_TYPE + "name TYPE VARCHAR(20), ADD COLUMN flavor INTEGER", PG), "change-type", "add-column", harm=breaks("insert volume with the longest name")),
]

ENUMS = [
    allowed("enum-value-at-end", on("ALTER TYPE setting_mode ADD VALUE 'off'", PG), "add-enum-value"),
    allowed("enum-value-at-end", on("ALTER TABLE settings MODIFY mode ENUM('auto', 'manual', 'off')", MY, MA), "widen-type"),
    allowed("enum-value-if-not-exists", on("ALTER TYPE setting_mode ADD VALUE IF NOT EXISTS 'auto'", PG), "add-enum-value"),
    allowed("enum-value-change", on("ALTER TABLE settings CHANGE mode mode ENUM('auto', 'manual', 'off')", MY, MA), "widen-type"),
    refused("enum-value-before", on("ALTER TYPE setting_mode ADD VALUE 'off' BEFORE 'auto'", PG), "add-enum-value-in-middle", harm=wrong("settings by mode number"), base="modes"),
    refused("enum-value-after-last", on("ALTER TYPE setting_mode ADD VALUE 'off' AFTER 'auto'", PG), "add-enum-value-in-middle", harm=wrong("settings by mode number"), base="modes"),
    refused("enum-value-in-middle", on("ALTER TABLE settings MODIFY mode ENUM('auto', 'off', 'manual')", MY, MA), "add-enum-value-in-middle", harm=rewrite("settings")),
    refused("enum-value-in-front", on("ALTER TABLE settings MODIFY mode ENUM('off', 'auto', 'manual')", MY, MA), "add-enum-value-in-middle", harm=wrong("settings by mode number"), base="modes"),
    refused("enum-value-removed", on("DELETE FROM settings WHERE mode = 'manual'; ALTER TABLE settings MODIFY mode ENUM('auto')", MY, MA), "change-rows", "change-type", harm=breaks("insert setting")),
    refused("enum-value-renamed", on("ALTER TYPE setting_mode RENAME VALUE 'manual' TO 'by hand'", PG), "change-object", harm=breaks("insert setting")),
    refused("enum-value-renamed", on("ALTER TABLE settings MODIFY mode ENUM('auto', 'by hand')", MY, MA), "change-type", harm=fails("truncated")),
    refused("enum-values-swapped", on("ALTER TABLE settings MODIFY mode ENUM('manual', 'auto')", MY, MA), "add-enum-value-in-middle", harm=rewrite("settings")),
    refused("enum-to-varchar", {PG: "ALTER TABLE settings ALTER COLUMN mode TYPE VARCHAR(10)", MY: "ALTER TABLE settings MODIFY mode VARCHAR(10)", MA: "ALTER TABLE settings MODIFY mode VARCHAR(10)"}, "change-type", harm=rewrite("settings")),
    refused("enum-not-null", on("UPDATE settings SET mode = 'auto'; ALTER TABLE settings MODIFY mode ENUM('auto', 'manual', 'off') NOT NULL", MY, MA), "change-rows", "set-not-null", harm=wrong("read settings"), base="modes"),
    refused("enum-default", on("ALTER TABLE settings MODIFY mode ENUM('auto', 'manual', 'off') DEFAULT 'off'", MY, MA), "change-default", harm=wrong("read settings"), base="modes"),
    refused("drop-enum-type", on("DROP TYPE setting_mode CASCADE", PG), "drop-object", harm=breaks("insert setting")),
    refused("rename-enum-type", on("ALTER TYPE setting_mode RENAME TO other_mode", PG), "change-object", harm=breaks("settings cast to mode"), base="modes"),
]

CASES: list[Case] = [*WIDER, *NARROWER, *ENUMS]
