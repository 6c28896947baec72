"""The tables of the demo as mapped classes: version 1, version 2, and version 2 after contract."""

from __future__ import annotations

import sqlalchemy as sa


def _metadata(volumes: tuple[sa.Column, ...], accounts: tuple[sa.Column, ...], hosts: bool) -> sa.MetaData:
    found = sa.MetaData()
    key = {"primary_key": True, "autoincrement": False}
    sa.Table("volumes", found, sa.Column("id", sa.Integer, **key), *volumes)
    sa.Table("accounts", found, sa.Column("id", sa.Integer, **key), *accounts)
    if hosts:
        volume = sa.ForeignKey("volumes.id", name="fk_attachments_volume", ondelete="CASCADE")
        sa.Table(
            "attachments",
            found,
            sa.Column("volume_id", sa.Integer, volume, **key),
            sa.Column("host", sa.String(80), nullable=False),
        )
    return found


def _old_volume() -> tuple[sa.Column, ...]:
    return (
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("size_gb", sa.Integer, nullable=False),
        sa.Column("attached_to", sa.String(80)),
    )


def _new_volume(*, zone_required: bool) -> tuple[sa.Column, ...]:
    return (
        sa.Column("display_name", sa.String(80)),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("zone", sa.String(32), nullable=not zone_required),
    )


def _old_account() -> tuple[sa.Column, ...]:
    return (sa.Column("full_name", sa.String(160), nullable=False),)


def _new_account() -> tuple[sa.Column, ...]:
    return sa.Column("first_name", sa.String(80)), sa.Column("last_name", sa.String(80))


old = _metadata(_old_volume(), _old_account(), hosts=False)
new = _metadata(
    (*_old_volume(), *_new_volume(zone_required=False)), (*_old_account(), *_new_account()), hosts=True
)
final = _metadata(_new_volume(zone_required=True), _new_account(), hosts=True)
