"""Runs commands in the environment that has the real packages of OpenStack, in one process.

``python -m tests.support.openstack_data`` reads the arguments of a command of ``online-migrate`` from each
line of stdin, as JSON, and answers with a line of JSON: its exit code, its stdout and its stderr.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

from online_migrate.cli import main


def serve() -> None:
    """Runs commands until stdin ends."""
    for line in sys.stdin:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main.run(json.loads(line))
        print(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}), flush=True)


if __name__ == "__main__":
    serve()
