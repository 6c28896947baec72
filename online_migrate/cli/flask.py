"""``flask online-migrate COMMAND``: our commands inside the application that Flask-Migrate's env.py needs."""

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
    """The option that names Flask-Migrate's alembic.ini, unless another one is named already."""
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
    """The commands of online-migrate, for the database and the migrations of this application."""
    sys.exit(run([*_configuration(arguments), *arguments]))
