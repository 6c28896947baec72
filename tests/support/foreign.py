"""A project that another tool wrote: Alembic's templates, Flask-Migrate; and that tool's commands in it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import sqlalchemy as sa

from tests.servers import Database
from tests.support.project import Process, Project, Ran

GUARD = "import online_migrate\nonline_migrate.guard()\n"
ASYNC_DRIVERS = {"sqlite": "aiosqlite", "postgresql": "asyncpg", "mysql": "asyncmy"}


def async_url(database: Database, driver: str | None = None) -> str:
    """The URL of a database as an asynchronous application writes it."""
    url = sa.make_url(database.url)
    backend = url.get_backend_name()
    drivername = f"{backend}+{driver or ASYNC_DRIVERS[backend]}"
    return url.set(drivername=drivername).render_as_string(hide_password=False)


def alembic_command(arguments: Sequence[str]) -> NoReturn:
    """Alembic's own command line."""
    from alembic.config import main

    raise SystemExit(main(list(arguments), prog="alembic"))


class Foreign(Project):
    """A folder with a project in ``db``; its commands get no URL but the project's own."""

    @property
    def scripts(self) -> Path:
        return self.folder / "db"

    @property
    def env_py(self) -> Path:
        """Its env.py."""
        return self.scripts / "env.py"

    def _environment(self, more: Mapping[str, str] | None) -> dict[str, str]:
        return super()._environment({"ONLINE_MIGRATE_URL": "", **(more or {})})

    def alembic(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Ran:
        """Runs Alembic's own command to its end."""
        scratch = self.folder / "runs"
        scratch.mkdir(parents=True, exist_ok=True)
        process = Process(
            alembic_command,
            arguments,
            folder=self.folder,
            environment=self._environment(environment),
            output=scratch / f"alembic-{len(self._processes) + 1}",
        )
        self._processes.append(process)
        return process.wait()

    def does(self, *arguments: str, code: int = 0, environment: Mapping[str, str] | None = None) -> Ran:
        """Runs ``online-migrate ARGUMENTS`` and asserts how it ends."""
        ran = self.run(*arguments, environment=environment)
        assert ran.code == code, (arguments, ran)
        assert "Traceback" not in ran.err, ran.err
        return ran

    def does_alembic(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Ran:
        """Runs Alembic's own command and asserts that it works."""
        ran = self.alembic(*arguments, environment=environment)
        assert ran.code == 0, (arguments, ran)
        return ran

    def replace(self, file: Path, old: str, new: str) -> None:
        """Changes a text in a file, which must be there."""
        text = file.read_text(encoding="utf-8")
        assert old in text, (file, old)
        file.write_text(text.replace(old, new, 1), encoding="utf-8")

    def guard(self) -> None:
        """Adds the two lines to env.py."""
        self.env_py.write_text(GUARD + self.env_py.read_text(encoding="utf-8"), encoding="utf-8")

    def base(self, upgrade: str) -> Path:
        """A revision of the project's own, by Alembic's command."""
        before = set((self.scripts / "versions").glob("*.py"))
        self.does_alembic("revision", "-m", "the tables")
        [path] = set((self.scripts / "versions").glob("*.py")) - before
        self.fill_in(path, upgrade)
        return path

    def pair(self, expand: str, contract: str, *, requires: Sequence[str]) -> tuple[str, str]:
        """The two scripts of a change, by ``online-migrate revision``; gives their revisions."""
        made = self.does("revision", "-m", "a change", "--rev-id", "e1", "c1").out.split()
        first, second = (self.folder / line for line in made)
        self.fill_in(first, expand)
        self.replace(second, "requires = None", f"requires = {tuple(requires)!r}")
        self.fill_in(second, contract)
        return "e1", "c1"

    def fill_in(self, path: Path, upgrade: str) -> None:
        """Writes the body of a script's ``upgrade()``."""
        before, start, rest = path.read_text(encoding="utf-8").partition("def upgrade()")
        body = textwrap.indent(textwrap.dedent(upgrade).strip(), "    ")
        assert start, path
        path.write_text(before + start + rest.replace("    pass", body, 1), encoding="utf-8")
