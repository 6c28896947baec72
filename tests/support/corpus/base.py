"""The schemas of the corpus, and the old code that runs on them.

A script is executed between two rounds of the old code. The second round has more statements than the
first: those that use the whole range of what the schema before the script allows, for example NULL in a
nullable column or the longest name.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping

from tests.support.corpus.case import LITE, MA, MY, PG

APP = "corpus_app"
"""The account of the old code; the execution replaces it by a name that is unique on the server."""
ROLE = "corpus_role"
"""An account that a script creates; replaced like :data:`APP`."""
DATABASE = "corpus_db"
"""Replaced by the name of the database."""


@dataclasses.dataclass(frozen=True)
class Statement:
    """A statement of the old code; ``{n}`` is the number of the round. *late*: only in the second round.

    *error*: the server refuses the statement, and the old code relies on that.
    """

    key: str
    text: str | Mapping[str, str]
    late: bool = False
    error: bool = False

    def on(self, server: str) -> str:
        """Returns the text for *server*."""
        return self.text if isinstance(self.text, str) else self.text[server]


@dataclasses.dataclass(frozen=True)
class Base:
    """A schema with rows, and its old code. *account*: the old code runs as :data:`APP`."""

    name: str
    create: Mapping[str, str]
    old_code: tuple[Statement, ...]
    account: bool = False


_TABLES = """
CREATE TABLE volumes (
    id {id},
    name VARCHAR(40),
    status VARCHAR(20) NOT NULL DEFAULT 'new',
    size INTEGER NOT NULL,
    priority SMALLINT NOT NULL DEFAULT 3,
    host VARCHAR(60),
    price NUMERIC(8,2),
    note TEXT,
    created_at {datetime},
    CONSTRAINT ck_volumes_priority CHECK (priority >= 0)
);
CREATE INDEX ix_volumes_host ON volumes (host);
CREATE TABLE snapshots (
    id {id},
    volume_id INTEGER,
    parent_id INTEGER,
    label VARCHAR(30),
    CONSTRAINT fk_snapshots_volume FOREIGN KEY (volume_id) REFERENCES volumes (id)
);
CREATE TABLE settings (
    id {id},
    name VARCHAR(30) NOT NULL,
    mode {mode},
    revision INTEGER NOT NULL DEFAULT 1,
    CONSTRAINT uq_settings_name UNIQUE (name)
);
INSERT INTO volumes (name, status, size, priority, host, price, note, created_at) VALUES
    ('alpha', 'available', 10, 1, 'host-a', 1.50, 'first', '2020-01-01 10:00:00'),
    ('beta', 'in-use', 20, 2, 'host-b', 2.25, 'second', '2020-01-02 10:00:00'),
    ('gamma', 'available', 30, 3, 'host-c', 3.75, 'third', '2020-01-03 10:00:00'),
    ('old-1', 'error', 1, 0, 'host-d', 0.01, 'fourth', '2020-01-04 10:00:00'),
    ('old-2', 'error', 1, 0, 'host-e', 0.02, 'fifth', '2020-01-05 10:00:00');
INSERT INTO snapshots (volume_id, parent_id, label) VALUES
    (1, 1, 'snap-a'), (2, 2, 'snap-b'), (3, 3, 'gone-1'), (3, 3, 'gone-2');
