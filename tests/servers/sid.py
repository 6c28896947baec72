"""Oracle's MySQL from Debian sid, unpacked into its own folder; the system's packages are not changed.

Debian's stable releases have no MySQL. Sid has a changing version: the newest available version is downloaded
with all dependencies down to the C library, and is kept. To get a newer one, remove the folders that `python
-m tests.servers install mysql` prints.
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
    """Returns the root folder of the unpacked MySQL, from this machine if possible, else downloaded."""
    unpacked = _newest(program_folder() / "mysql")
    if unpacked is None:
        packages = _newest(download_folder() / "mysql") or _download()
        unpacked = _unpack(packages)
    return unpacked


def _newest(folder: Path) -> Path | None:
    """Returns the folder of the newest version within `folder`, if any; incomplete ones begin with a dot."""
    versions = [entry for entry in folder.glob("[0-9]*") if _version(entry.name) >= CATALOG["mysql"].minimum]
    return max(versions, key=lambda entry: _version(entry.name), default=None)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


def _download() -> Path:
    """Downloads the packages from the first mirror that has them; returns their folder."""
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
    """Downloads all dependencies by an apt that ignores the installed packages of this machine."""
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
    """Returns options for separate sources and lists without installed packages; proxies as in the system."""
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
    """Unpacks all packages into one folder, which is renamed to its final name when it is complete."""
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
