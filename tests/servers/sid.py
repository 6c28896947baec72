"""Oracle's MySQL from Debian sid, unpacked into a folder of its own; the system's packages stay as they are.

Debian's stable releases have no MySQL.  Sid has, and it moves: the newest version on offer is taken, with
everything it depends on down to the C library, and is kept.  To look for a newer one, remove the folders
that `python -m tests.servers install mysql` names.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

from tests.servers.catalog import CATALOG
from tests.servers.system import ServerError, download_folder, find_program, program_folder, run

PACKAGE = "mysql-server-core"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRRORS = ("http://deb.debian.org/debian", "https://deb.debian.org/debian")
MIRROR_VARIABLE = "ONLINE_MIGRATE_TEST_DEBIAN_MIRROR"


def obtain() -> Path:
    """The root folder of the unpacked MySQL, from this machine where possible, else downloaded."""
    unpacked = _newest(program_folder() / "mysql")
    if unpacked is None:
        packages = _newest(download_folder() / "mysql") or _download()
        unpacked = _unpack(packages)
    return unpacked


def _newest(folder: Path) -> Path | None:
    """The folder of the newest version within `folder`, if any; unfinished ones begin with a dot."""
    versions = [entry for entry in folder.glob("[0-9]*") if _version(entry.name) >= CATALOG["mysql"].minimum]
    return max(versions, key=lambda entry: _version(entry.name), default=None)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


def _download() -> Path:
    """Fetch the packages from the first mirror that delivers them; return the folder they are in."""
    for program in ("apt-get", "dpkg-deb"):
        if find_program(program) is None:
            raise ServerError(f"MySQL comes from Debian sid, and there is no {program} here to fetch it with")
    own_mirror = os.environ.get(MIRROR_VARIABLE)
    tried: list[str] = []
    for mirror in (own_mirror,) if own_mirror else MIRRORS:
        try:
            return _download_from(mirror)
        except ServerError as error:
            tried.append(f"* {mirror} sid main, package {PACKAGE}:\n{error}")
    raise ServerError(
        f"MySQL cannot be had from Debian sid (another mirror: set {MIRROR_VARIABLE};"
        f" a server of your own: set {CATALOG['mysql'].variable}). Tried:\n" + "\n".join(tried)
    )


def _download_from(mirror: str) -> Path:
    """Let an apt with no knowledge of this machine's packages fetch the whole dependency closure."""
    home = download_folder() / "mysql"
    home.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=home) as name:
        apt = Path(name)
        options = _apt_options(apt, mirror)
        run(["apt-get", *options, "update"])
        run(["apt-get", *options, "install", "-y", "--download-only", "--no-install-recommends", PACKAGE])
        packages = list((apt / "cache/archives").glob("*.deb"))
        version = _offered_version(packages)
        complete = home / version
        folder = apt / "packages"
        folder.mkdir()
        for package in packages:
            package.rename(folder / package.name)
        shutil.rmtree(complete, ignore_errors=True)
        folder.rename(complete)
    return complete


def _apt_options(apt: Path, mirror: str) -> list[str]:
    """Own sources and lists, nothing installed; proxies and the like as the system has them."""
    for folder in ("lists/partial", "cache/archives/partial", "empty"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    (apt / "sources.list").write_text(f"deb {signed}{mirror} sid main\n")
    settings = {
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": apt / "empty",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": apt / "empty",
        "Dir::State": apt,
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
        "Debug::NoLocking": "true",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _offered_version(packages: Iterable[Path]) -> str:
    minimum = CATALOG["mysql"].minimum
    for package in packages:
        name, _, rest = unquote(package.name).partition("_")
        version = rest.rpartition("_")[0].partition(":")[-1] or rest.rpartition("_")[0]
        if name == PACKAGE and _version(version) >= minimum:
            return version
    wanted = ".".join(map(str, minimum))
    raise ServerError(f"no {PACKAGE} >= {wanted} among {sorted(package.name for package in packages)}")


def _unpack(packages: Path) -> Path:
    """Unpack all packages over each other, and show the finished folder only when it is complete."""
    home = program_folder() / "mysql"
    home.mkdir(exist_ok=True)
    home.chmod(0o755)
    complete = home / packages.name
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=home) as name:
        root = Path(name) / "root"
        root.mkdir(mode=0o755)
        for package in sorted(packages.glob("*.deb")):
            run(["dpkg-deb", "-x", package, root])
        root.chmod(0o755)
        shutil.rmtree(complete, ignore_errors=True)
        root.rename(complete)
    return complete
