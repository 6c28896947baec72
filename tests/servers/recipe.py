"""What a kind of server has to say about itself, so that `launch` can run it."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from pathlib import Path

from sqlalchemy import URL, Connection

USER = "om_test"
PASSWORD = "p@ss:w/rd%"
"""Awkward on purpose: whoever prints, splits or forgets to quote a URL is found out."""

ZONE = "Europe/Berlin"
"""The time zone of the servers. It has summer time, so an hour of each autumn happens twice: a session that
is not at UTC cannot tell the two apart on some servers."""


class Recipe(ABC):
    """How to obtain, prepare and run one kind of server."""

    driver: str
    database: str
    stop_signal = signal.SIGKILL
    """Nothing of a throwaway server is worth a clean shutdown, unless it would leave something behind."""
    hasty: tuple[str, ...]
    """The options under which it never waits for the disk: should the machine fail, its data is lost."""
    durable: tuple[str, ...]
    """The options under which it keeps what it has confirmed, should the machine fail; with the memory and
    the log of a server that is used in earnest."""
    durability: str
    """The query that says whether a server runs with what `durable` stands for."""

    @abstractmethod
    def obtain(self) -> str:
        """Have the programs on this machine, and say in a line where they are."""

    @abstractmethod
    def account(self) -> str | None:
        """The account to run under; None is our own."""

    @abstractmethod
    def preparation(self, folder: Path) -> list[str]:
        """The command that makes a data directory in `folder`, which is empty and the account's."""

    @abstractmethod
    def command(self, folder: Path, port: int) -> list[str]:
        """The command that serves the data of `folder` on `port`, in the foreground, logging to stderr.

        Further options follow: `hasty` or `durable`, and what else its starter wants.
        """

    @abstractmethod
    def data_directory(self, connection: Connection) -> str:
        """Where the server behind `connection` keeps its data, to tell ours from one that took our port."""

    def is_ready(self, connection: Connection) -> bool:
        """Whether a server that accepts connections is also ready to be used."""
        return True

    def url(self, port: int) -> str:
        """How tests reach the maintenance database."""
        url = URL.create(self.driver, USER, PASSWORD, "127.0.0.1", port, self.database)
        return url.render_as_string(hide_password=False)
