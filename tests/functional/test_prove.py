"""``prove`` finds the incompatibility of each bad project, and passes the good ones."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import command, exceptions
from online_migrate.cli.main import run
from online_migrate.command import CommandContext
from online_migrate.demo.main import PROJECT
from online_migrate.dialects import dialect_of
from online_migrate.prove import models
from online_migrate.prove.finding import Report
from online_migrate.script.init import init
from tests.servers import Database

pytest_plugins = ["pytester"]

_MODELS = """\
import datetime, decimal, enum
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from typing import Optional

class Base(DeclarativeBase):
    pass

"""
_SCRIPT = """\
import sqlalchemy as sa
from alembic import op
{heading}

def upgrade():
{up}

def downgrade():
{down}
"""


@dataclasses.dataclass(frozen=True)
class Case:
    """A project. A script is its ``upgrade``, a line ``---``, and its ``downgrade``."""

    old: str
    new: str
    expand: tuple[str, ...] = ()
    contract: tuple[str, ...] = ()
    data: str = ""
    final: str = ""
    requires: tuple[str, ...] = ()
    heading: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Revision -> more assignments."""


def write(folder: Path, case: Case, url: str = "") -> None:
    """Writes the project and its versions of ``models``."""
    init(folder / "alembic.ini")
    for version, text in (("old", case.old), ("new", case.new), ("final", case.final or case.new)):
        (folder / version).mkdir()
        (folder / version / "models.py").write_text(_MODELS + textwrap.dedent(text))
    scripts = folder / "migrations"
    last = ""
    for number, body in enumerate(case.expand, 1):
        _script(scripts / "expand", f"e{number}", last, "expand", body, "", case)
        last = f"e{number}"
    depends, last = last, ""
    for number, body in enumerate(case.contract, 1):
        _script(scripts / "contract", f"c{number}", last, "contract", body, depends, case)
        last = f"c{number}"
    if case.data:
        heading = "import datetime\nimport sqlalchemy as sa\n"
        heading += "from online_migrate import Backfill, batch_migration, counted, row_migration\n"
        (scripts / "data" / "data.py").write_text(
            heading + textwrap.dedent(case.data).replace("{url!r}", repr(url))
        )


def _script(folder: Path, id: str, down: str, branch: str, body: str, depends: str, case: Case) -> None:
    up, _, down_body = textwrap.dedent(body).partition("---")
    heading = f"revision = {id!r}\ndown_revision = {down or None!r}\ndepends_on = {depends or None!r}\n"
    heading += f"branch_labels = {None if down else branch!r}\n"
    if branch == "contract":
        heading += f"requires = {case.requires!r}\n"
    heading += case.heading.get(id, "")
    text = _SCRIPT.format(heading=heading, up=_body(up), down=_body(down_body))
    (folder / f"{id}.py").write_text(text)


def _body(text: str) -> str:
    return textwrap.indent(textwrap.dedent(text).strip() or "pass", "    ")


def prove(folder: Path, url: str | None = None, **options: str) -> Report:
    """Runs ``prove`` in this process."""
    context = CommandContext(config_file=folder / "alembic.ini", given_url=url)
    options = {"old": "./old:models", "new": "./new:models", **options}
    return command.prove(context, **options)


VOLUME = """
class Volume(Base):
    __tablename__ = "volumes"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(40))
"""
SIZED = VOLUME + "    size: Mapped[Optional[int]]\n"
ADD_SIZE = 'op.add_column("volumes", sa.Column("size", sa.Integer))\n---\nop.drop_column("volumes", "size")'
GROWN = VOLUME + "    size_gb: Mapped[int]\n"
BYTES = VOLUME + "    size_bytes: Mapped[int] = mapped_column(sa.BigInteger)\n"
BOTH = (
    VOLUME
    + """
    size_gb: Mapped[int]
    size_bytes: Mapped[Optional[int]] = mapped_column(sa.BigInteger)
"""
)