INSERT INTO settings (name, mode) VALUES ('quota', 'auto'), ('pool', 'manual'), ('gone-1', 'auto'), ('gone-2', 'auto');
"""

_ENUM = "ENUM('auto', 'manual')"
_MYSQL_TABLES = _TABLES.format(
    id="INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY", datetime="DATETIME", mode=_ENUM
)
TABLES: Mapping[str, str] = {
    PG: f"CREATE TYPE setting_mode AS {_ENUM};"
    + _TABLES.format(id="SERIAL PRIMARY KEY", datetime="TIMESTAMP", mode="setting_mode"),
    MY: _MYSQL_TABLES,
    MA: _MYSQL_TABLES,
    LITE: _TABLES.format(id="INTEGER PRIMARY KEY", datetime="TIMESTAMP", mode="VARCHAR(10)"),
}

_INSERT_VOLUME = "INSERT INTO volumes (name, status, size, priority, host, price, note) VALUES "

_LONG = "".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(200))
"""A text that a server cannot compress to the size of an index entry."""

_OLD_CODE = (
    Statement("insert volume", _INSERT_VOLUME + "('vol-{n}', 'available', 5, 1, 'host-{n}', 9.99, 'note')"),
    Statement("insert snapshot", "INSERT INTO snapshots (volume_id, parent_id, label) VALUES (1, 1, 'snap-{n}')"),
    Statement("insert setting", "INSERT INTO settings (name, mode) VALUES ('setting-{n}', 'manual')"),
    Statement("update volume", "UPDATE volumes SET status = 'in-use', size = size + 1 WHERE name = 'alpha'"),
    Statement("update snapshot", "UPDATE snapshots SET label = 'relabelled-{n}' WHERE label = 'snap-a' OR id = 2"),
    Statement("update setting", "UPDATE settings SET mode = 'auto' WHERE name = 'pool'"),
    Statement("delete volume", "DELETE FROM volumes WHERE name = 'old-{n}'"),
    Statement("delete snapshot", "DELETE FROM snapshots WHERE label = 'gone-{n}'"),
    Statement("delete setting", "DELETE FROM settings WHERE name = 'gone-{n}'"),
    Statement("insert volume with defaults", "INSERT INTO volumes (size) VALUES (7)", late=True),
    Statement("insert volume of the same name", _INSERT_VOLUME + "('alpha', 'new', 2, 1, 'host-a', 1, 'first')", late=True),
    Statement("insert volume with the longest name", _INSERT_VOLUME + f"('{'x' * 40}', 'new', 2, 1, 'h', 1, 'n')", late=True),
    Statement("insert volume with a long note", _INSERT_VOLUME + f"('long', 'new', 2, 1, 'h', 1, '{_LONG}')", late=True),
    Statement("insert volume of size 0", _INSERT_VOLUME + "('empty', 'new', 0, 1, 'h', 1, 'n')", late=True),
    Statement("insert volume of the largest size", _INSERT_VOLUME + "('huge', 'new', 2147483647, 1, 'h', 1, 'n')", late=True),
    Statement("insert volume of the highest price", _INSERT_VOLUME + "('dear', 'new', 2, 1, 'h', 999999.99, 'n')", late=True),
    Statement("insert snapshot of no volume", "INSERT INTO snapshots (parent_id, label) VALUES (999, 'stray')", late=True),
    Statement("insert volume of bad priority", _INSERT_VOLUME + "('bad', 'new', 2, -1, 'h', 1, 'n')", late=True, error=True),
    Statement("insert snapshot of a missing volume", "INSERT INTO snapshots (volume_id, label) VALUES (888, 'lost')", late=True, error=True),
    Statement("insert setting of the same name", "INSERT INTO settings (name, mode) VALUES ('quota', 'manual')", late=True, error=True),
    Statement("find volume", "SELECT id FROM volumes WHERE name = 'ALPHA' ORDER BY id", late=True),
    Statement("read volumes", "SELECT id, name, status, size, priority, host, price, note, created_at FROM volumes ORDER BY id"),
    Statement("read snapshots", "SELECT id, volume_id, parent_id, label FROM snapshots ORDER BY id"),
    Statement("read settings", "SELECT id, name, mode, revision FROM settings ORDER BY id"),
)  # fmt: skip


def _extended(name: str, more: Mapping[str, str], *old_code: Statement, account: bool = False) -> Base:
    """Returns the common schema with more objects, and the old code that uses them."""
    create = {server: TABLES[server] + text for server, text in more.items()}
    return Base(name, create, _OLD_CODE + old_code, account)


_VIEW = "CREATE VIEW volume_list AS SELECT id, name, status FROM volumes WHERE status <> 'error';"

_LABEL_MYSQL = (
    "CREATE FUNCTION volume_label(n INTEGER) RETURNS VARCHAR(60) DETERMINISTIC RETURN CONCAT('volume-', n);"
    "CREATE PROCEDURE purge_volumes() DELETE FROM snapshots;"
)
_LABEL_POSTGRESQL = """
CREATE FUNCTION volume_label(n INTEGER) RETURNS VARCHAR LANGUAGE sql AS $$ SELECT 'volume-' || n $$;
CREATE PROCEDURE purge_volumes() LANGUAGE sql AS $$ DELETE FROM snapshots $$;
CREATE FUNCTION purge_snapshots() RETURNS INTEGER LANGUAGE sql AS $$ DELETE FROM snapshots; SELECT 1 $$;
"""

_TRIGGER_MYSQL = (
    "CREATE TRIGGER count_revisions BEFORE UPDATE ON settings FOR EACH ROW"
    " SET NEW.revision = OLD.revision + 1;"
)
_TRIGGER_POSTGRESQL = """
CREATE FUNCTION count_revision() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.revision := OLD.revision + 1; RETURN NEW; END $$;
CREATE TRIGGER count_revisions BEFORE UPDATE ON settings FOR EACH ROW EXECUTE FUNCTION count_revision();
"""
_TRIGGER_SQLITE = """
CREATE TRIGGER count_revisions AFTER UPDATE OF mode ON settings BEGIN
    UPDATE settings SET revision = OLD.revision + 1 WHERE id = NEW.id; END;
