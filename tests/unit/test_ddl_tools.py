"""The command lines of the tools that copy a table, their credentials, and what is not given to them."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config

from online_migrate.config import Settings
from online_migrate.ddl.tools import errors, process, registry
from online_migrate.ddl.tools.gh_ost import GhOst
from online_migrate.ddl.tools.objections import objections_to_change, objections_to_table
from online_migrate.ddl.tools.pt_online_schema_change import PtOnlineSchemaChange
from online_migrate.ddl.tools.server_access import ServerAccess, quoted
from online_migrate.ddl.tools.tool import Limits, Tool
from online_migrate.dialects.facets.copied_tables import CopiedTable
from online_migrate.dialects.mariadb import MariaDB
from online_migrate.dialects.mysql import MySQL
from online_migrate.dialects.postgresql import PostgreSQL
from online_migrate.phases.known import NothingKnown
from online_migrate.runtime.env_needs import provided
from online_migrate.sql.forms.form import OnlineCopy
from online_migrate.sql.operations.operation import CreateTable
from online_migrate.sql.operations.parts import Column, Name
from online_migrate.sql.operations.reader import read_operations
from online_migrate.waiting import Clock

COPY = OnlineCopy(schema="shop", table="or,ders", alter="MODIFY a BIGINT")
LIMITS = Limits(
    0.5, 20, sql_mode="STRICT_ALL_TABLES,NO_ZERO_DATE", max_load="Threads_running=30", max_lag=2.5
)
URL = "mysql+pymysql://u:p%40%22w@db:3307/shop"
TOOLS: Sequence[Tool] = (PtOnlineSchemaChange(), GhOst())


def access(query: str = "") -> ServerAccess:
    return ServerAccess.of(sa.make_url(URL + query))


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_credentials_are_in_the_file_only(tool: Tool) -> None:
    command = tool.command(f"/bin/{tool.name}", COPY, access(), LIMITS, Path("/tmp/x/client.cnf"))
    assert command[0] == f"/bin/{tool.name}"
    assert not any('p@"w' in word for word in command)
    assert any("/tmp/x/client.cnf" in word for word in command)
    content = tool.options_file(access())
    assert content.startswith('[client]\nuser="u"\npassword="p@\\"w"\n')


def test_pt_online_schema_change_command() -> None:
    words = PtOnlineSchemaChange().command("pt", COPY, access(), LIMITS, Path("/f"))
    assert words[1:3] == ["--config", "/dev/null"]
    assert "--recursion-method=none" in words
    assert "--max-load=Threads_running=30" in words
    assert "--tries=create_triggers:20:2,swap_tables:20:2,drop_triggers:20:2" in words
    variables = words[words.index("--set-vars") + 1]
    assert variables == (
        "time_zone='+00:00',sql_mode='STRICT_ALL_TABLES\\,NO_ZERO_DATE',"
        "lock_wait_timeout=1,innodb_lock_wait_timeout=1"
    )
    assert words[-4:] == ["--alter", "MODIFY a BIGINT", "--execute", "D=shop,t=or\\,ders"]


def test_gh_ost_command() -> None:
    words = GhOst().command("gh-ost", COPY, access("?ssl_ca=/ca.pem"), LIMITS, Path("/f"))
    assert words == [
        "gh-ost",
        "--conf=/f",
        "--host=db",
        "--port=3307",
        "--allow-on-master",
        "--charset=utf8mb4",
        "--ok-to-drop-table",
        "--cut-over-lock-timeout-seconds=1",
        "--default-retries=20",
        "--ssl",
        "--ssl-ca=/ca.pem",
        "--max-load=Threads_running=30",
        "--max-lag-millis=2500",
        "--database=shop",
        "--table=or,ders",
        "--alter=MODIFY a BIGINT",
        "--execute",
    ]


def test_options_of_the_url() -> None:
    """Each is followed, ignored because it concerns the driver, or named."""
    tool = PtOnlineSchemaChange()
    secured = access("?ssl_ca=/ca.pem&ssl_check_hostname=false&charset=utf8&connect_timeout=5")
    assert 'ssl-ca="/ca.pem"' in tool.options_file(secured)
    assert "verify" not in tool.options_file(secured)
    assert 'ssl-verify-server-cert="1"' in tool.options_file(access("?ssl_ca=/ca.pem"))
    local = access("?unix_socket=/run/mysqld.sock")
    assert 'socket="/run/mysqld.sock"' in tool.options_file(local)
    assert "host" not in tool.options_file(local)
    assert list(tool.refused_options(local)) == []
    assert list(GhOst().refused_options(local)) == ["unix_socket"]
    other = access("?ssl_mode=REQUIRED&init_command=SET+x&ssl_capath=/certs")
    assert list(tool.refused_options(other)) == ["init_command", "ssl_mode"]
    assert list(GhOst().refused_options(other)) == ["init_command", "ssl_capath", "ssl_mode"]


def test_value_of_an_option_file() -> None:
    assert quoted('a\\b"c\nd ') == '"a\\\\b\\"c\\nd "'


class Orders(NothingKnown):
    """The columns of a table ``t``."""

    def column(self, table: Name, column: str) -> Column | None:
        [created] = read_operations("CREATE TABLE t (a INT, v VARCHAR(20), s TIMESTAMP)", "mysql")
        assert isinstance(created, CreateTable)
        return next((one for one in created.columns if one.name == column), None)


GIVEN = {
    "MODIFY a BIGINT": "",
    "MODIFY v VARCHAR(300)": "",
    "ADD COLUMN g INT AS (a + 1) STORED, DROP INDEX i": "",
    "ADD INDEX i (a), ENGINE = InnoDB, DROP COLUMN v": "",
    "ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES p (id)": "gh-ost adds no foreign key",
    "ADD CONSTRAINT c CHECK (a > 0)": "gh-ost would leave out the rows",
    "MODIFY a BIGINT NOT NULL": "gh-ost would replace the NULL values",
}
REFUSED = {
    "MODIFY a TINYINT": "may not fit",
    "MODIFY v VARCHAR(300) CHARACTER SET latin1": "may not fit",
    "MODIFY v VARCHAR(300) COLLATE utf8mb4_bin": "may not fit",
    "MODIFY unknown BIGINT": "not known",
    "MODIFY a BIGINT UNIQUE": "unique key (a)",
    "ADD UNIQUE KEY u (a)": "unique key (u)",
    "ADD COLUMN x INT UNIQUE": "unique key (x)",
    "ADD PRIMARY KEY (a)": "unique key",
    "DROP PRIMARY KEY": "primary key",
    "CHANGE a b BIGINT": "renamed",
    "RENAME COLUMN a TO b": "not known to keep",
    "RENAME TO u": "not known to keep",
    "CONVERT TO CHARACTER SET utf8mb4": "not known to keep",
    "ADD FOREIGN KEY (a) REFERENCES p (id)": "has no name",
    "ADD COLUMN x TIMESTAMP DEFAULT '2020-01-01 00:00:00'": "time zone",
}


def found(alter: str, tool: Tool) -> str:
    operations = read_operations(f"ALTER TABLE t {alter}", "mysql")
    return "; ".join(objections_to_change(operations, Orders(), "mysql", tool))


@pytest.mark.parametrize(("alter", "only_gh_ost"), GIVEN.items(), ids=GIVEN)
def test_change_that_keeps_every_row_is_given_to_a_tool(alter: str, only_gh_ost: str) -> None:
    assert found(alter, PtOnlineSchemaChange()) == ""
    assert only_gh_ost in found(alter, GhOst())
    assert bool(only_gh_ost) == bool(found(alter, GhOst()))


@pytest.mark.parametrize(("alter", "reason"), REFUSED.items(), ids=REFUSED)
def test_change_that_may_lose_something_is_refused(alter: str, reason: str) -> None:
    for tool in TOOLS:
        assert reason in found(alter, tool)


def test_tables_that_cannot_be_copied() -> None:
    tool = PtOnlineSchemaChange()
    assert list(objections_to_table(CopiedTable("BASE TABLE", has_key=True), tool)) == []
    worst = CopiedTable("SYSTEM VERSIONED", False, ("tr",), ("f",), ("s.c",), ("k",), ("e",))
    assert len(list(objections_to_table(worst, tool))) == 7


def test_output_is_kept_and_the_file_is_removed(tmp_path: Path) -> None:
    """Also the last line, which has no end; the file of the credentials can be read by its owner only."""
    script = "cat $1; for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done; stat -c %a $1; printf end; exit 3"
    paths: list[Path] = []

    def command(path: Path) -> list[str]:
        paths.append(path)
        return ["/bin/sh", "-c", script, "sh", str(path)]

    ended = process.run("tool", command, "secret\n", keep_alive=lambda: None, clock=Clock())
    assert ended.code == 3
    assert ended.last_lines == (*(f"line {i}" for i in range(4, 10)), "600", "end")
    assert not paths[0].parent.exists()


def test_url_with_a_password_is_not_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither that of the user, nor the one that env.py and the scripts read while they run."""
    url = "mysql+pymysql://u:top%2Fsecret@h/d"
    monkeypatch.setenv("ONLINE_MIGRATE_URL", url)
    monkeypatch.setenv("CELLS", "mysql://h/a mysql+pymysql://h/d?user=u&password=secret")
    monkeypatch.setenv("KEPT", "mysql://u@h/d")
    output = tmp_path / "output"
    settings = Settings(oslo_option="database.connection")
    with provided(Config(), settings, url):
        assert os.environ["OS_DATABASE__CONNECTION"] == url
        process.run(
            "tool", lambda _: ["sh", "-c", f"env > {output}"], "", keep_alive=lambda: None, clock=Clock()
        )
    assert "secret" not in output.read_text()
    assert "KEPT=mysql://u@h/d\n" in output.read_text()


def test_exception_ends_the_tool() -> None:
    """A second Ctrl-C: the tool does not go on without its client."""

    class Interrupted(Clock):
        def wait(self, seconds: float, stop: object) -> bool:
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        process.run("tool", lambda _: ["sleep", "100"], "", keep_alive=lambda: None, clock=Interrupted())
    assert threading.active_count() == before


def test_tool_that_does_not_work_with_the_server() -> None:
    """An option is refused; a setting does not count on a server that needs no tool."""
    mysql, mariadb, postgresql = MySQL(), MariaDB(), PostgreSQL()
    assert registry.wanted("gh-ost", None, mysql) is registry.TOOLS["gh-ost"]
    assert registry.wanted(None, "pt-online-schema-change", mariadb) is not None
    assert registry.wanted(None, "gh-ost", postgresql) is None
    for name, dialect in (("gh-ost", mariadb), ("pt-online-schema-change", postgresql)):
        with pytest.raises(errors.ToolUnusable, match="does not work with"):
            registry.wanted(name, None, dialect)
    with pytest.raises(errors.ToolUnusable, match="gh-ost"):
        registry.wanted(None, "gh-ost", mariadb)