HOSTS = """
    hosts: Mapped[list["Host"]] = relationship()

class Host(Base):
    __tablename__ = "hosts"
    id: Mapped[int] = mapped_column(primary_key=True)
    volume_id: Mapped[Optional[int]] = mapped_column(sa.ForeignKey("volumes.id"))
"""
OTHER = 'op.create_table("other", sa.Column("id", sa.Integer, primary_key=True))\n---\nop.drop_table("other")'

SIZED_GB = VOLUME + "    size_gb: Mapped[Optional[int]]\n"
SIZED_BYTES = VOLUME + "    size_bytes: Mapped[Optional[int]] = mapped_column(sa.BigInteger)\n"
SYNC_SIZE = """
op.add_column("volumes", sa.Column("size_bytes", sa.BigInteger))
op.create_sync(
    "volume_size",
    "volumes",
    forward={"size_bytes": sa.cast(sa.column("size_gb"), sa.BigInteger) * 1024**3},
    backward={
        "size_gb": {
            "postgresql": "size_bytes / 1073741824",
            "mysql": "size_bytes DIV 1073741824",
            "sqlite": "size_bytes / 1073741824",
        }
    },
)
---
op.drop_sync("volume_size")
op.drop_column("volumes", "size_bytes")
"""
FILL_BYTES = """
fill = Backfill(
    table="volumes",
    values=lambda t: {"size_bytes": sa.cast(t.c.size_gb, sa.BigInteger) * 1024**3},
    pending=lambda t: t.c.size_bytes.is_(None) & t.c.size_gb.is_not(None),
    revision="e1",
)
"""
SYNCED_SIZE = Case(
    old=SIZED_GB,
    new=SIZED_BYTES,
    expand=(SYNC_SIZE,),
    data=FILL_BYTES,
    contract=('op.drop_sync("volume_size")\nop.drop_column("volumes", "size_gb")',),
    requires=("fill",),
)
USER = """
class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(40))
"""
EMAILS = """
class Email(Base):
    __tablename__ = "user_emails"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), unique=True)
    address: Mapped[Optional[str]] = mapped_column(sa.String(80))
"""
SYNCED_TABLES = Case(
    old=USER + "    email: Mapped[Optional[str]] = mapped_column(sa.String(80))\n",
    new=USER + EMAILS,
    expand=(
        """
        op.create_table(
            "user_emails",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id"), unique=True, nullable=False),
            sa.Column("address", sa.String(80)),
        )
        op.create_sync("email", "users", to="user_emails", key={"user_id": "id"},
                       forward={"address": sa.column("email")}, backward={"email": sa.column("address")})
        ---
        op.drop_sync("email")
        op.drop_table("user_emails")
        """,
    ),
    data="""
    emails = sa.table("user_emails", sa.column("user_id"), sa.column("address"))

    @batch_migration(
        table="users",
        pending=lambda t: t.c.email.is_not(None) & t.c.id.not_in(sa.select(emails.c.user_id)),
        revision="e1",
    )
    def fill(connection, chunk):
        users = chunk.table.c
        copied = sa.select(users.id, users.email).where(chunk.where)
        return connection.execute(emails.insert().from_select(["user_id", "address"], copied)).rowcount
    """,
    contract=('op.drop_sync("email")\nop.drop_column("users", "email")',),
    requires=("fill",),
)
SYNCED_TITLE = Case(
    old=VOLUME.replace("[str]", "[Optional[str]]"),
    new=VOLUME.replace("[str]", "[Optional[str]]").replace("name:", "title:"),
    expand=(
        """
        op.add_column("volumes", sa.Column("title", sa.String(40)))
        op.create_sync("title", "volumes", forward={"title": sa.func.upper(sa.column("name"))},
                       backward={"name": sa.column("title")})
        ---
        op.drop_sync("title")
        op.drop_column("volumes", "title")
        """,
    ),
    data="""
    fill = Backfill(
        table="volumes",
        values=lambda t: {"title": sa.func.upper(t.c.name)},
        pending=lambda t: t.c.title.is_(None) & t.c.name.is_not(None),
        revision="e1",
    )
    """,
    contract=('op.drop_sync("title")\nop.drop_column("volumes", "name")',),
    requires=("fill",),
)
SYNCED_DATE = Case(
    old=VOLUME + "    day: Mapped[Optional[datetime.date]]\n",
    new=VOLUME + "    at: Mapped[Optional[datetime.datetime]]\n",
    expand=(
        """
        op.add_column("volumes", sa.Column("at", sa.DateTime))
        op.create_sync(
            "day",
            "volumes",
            forward={
                "at": {
                    "postgresql": "CAST(day AS timestamp)",
                    "mysql": "CAST(day AS DATETIME)",
                    "sqlite": "day || ' 00:00:00.000000'",
                }
            },
            backward={
                "day": {"postgresql": "CAST(at AS date)", "mysql": "DATE(at)", "sqlite": "substr(at, 1, 10)"}
            },
        )
        ---
        op.drop_sync("day")
        op.drop_column("volumes", "at")
        """,
    ),
    data="""
    @row_migration(
        table="volumes",
        columns=["day"],
        pending=lambda t: t.c.at.is_(None) & t.c.day.is_not(None),
        revision="e1",
    )
    def fill(row):
        return {"at": datetime.datetime.combine(row.day, datetime.time())}
    """,
    contract=('op.drop_sync("day")\nop.drop_column("volumes", "day")',),
    requires=("fill",),
)
WRITES_BOTH = dataclasses.replace(
    SYNCED_SIZE,
    new=SIZED_BYTES + "    size_gb: Mapped[Optional[int]]\n",
    final=SIZED_BYTES,
)
SYNCED = {
    "sync that loses something backward": SYNCED_SIZE,
    "sync that loses something forward": SYNCED_TITLE,
    "sync of dates": SYNCED_DATE,
    "sync between two tables": SYNCED_TABLES,
    "sync and a version that writes both shapes": WRITES_BOTH,
}
WRONG_BACKWARD = dataclasses.replace(SYNCED_SIZE, expand=(SYNC_SIZE.replace("1073741824", "1048576"),))
WRONG_TABLES = dataclasses.replace(
    SYNCED_TABLES,
    expand=(
        SYNCED_TABLES.expand[0].replace('sa.column("address")', 'sa.column("address", sa.String) + "x"'),
    ),
)
DISKS = """
class Disk(Volume):
    __tablename__ = "disks"
    id: Mapped[int] = mapped_column(sa.ForeignKey("volumes.id"), primary_key=True)
    maker: Mapped[str] = mapped_column(sa.String(20))
    __mapper_args__ = {"polymorphic_identity": "disk"}
"""
TYPED = """
    kind: Mapped[str] = mapped_column(sa.String(9))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "volume"}
"""