"""

_EVENTS = (
    "CREATE TABLE events (id INTEGER NOT NULL, kind VARCHAR(20), PRIMARY KEY (id)) PARTITION BY RANGE (id)"
)
_EVENT_ROWS = (
    "INSERT INTO events (id, kind) VALUES (1, 'start'), (2, 'gone-1'), (3, 'gone-2'), (150, 'stop');"
)
_EVENTS_POSTGRESQL = f"""{_EVENTS};
CREATE TABLE events_low PARTITION OF events FOR VALUES FROM (0) TO (100);
CREATE TABLE events_high PARTITION OF events FOR VALUES FROM (100) TO (200);
CREATE TABLE events_next (id INTEGER NOT NULL PRIMARY KEY, kind VARCHAR(20));
{_EVENT_ROWS}"""
_EVENTS_MYSQL = f"""{_EVENTS}
    (PARTITION events_low VALUES LESS THAN (100), PARTITION events_high VALUES LESS THAN (200));
CREATE TABLE events_next (id INTEGER NOT NULL, kind VARCHAR(20), PRIMARY KEY (id));
{_EVENT_ROWS}"""

_ACCOUNT_MYSQL = f"""
CREATE USER {APP}@'%' IDENTIFIED BY 'old-code';
GRANT SELECT, INSERT, UPDATE, DELETE ON {DATABASE}.volumes TO {APP}@'%';
GRANT SELECT, INSERT, UPDATE, DELETE ON {DATABASE}.snapshots TO {APP}@'%';
GRANT SELECT, INSERT, UPDATE, DELETE ON {DATABASE}.settings TO {APP}@'%';
"""
_ACCOUNT_POSTGRESQL = f"""
CREATE ROLE {APP};
GRANT USAGE ON SCHEMA public TO {APP};
GRANT SELECT, INSERT, UPDATE, DELETE ON volumes, snapshots, settings TO {APP};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {APP};
"""

_NUMBERS = "CREATE SEQUENCE ticket_numbers START WITH 10;"
_DOMAIN = (
    "CREATE DOMAIN rack_name AS VARCHAR(10); CREATE TABLE racks (id INTEGER PRIMARY KEY, name rack_name);"
)

_PAIRS = "CREATE TYPE pair AS (a TEXT, b TEXT); CREATE TABLE pairs (id INTEGER PRIMARY KEY, both_ pair);"

_MIXED_CASE = "UPDATE volumes SET name = 'Gamma' WHERE name = 'gamma';"
_UNQUALIFIED = (
    "SELECT name, label FROM volumes JOIN snapshots ON volume_id = volumes.id ORDER BY snapshots.id"
)
_HINTED = {
    **dict.fromkeys((MY, MA), "SELECT id FROM volumes FORCE INDEX (ix_volumes_host) WHERE host = 'host-a'"),
    LITE: "SELECT id FROM volumes INDEXED BY ix_volumes_host WHERE host = 'host-a'",
}
_UPSERT = {
    **dict.fromkeys(
        (PG, LITE),
        "INSERT INTO settings (name, mode) VALUES ('quota', 'manual')"
        " ON CONFLICT (name) DO UPDATE SET mode = 'manual'",
    ),
    **dict.fromkeys(
        (MY, MA),
        "INSERT INTO settings (name, mode) VALUES ('quota', 'manual') ON DUPLICATE KEY UPDATE mode = 'manual'",
    ),
}
_UPSERT_BY_ID = {
    **dict.fromkeys(
        (PG, LITE),
        "INSERT INTO settings (id, name) VALUES (1, 'quota') ON CONFLICT (id) DO UPDATE SET mode = 'auto'",
    ),
    **dict.fromkeys(
        (MY, MA), "INSERT INTO settings (id, name) VALUES (1, 'quota') ON DUPLICATE KEY UPDATE mode = 'auto'"
    ),
}
_UPSERT_BY_CONSTRAINT = (
    "INSERT INTO settings (name, mode) VALUES ('quota', 'manual')"
    " ON CONFLICT ON CONSTRAINT uq_settings_name DO UPDATE SET mode = 'manual'"
)
_UNCOMMITTED = (
    "DO $$ BEGIN INSERT INTO snapshots (volume_id, label) VALUES (888, 'lost');"
    " DELETE FROM snapshots WHERE label = 'lost'; END $$"
)
_CAST_TO_MODE = {
    PG: "SELECT count(*) FROM settings WHERE mode = 'auto'::setting_mode",
    **dict.fromkeys((MY, MA), "SELECT count(*) FROM settings WHERE mode = 'auto'"),
}
_BY_MODE_NUMBER = {
    PG: "SELECT mode, array_position(enum_range(NULL::setting_mode), mode) FROM settings ORDER BY id",
    **dict.fromkeys((MY, MA), "SELECT mode, mode + 0 FROM settings ORDER BY id"),
}

BASES: Mapping[str, Base] = {
    base.name: base
    for base in (
        Base("cinder", TABLES, _OLD_CODE),
        _extended(
            "view",
            dict.fromkeys((PG, MY, MA, LITE), _VIEW),
            Statement("read volume list", "SELECT id, name, status FROM volume_list ORDER BY id"),
        ),
        _extended(
            "routine",
            {PG: _LABEL_POSTGRESQL, MY: _LABEL_MYSQL, MA: _LABEL_MYSQL},
            Statement("call volume label", "SELECT volume_label(1)"),
            Statement("call volume label by text", "SELECT volume_label('7')"),
        ),
        _extended(
            "plans",
            {PG: "SET enable_seqscan = off;"},
            Statement("forbid table scans", "SET enable_seqscan = off"),
            Statement("plan of find by host", "EXPLAIN (COSTS OFF) SELECT id FROM volumes WHERE host = 'x'"),
        ),
        _extended(
            "transaction",
            {PG: ""},
            Statement("insert snapshot in a transaction", _UNCOMMITTED, late=True, error=True),
        ),
        _extended(
            "constraint name",
            {PG: ""},
            Statement("upsert by constraint", _UPSERT_BY_CONSTRAINT),
        ),
        _extended(
            "hints",
            dict.fromkeys((MY, MA, LITE), ""),
            Statement("find volume by index", _HINTED, late=True),
        ),
        _extended(
            "upsert",
            dict.fromkeys((PG, MY, MA, LITE), ""),
            Statement("upsert setting", _UPSERT),
            Statement("upsert setting by id", _UPSERT_BY_ID),
            Statement("read settings again", "SELECT id, name, mode, revision FROM settings ORDER BY id"),
        ),
        _extended(
            "join",
            dict.fromkeys((PG, MY, MA, LITE), ""),
            Statement("read labels", _UNQUALIFIED),
        ),
        _extended(
            "covering hints",
            {MA: ""},
            Statement(
                "find volume by index",
                "EXPLAIN SELECT id FROM volumes FORCE INDEX (ix_volumes_host) WHERE host = 'x'",
            ),
        ),
        _extended(
            "star",
            dict.fromkeys((PG, MY, MA, LITE), ""),
            Statement("read all of volumes", "SELECT * FROM volumes ORDER BY id"),
        ),
        _extended(
            "sorted",
            {PG: _MIXED_CASE},
            Statement("volumes by name", "SELECT id FROM volumes WHERE name IS NOT NULL ORDER BY name, id"),
        ),
        _extended(
            "modes",
            dict.fromkeys((PG, MY, MA), ""),
            Statement("insert setting without mode", "INSERT INTO settings (name) VALUES ('plain-{n}')"),
            Statement("settings cast to mode", _CAST_TO_MODE),
            Statement("settings by mode number", _BY_MODE_NUMBER),
            Statement("read settings", "SELECT id, name, mode, revision FROM settings ORDER BY id"),
        ),
        _extended(
            "trigger",
            {PG: _TRIGGER_POSTGRESQL, MY: _TRIGGER_MYSQL, MA: _TRIGGER_MYSQL, LITE: _TRIGGER_SQLITE},
        ),
        _extended(
            "events",
            {PG: _EVENTS_POSTGRESQL, MY: _EVENTS_MYSQL, MA: _EVENTS_MYSQL},
            Statement("insert event", "INSERT INTO events (id, kind) VALUES (10{n}, 'tick')"),
            Statement("insert low event", "INSERT INTO events (id, kind) VALUES (3{n}, 'tick')"),
            Statement("update event", "UPDATE events SET kind = 'begin-{n}' WHERE id = 1"),
            Statement("delete event", "DELETE FROM events WHERE kind = 'gone-{n}'"),
            Statement("insert event without kind", "INSERT INTO events (id) VALUES (50)", late=True),
            Statement("insert next event", "INSERT INTO events_next (id, kind) VALUES (72, 'x')", late=True),
            Statement("read events", "SELECT id, kind FROM events ORDER BY id"),
        ),
        _extended(
            "sequence",
            {PG: _NUMBERS, MA: _NUMBERS},
            Statement(
                "next ticket",
                {PG: "SELECT nextval('ticket_numbers')", MA: "SELECT nextval(ticket_numbers)"},
            ),
        ),
        _extended(
            "domain",
            {PG: _DOMAIN},
            Statement("insert rack", "INSERT INTO racks (id, name) VALUES ({n}, 'rack-{n}')"),
            Statement("insert rack without name", "INSERT INTO racks (id) VALUES (9)", late=True),
            Statement("read racks", "SELECT id, name FROM racks ORDER BY id"),
        ),
        _extended(
            "path",
            {PG: "CREATE SCHEMA corpus_schema;"},
            Statement("set the path", "SET search_path = corpus_schema, public"),
            Statement("read volumes by the path", "SELECT id, name FROM volumes ORDER BY id"),
        ),
        _extended(
            "pairs",
            {PG: _PAIRS},
            Statement(
                "insert pair", f"INSERT INTO pairs (id, both_) VALUES ({{n}}, ROW('a', '{_LONG}'))", late=True
            ),
        ),
        _extended("analyze", {PG: ""}, Statement("analyze volumes", "ANALYZE volumes", late=True)),
        _extended("fulltext", dict.fromkeys((MY, MA), "CREATE FULLTEXT INDEX ft_note ON volumes (note);")),
        _extended("account", {PG: _ACCOUNT_POSTGRESQL, MY: _ACCOUNT_MYSQL, MA: _ACCOUNT_MYSQL}, account=True),
    )
}
