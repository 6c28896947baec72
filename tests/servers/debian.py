"""Programs from Debian's packages, installed without starting any service."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from collections.abc import Iterator

from tests.servers.system import ServerError, as_root, find_program, run

_POLICY = "/usr/sbin/policy-rc.d"
_ALREADY_THERE = 3
_CREATE_POLICY = f"""
    test -e {_POLICY} && exit {_ALREADY_THERE}
    printf '#!/bin/sh\\nexit 101\\n' > {_POLICY} && chmod 755 {_POLICY}
"""


def ensure_packages(*packages: str) -> None:
    """Installs the missing ones of `packages`."""
    missing = [name for name in packages if not _is_installed(name)]
    if not missing:
        return
    if find_program("apt-get") is None:
        raise ServerError(f"not a Debian system: install what Debian calls {', '.join(missing)}")
    purpose = f"Debian packages are missing ({', '.join(missing)})"
    quietly = ["env", "DEBIAN_FRONTEND=noninteractive"]
    install = [*quietly, "apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
    as_root(install, purpose)
    run(as_root(["apt-get", "update", "-q"], purpose))
    with _no_service_starts(purpose):
        run(as_root(install, purpose))
    still_missing = [name for name in missing if not _is_installed(name)]
    if still_missing:
        raise ServerError(f"{shlex.join(install)} succeeded without installing {still_missing}")


def _is_installed(package: str) -> bool:
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    if find_program("dpkg-query") is None:
        return False
    return subprocess.run(query, capture_output=True, text=True).stdout == "installed"


@contextlib.contextmanager
def _no_service_starts(purpose: str) -> Iterator[None]:
    """Makes Debian's service scripts refuse to start services; an existing policy is kept."""
    command = as_root(["sh", "-c", _CREATE_POLICY], purpose)
    created = subprocess.run(command, capture_output=True, text=True)
    if created.returncode not in (0, _ALREADY_THERE):
        raise ServerError(f"cannot write {_POLICY}, which keeps services from starting: {created.stderr}")
    try:
        yield
    finally:
        if created.returncode == 0:
            run(as_root(["rm", "-f", _POLICY], purpose))
