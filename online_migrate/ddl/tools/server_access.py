"""How a tool reaches the server: the parts of the URL, and the file with the credentials. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy as sa

_OF_THE_DRIVER = frozenset(
    {"charset", "use_unicode", "collation", "connect_timeout", "read_timeout", "write_timeout", "sql_mode"}
    | {"local_infile", "program_name", "max_allowed_packet", "binary_prefix", "autocommit", "plugin"}
)
"""Options that concern the driver only, or that the engine overrides. The tool gets ``sql_mode`` from the
session."""
_FILES = {"ssl_ca": "ssl-ca", "ssl_cert": "ssl-cert", "ssl_key": "ssl-key", "ssl_capath": "ssl-capath"}
_FILES |= {"ssl_cipher": "ssl-cipher"}
_VERIFY = ("ssl_check_hostname", "ssl_verify_identity")
_TRUE = frozenset({"1", "true", "yes", "on"})


@dataclasses.dataclass(frozen=True)
class ServerAccess:
    """The server, the account, and the options of the URL that a tool must follow.

    *tls*: option of a client's option file -> value. *verify*: the name in the server's certificate is
    checked. *unknown*: the names of the other options.
    """

    host: str
    port: int
    user: str
    password: str
    socket: str | None = None
    tls: Mapping[str, str] = dataclasses.field(default_factory=dict)
    verify: bool = False
    unknown: tuple[str, ...] = ()

    @classmethod
    def of(cls, url: sa.URL) -> ServerAccess:
        """Returns the access of *url*."""
        options = {name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()}
        tls = {_FILES[name]: value for name, value in options.items() if name in _FILES}
        checks = [options[name].lower() in _TRUE for name in _VERIFY if name in options]
        known = _OF_THE_DRIVER | _FILES.keys() | {*_VERIFY, "unix_socket"}
        return cls(
            host=url.host or "localhost",
            port=url.port or 3306,
            user=url.username or "",
            password=url.password or "",
            socket=options.get("unix_socket"),
            tls=tls,
            verify=all(checks) if checks else bool({"ssl-ca", "ssl-capath"} & tls.keys()),
            unknown=tuple(sorted(options.keys() - known)),
        )


def option_file(options: Mapping[str, str]) -> str:
    """Returns an option file of the clients of MySQL, with one section."""
    lines = [f"{name}={quoted(value)}" for name, value in options.items()]
    return "\n".join(["[client]", *lines, ""])


def quoted(value: str) -> str:
    """Returns a value as an option file writes it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    for character, written in (("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        escaped = escaped.replace(character, written)
    return f'"{escaped}"'