BAD: dict[str, tuple[Case, Mapping[str, str]]] = {
    "column renamed in expand": (
        Case(
            old=VOLUME,
            new=VOLUME.replace("name:", "title:"),
            expand=(
                'op.alter_column("volumes", "name", new_column_name="title", existing_type=sa.String(40))'
                '\n---\nop.alter_column("volumes", "title", new_column_name="name")',
            ),
        ),
        {"check": "statement-breaks", "version": "old", "operation": "insert", "phase": "expand e1"}
        | {"revision": "e1", "object": "Volume"},
    ),
    "NOT NULL column without a default": (
        Case(
            old=VOLUME,
            new=VOLUME + "    size: Mapped[int]\n",
            expand=(
                """
                with op.batch_alter_table("volumes") as table:
                    table.add_column(sa.Column("size", sa.Integer, server_default="0"))
                op.execute("UPDATE volumes SET size = 0")
                with op.batch_alter_table("volumes") as table:
                    table.alter_column("size", existing_type=sa.Integer, nullable=False, server_default=None)
                ---
                with op.batch_alter_table("volumes") as table:
                    table.drop_column("size")
                """,
            ),
        ),
        {"check": "statement-breaks", "version": "old", "operation": "insert", "revision": "e1"},
    ),
    "column dropped in expand": (
        Case(
            old=SIZED,
            new=VOLUME,
            expand=('op.drop_column("volumes", "size")\n---\n' + ADD_SIZE.partition("\n")[0],),
        ),
        {"check": "statement-breaks", "version": "old", "operation": "select", "revision": "e1"},
    ),
    "revision that is not additive": (
        Case(old=SIZED, new=VOLUME, expand=('op.drop_column("volumes", "size")',)),
        {"check": "not-additive", "revision": "e1"},
    ),
    "type that the old version cannot read": (
        Case(
            old=VOLUME + "    at: Mapped[Optional[datetime.datetime]]\n",
            new=VOLUME + "    at: Mapped[Optional[str]] = mapped_column(sa.String(40))\n",
            expand=(
                """
                with op.batch_alter_table("volumes") as table:
                    table.alter_column("at", type_=sa.String(40), existing_type=sa.DateTime)
                ---
                with op.batch_alter_table("volumes") as table:
                    table.alter_column("at", type_=sa.DateTime, existing_type=sa.String(40))
                """,
            ),
        ),
        {"check": "statement-breaks", "version": "old", "operation": "select", "revision": "e1"},
    ),
    "enum member that the old version cannot read": (
        Case(
            old=VOLUME
            + '    state: Mapped[str] = mapped_column(sa.Enum("free", "used", native_enum=False))\n',
            new=VOLUME
            + '    state: Mapped[str] = mapped_column(sa.Enum("free", "used", "error", native_enum=False))\n',
            expand=(OTHER,),
        ),
        {"check": "statement-breaks", "version": "old", "operation": "select", "object": "Volume"},
    ),
    "new unique constraint": (
        Case(
            old=VOLUME + '    kind: Mapped[str] = mapped_column(sa.Enum("a", "b", native_enum=False))\n',
            new=VOLUME + '    kind: Mapped[str] = mapped_column(sa.Enum("a", "b", native_enum=False))\n',
            expand=(
                'op.create_index("ux_kind", "volumes", ["kind"], unique=True)\n---\n'
                'op.drop_index("ux_kind", "volumes")',
            ),
        ),
        {"check": "statement-breaks", "version": "old", "operation": "insert", "revision": "e1"},
    ),
    "new code reads a column that contract makes": (
        Case(old=VOLUME, new=SIZED, contract=(ADD_SIZE,), expand=(OTHER,)),
        {"check": "statement-breaks", "version": "new", "operation": "select", "revision": "c1"},
    ),
    "new code writes a column that contract dropped": (
        Case(
            old=SIZED,
            new=SIZED,
            expand=(OTHER,),
            contract=('op.drop_column("volumes", "size")',),
        ),
        {"check": "statement-breaks", "version": "new", "operation": "insert", "revision": "c1"}
        | {"phase": "contract c1"},
    ),
    "data migration that stays pending": (
        Case(
            old=VOLUME,
            new=SIZED,
            expand=(ADD_SIZE,),
            data='fill = Backfill(table="volumes", values={"size": 1}, pending=lambda t: t.c.id > 0)',
            contract=("pass",),
            requires=("fill",),
        ),
        {"check": "data-migration-incomplete", "object": "fill"},
    ),
    "data migration that is not idempotent": (
        Case(
            old=GROWN,
            new=GROWN + "    size: Mapped[Optional[int]]\n",
            expand=(ADD_SIZE,),
            data="""
            engine = sa.create_engine({url!r}, poolclass=sa.NullPool)

            @counted
            def grow(context, max_count):
                with engine.begin() as connection:
                    connection.execute(sa.text("UPDATE volumes SET size_gb = size_gb + 1"))
                return 0, 0
            """,
        ),
        {"check": "data-migration-repeats", "object": "grow"},
    ),
    "downgrade that does not restore": (
        Case(old=VOLUME, new=SIZED, expand=(ADD_SIZE.partition("---")[0],)),
        {"check": "rollback-differs", "revision": "e1"},
    ),
    "models that do not match": (
        Case(old=VOLUME, new=SIZED.replace("size:", "sizes:"), expand=(ADD_SIZE,)),
        {"check": "models-differ", "version": "new", "phase": "end"},
    ),
    "two heads": (
        Case(old=VOLUME, new=SIZED, expand=(ADD_SIZE,) * 3, heading={"e3": "down_revision = 'e1'\n"}),
        {"check": "graph"},
    ),
    "foreign key that old inserts violate": (
        Case(
            old=VOLUME + "    host_id: Mapped[int]\n",
            new=VOLUME
            + '    host_id: Mapped[int] = mapped_column(sa.ForeignKey("hosts.id"))\n'
            + 'class Host(Base):\n    __tablename__ = "hosts"\n    id: Mapped[int] = mapped_column('
            "primary_key=True)\n",
            expand=(
                """
                op.create_table("hosts", sa.Column("id", sa.Integer, primary_key=True))
                op.execute("INSERT INTO hosts SELECT host_id FROM volumes")
                with op.batch_alter_table("volumes") as table:
                    table.create_foreign_key("fk_host", "hosts", ["host_id"], ["id"])
                ---
                with op.batch_alter_table("volumes") as table:
                    table.drop_constraint("fk_host", type_="foreignkey")
                op.drop_table("hosts")
                """,
            ),
        ),
        {"check": "statement-breaks", "version": "old", "operation": "insert", "revision": "e1"},
    ),
    "server default is missing": (
        Case(
            old=VOLUME,
            new=VOLUME
            + 'class Zone(Base):\n    __tablename__ = "zones"\n    id: Mapped[int] = mapped_column('
            'primary_key=True)\n    kind: Mapped[str] = mapped_column(sa.String(9), server_default="x")\n',
            expand=(
                'op.create_table("zones", sa.Column("id", sa.Integer, primary_key=True), '
                'sa.Column("kind", sa.String(9), nullable=False))\n---\nop.drop_table("zones")',
            ),
        ),
        {"check": "statement-breaks", "version": "new", "object": "Zone", "revision": "e1"}
        | {"operation": "insert with the required columns only"},
    ),
    "relationship whose table is gone": (
        Case(
            old=VOLUME + HOSTS,
            new=VOLUME,
            expand=(
                'op.drop_table("hosts")\n---\nop.create_table("hosts", '
                'sa.Column("id", sa.Integer, primary_key=True), '
                'sa.Column("volume_id", sa.Integer, sa.ForeignKey("volumes.id")))',
            ),
        ),
        {
            "check": "statement-breaks",
            "version": "old",
            "object": "Volume",
            "operation": "load hosts (joined)",
        }
        | {"revision": "e1"},
    ),
    "values that differ": (
        Case(
            old=SIZED,
            new=SIZED,
            expand=(
                """
                op.execute("CREATE TRIGGER changed AFTER INSERT ON volumes BEGIN "
                           "UPDATE volumes SET size = -1 WHERE id = NEW.id; END")
                ---
                op.execute("DROP TRIGGER changed")
                """,
            ),
        ),
        {"check": "value-differs", "version": "old", "operation": "read size", "revision": "e1"},
    ),
    "sync whose backward is wrong": (
        WRONG_BACKWARD,
        {"check": "sync-round-trip", "version": "old", "operation": "insert, sync volume_size"}
        | {"revision": "e1", "object": "Volume"},
    ),
    "sync whose backward is constant": (
        dataclasses.replace(
            SYNCED_SIZE, expand=(SYNC_SIZE.replace("size_bytes / 1073741824", "size_bytes * 0"),)
        ),
        {"check": "sync-round-trip", "version": "old", "revision": "e1"},
    ),
    "sync whose trigger is gone": (
        dataclasses.replace(
            SYNCED_SIZE,
            expand=(SYNC_SIZE, 'op.execute("DROP TRIGGER online_migrate_sync_volume_size_insert_new")'),
        ),
        {"check": "sync-out-of-step", "version": "new", "operation": "insert, sync volume_size"},
    ),
    "table renamed": (
        Case(
            old=VOLUME,
            new=VOLUME.replace('"volumes"', '"disks"'),
            expand=('op.rename_table("volumes", "disks")\n---\nop.rename_table("disks", "volumes")',),
        ),
        {"check": "statement-breaks", "version": "old", "operation": "select", "revision": "e1"},
    ),
}


