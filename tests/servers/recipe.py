"""The interface of a kind of server, with which `launch` runs it."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from pathlib import Path

from sqlalchemy import URL, Connection

USER = "om_test"
PASSWORD = "p@ss:w/rd%"
"""The special characters reveal code that prints, splits or does not quote a URL."""

ZONE = "Europe/Berlin"
"""The time zone of the servers.

It has daylight saving time, so one hour of each autumn occurs twice: on some servers a session that is not at
UTC cannot distinguish the two.
"""


class Recipe(ABC):
    """How to obtain, prepare and run one kind of server."""

    driver: str
    database: str
    stop_signal = signal.SIGKILL
    """A throwaway server needs no clean shutdown, unless a kill would leave something behind."""
    hasty: tuple[str, ...]
    """The options with which the server never waits for the disk: its data is lost if the machine fails."""
    durable: tuple[str, ...]
    """The options with which the server keeps committed data if the machine fails.

    They include the memory and the log size of a production server.
    """
    durability: str
    """The query that returns whether a server runs with the guarantees of `durable`."""

    @abstractmethod
    def obtain(self) -> str:
        """Installs the programs on this machine, and returns a line with their location."""

    @abstractmethod
    def account(self) -> str | None:
        """Returns the account to run under; None is the account of this process."""

    @abstractmethod
    def preparation(self, folder: Path) -> list[str]:
        """Returns the command that creates a data directory in `folder`, which is empty and the account's."""

    @abstractmethod
    def command(self, folder: Path, port: int) -> list[str]:
        """Returns the command that serves the data of `folder` on `port`, in the foreground, logging to
        stderr.

        Further options follow: `hasty` or `durable`, and options of the caller.
        """

    @abstractmethod
    def data_directory(self, connection: Connection) -> str:
        """Returns the data directory of the server behind `connection`.

        It distinguishes the started server from one that has taken the port.
        """

    def is_ready(self, connection: Connection) -> bool:
        """Returns whether a server that accepts connections is also ready to be used."""
        return True

    def url(self, port: int) -> str:
        """Returns the URL of the maintenance database."""
        url = URL.create(self.driver, USER, PASSWORD, "127.0.0.1", port, self.database)
        return url.render_as_string(hide_password=False)
