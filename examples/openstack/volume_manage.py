"""volume-manage: the program of the operator.

python examples/openstack/volume_manage.py --config-file volume.conf db status
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from oslo_config import cfg

from online_migrate.openstack.manage import DbCommands, add_parsers, run_parsed

ALEMBIC_INI = Path(__file__).resolve().parent / "alembic.ini"


def main(arguments: Sequence[str], out: IO[str] | None = None, err: IO[str] | None = None) -> int:
    """Runs a command, and returns its exit code."""
    conf = cfg.ConfigOpts()
    commands = DbCommands(ALEMBIC_INI, conf, out=out, err=err)
    conf.register_cli_opt(
        cfg.SubCommandOpt("command", handler=lambda parsers: add_parsers(parsers, commands))
    )
    conf(arguments, project="volume", prog="volume-manage", default_config_files=[])
    return run_parsed(conf.command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