RICH = """
class Kind(enum.Enum):
    DISK = "disk"
    TAPE = "tape"

tags = sa.Table("tags", Base.metadata, sa.Column("volume_id", sa.ForeignKey("volumes.id"), primary_key=True),
                sa.Column("label_id", sa.ForeignKey("labels.id"), primary_key=True))

class Label(Base):
    __tablename__ = "labels"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(sa.String(3), unique=True)
    parent_id: Mapped[Optional[int]] = mapped_column(sa.ForeignKey("labels.id"))
    parent: Mapped[Optional["Label"]] = relationship(remote_side=id)

class Volume(Base):
    __tablename__ = "volumes"
    id: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(sa.String(20))
    kind: Mapped[Kind]
    price: Mapped[decimal.Decimal] = mapped_column(sa.Numeric(8, 2))
    at: Mapped[datetime.datetime] = mapped_column(default=lambda: datetime.datetime(2020, 1, 1))
    day: Mapped[Optional[datetime.date]]
    details: Mapped[dict] = mapped_column(sa.JSON)
    raw: Mapped[bytes]
    share: Mapped[float]
    used: Mapped[bool]
    labels: Mapped[list[Label]] = relationship(secondary=tags)
    parts: Mapped[list["Part"]] = relationship(
        back_populates="volume", lazy="write_only", passive_deletes=True)
    __mapper_args__ = {"polymorphic_on": "type", "polymorphic_identity": "volume"}

class Encrypted(Volume):
    __tablename__ = "encrypted_volumes"
    id: Mapped[int] = mapped_column(sa.ForeignKey("volumes.id"), primary_key=True)
    cipher: Mapped[str] = mapped_column(sa.String(20))
    __mapper_args__ = {"polymorphic_identity": "encrypted"}

class Part(Base):
    __tablename__ = "parts"
    volume_id: Mapped[int] = mapped_column(sa.ForeignKey("volumes.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    uuid: Mapped[Optional[str]] = mapped_column(sa.Uuid(as_uuid=False))
    volume: Mapped[Volume] = relationship(back_populates="parts")

classical = sa.Table("classical", Base.metadata, sa.Column("code", sa.String(20), primary_key=True),
                     sa.Column("n", sa.SmallInteger))
"""
IN_BYTES = Case(
    old=GROWN,
    new=BOTH,
    final=BYTES,
    expand=(
        'op.add_column("volumes", sa.Column("size_bytes", sa.BigInteger))\n---\n'
        'op.drop_column("volumes", "size_bytes")',
    ),
    data="""
    fill = Backfill(
        table="volumes",
        values=lambda t: {"size_bytes": sa.cast(t.c.size_gb, sa.BigInteger) * 1024**3},
        pending=lambda t: t.c.size_bytes.is_(None),
    )
    """,
    contract=(
        """
        with op.batch_alter_table("volumes") as table:
            table.drop_column("size_gb")
            table.alter_column("size_bytes", existing_type=sa.BigInteger, nullable=False)
        """,
    ),
    requires=("fill",),
)
GOOD = {
    "new nullable column": Case(old=VOLUME, new=SIZED, expand=(ADD_SIZE,)),
    "column that moves": IN_BYTES,
    "all kinds of mappings": Case(old=RICH, new=RICH, expand=(OTHER,)),
    "sync of a base class": dataclasses.replace(
        SYNCED_SIZE, old=SIZED_GB + TYPED + DISKS, new=SIZED_BYTES + TYPED + DISKS
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_project(name: str, tmp_path: Path) -> None:
    """The planted incompatibility is among the findings."""
    case, expected = BAD[name]
    url = f"sqlite:///{tmp_path / 'scratch.sqlite'}"
    write(tmp_path, case, url)
    report = prove(tmp_path, url)
    found = [finding.as_dict() for finding in report.findings]
    assert any(expected.items() <= one.items() for one in found), found
    assert report.exit_code == 3


@pytest.mark.parametrize("name", GOOD)
def test_good_project(name: str, tmp_path: Path) -> None:
    """Nothing is found, and every phase had traffic."""
    case = GOOD[name]
    write(tmp_path, case)
    options = {"final": "./final:models"} if case.final else {}
    report = prove(tmp_path, **options)
    assert not report.findings
    assert not report.stopped
    assert all(count for phase in report.phases for count in phase.operations.values())
    assert [phase.name for phase in report.phases][: 1 + len(case.expand)] == ["base", "expand e1"]


@pytest.mark.each_product
def test_each_server(database: Database, tmp_path: Path) -> None:
    """A change of a type, on the database of a URL; then it is not empty, and is refused."""
    write(tmp_path, IN_BYTES)
    report = prove(tmp_path, database.url, final="./final:models")
    assert not report.findings
    assert [phase.name for phase in report.phases] == [
        "base",
        "expand e1",
        "half migrated",
        "migrated",
        "contract c1",
    ]
    before = sa.inspect(database.engine).get_table_names()
    with pytest.raises(exceptions.UsageError, match="needs an empty database"):
        prove(tmp_path, database.url)
    assert sa.inspect(database.engine).get_table_names() == before


@pytest.mark.each_product
def test_each_server_bad(database: Database, tmp_path: Path) -> None:
    """A new version without the old column cannot insert before contract; rollback runs on each server."""
    write(tmp_path, IN_BYTES)
    report = prove(tmp_path, database.url, new="./final:models")
    first = report.findings[0]
    assert (first.check, first.version, first.phase) == ("statement-breaks", "new", "expand e1")
    assert first.operation == "insert"
    assert first.revision == "c1"
    assert "size_gb" in first.reason
    assert not any(finding.check.startswith("rollback") for finding in report.findings)
    assert report.phases[-1].name == "contract c1"


@pytest.mark.parametrize("name", SYNCED)
@pytest.mark.each_product
def test_each_server_sync(name: str, database: Database, tmp_path: Path) -> None:
    """Each version writes its own shape, and triggers write the other one: nothing is found."""
    case = SYNCED[name]
    write(tmp_path, case)
    options = {"final": "./final:models"} if case.final else {}
    report = prove(tmp_path, database.url, **options)
    assert not report.findings
    assert not report.stopped
    phases = ["expand e1", "half migrated", "migrated", "contract c1"]
    assert [phase.name for phase in report.phases][1:] == phases


@pytest.mark.each_product
def test_each_server_bad_sync(database: Database, tmp_path: Path) -> None:
    """Old code reads another value after new code has written back what it reads."""
    write(tmp_path, WRONG_BACKWARD)
    report = prove(tmp_path, database.url)
    found = [finding for finding in report.findings if finding.check == "sync-round-trip"]
    assert {(one.version, one.operation) for one in found} == {
        ("old", "insert, sync volume_size"),
        ("old", "update, sync volume_size"),
    }
    written, bytes_, _, restored = map(int, re.findall(r"size_(?:gb|bytes) (\d+)", found[0].reason))
    assert (bytes_, restored) == (written * 1024**3, written * 1024)
    assert found[0].hint.startswith("correct forward or backward")
    assert report.exit_code == 3


@pytest.mark.each_product
def test_each_server_bad_sync_of_two_tables(database: Database, tmp_path: Path) -> None:
    """The value of the other table gives another one than the old version wrote."""
    write(tmp_path, WRONG_TABLES)
    report = prove(tmp_path, database.url)
    found = next(finding for finding in report.findings if finding.check == "sync-round-trip")
    assert (found.version, found.object, found.revision) == ("old", "User", "e1")
    assert re.search(r"email '(.+)', address '\1'; .* backward gives email '\1x'", found.reason)


@pytest.mark.each_product
def test_each_server_sync_without_triggers(database: Database, tmp_path: Path) -> None:
    """A write of one version does not reach the columns of the other one."""
    drops = dialect_of(database.engine).drop_sync_statements("volume_size", "volumes", None)
    dropped = "\n".join(f"op.execute({statement!r})" for statement in drops)
    write(tmp_path, dataclasses.replace(SYNCED_SIZE, expand=(SYNC_SIZE, dropped)))
    report = prove(tmp_path, database.url)
    found = [finding for finding in report.findings if finding.check == "sync-out-of-step"]
    assert {(one.version, one.operation) for one in found} == {
        (version, f"{operation}, sync volume_size")
        for version in ("old", "new")
        for operation in ("insert", "update")
    }
    assert re.search(r"size_gb \d+, size_bytes None; forward gives size_bytes \d+", found[0].reason)


def test_demo_project(tmp_path: Path) -> None:
    """The project of the demo, with the models of its two versions and of version 2 after contract."""
    init(tmp_path / "alembic.ini")
    shutil.copytree(str(PROJECT), tmp_path, dirs_exist_ok=True)
    source = Path(__file__).parents[1] / "support" / "demo_models.py"
    shutil.copy(source, tmp_path / "demo_models.py")
    names = {name: f"demo_models:{name}" for name in ("old", "new", "final")}
    report = prove(tmp_path, since="e0_tables", **names)
    assert not report.findings
    assert report.phases[-1].name == "contract c5_zone"


def test_flights_example() -> None:
    """examples/flights, with the rows that its data migrations understand."""
    folder = Path(__file__).parents[2] / "examples" / "flights"
    report = prove(folder, old="load:metadata", new="models:metadata", rows="models:possible_flight")
    assert not report.findings
    assert report.phases[-1].name == "contract contract_2026_2"


def test_modules_of_a_version(tmp_path: Path) -> None:
    """Code of a version imports the modules of that version, also while it runs."""
    late = "    @property\n    def shown(self):\n        import helper\n        return helper.TEXT\n"
    write(tmp_path, Case(old=VOLUME + late, new=VOLUME + late))
    loaded = {}
    for name in ("old", "new"):
        (tmp_path / name / "helper.py").write_text(f"TEXT = {name!r}")
        loaded[name] = models.load(name, f"./{name}:models:Base", tmp_path)
    for name, version in loaded.items():
        with version.modules.active():
            assert version.mappers[0].class_().shown == name
    assert "models" not in sys.modules
    assert "helper" not in sys.modules


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("./nowhere:models", "does not exist"),
        ("./new:nothing", "ModuleNotFoundError"),
        ("./new:models:Nothing", "Nothing"),
        ("./new:models:Volume:x", "not of the form"),
        ("./new:empty", "has no table"),
    ],
)
def test_models_that_cannot_be_used(name: str, reason: str, tmp_path: Path) -> None:
    """The reason is named, before a database is made."""
    write(tmp_path, GOOD["new nullable column"])
    (tmp_path / "new" / "empty.py").write_text("")
    with pytest.raises(exceptions.ModelsBroken, match=reason):
        prove(tmp_path, new=name)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text and JSON, progress on stderr, and the exit codes."""
    write(tmp_path, BAD["column dropped in expand"][0])
    arguments = ["prove", "-c", str(tmp_path / "alembic.ini"), "--old", "./old:models"]
    assert run([*arguments, "--new", "./new:models"]) == 3
    said = capsys.readouterr()
    assert "expand e1: statement-breaks: old Volume select\n    no such column: volumes.size" in said.out
    assert "caused by e1" in said.out
    assert "expand e1: traffic of old and new" in said.err
    assert run([*arguments, "--new", "./new:models", "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert not document["proved"]
    assert {finding["revision"] for finding in document["findings"]} == {"e1"}
    assert run([*arguments, "--new", "./old:models:Nothing"]) == 127


def test_marker(tmp_path: Path, pytester: pytest.Pytester) -> None:
    """The same check for the test suite of a project: as a function and as a marker."""
    write(pytester.path, GOOD["new nullable column"])
    pytester.makepyfile(
        """
        import pytest
        from online_migrate.testing import assert_proved

        @pytest.mark.online_migrate_prove(old="./old:models", new="./new:models:Base")
        def test_passes():
            pass

        @pytest.mark.online_migrate_prove(old="./new:models", new="./old:models")
        def test_fails():
            pass

        def test_function():
            assert_proved(old="./old:models", new="./new:models")
        """
    )
    options = ("-p", "no:online-migrate", "-p", "online_migrate.pytest_plugin", "-p", "no:cacheprovider")
    result = pytester.runpytest_inprocess(*options)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*expand e1: revision-fails*", "*duplicate column name: size*"])
