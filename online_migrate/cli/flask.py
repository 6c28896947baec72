"""``flask online-migrate COMMAND``: the commands in the application context that env.py needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from online_migrate.cli.main import run


def _configuration(arguments: Sequence[str]) -> list[str]:
    """Returns the option for the alembic.ini of Flask-Migrate, unless the arguments contain one."""
    named = any(a in ("-c", "--config") or a.startswith("--config=") for a in arguments)
    extension: Any = current_app.extensions.get("migrate")
    if named or extension is None:
        return []
    return ["-c", str(Path(extension.directory) / "alembic.ini")]


@click.command(
    "online-migrate",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    short_help="Change the schema of a live database while the application runs.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@with_appcontext
def command(arguments: tuple[str, ...]) -> None:
    """Run online-migrate for the database and the migrations of this application."""
    sys.exit(run([*_configuration(arguments), *arguments]))
