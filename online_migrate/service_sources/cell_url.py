"""The database URL of a cell, of which parts may be filled in from another URL. Pure.

As in ``nova.objects.cell_mapping.CellMapping._format_url``: a part that the other URL does not have is filled
in as ``None``, and a text that is no template is left as it is. A URL that is still a template is refused.
"""

from __future__ import annotations

import re
from urllib.parse import urlparse

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.dialects import parse_url

_PART = re.compile(r"\{(username|password|hostname|port)\d*\}|\{(scheme|path|query|fragment)\}")

_BRACKETED = re.compile(r"\[([^]]*)\](:?)(\d*)")


class CellUrlBroken(Exception):
    """The URL of a cell cannot be used. The text is the reason, without a password."""


def cell_url(stored: str, base: str | None) -> sa.URL:
    """Returns the URL that *stored*, a ``database_connection``, stands for.

    *base*: what Nova has as ``[database] connection``. Raises :class:`CellUrlBroken`.
    """
    if base is None and _PART.search(stored):
        raise CellUrlBroken(
            "it is a template, and nova_database in [online_migrate], from which it is filled in, is not set"
        )
    text = stored if base is None else filled(stored, base)
    try:
        url = parse_url(text)
    except exceptions.UsageError as error:
        raise CellUrlBroken(
            f"it cannot be parsed, with the parts of nova_database filled in: {error}"
        ) from None
    for part in (url.username, url.host, url.database):
        if part is not None and ("{" in part or "}" in part):
            raise CellUrlBroken("it is a template with a part that Nova does not fill in")
    if "@" in (url.host or ""):
        raise CellUrlBroken("its user name or its password has an @ that is not written as %40")
    return url


def filled(stored: str, base: str) -> str:
    """Returns *stored* with the parts of *base* filled in; *stored* itself if that is not possible."""
    try:
        return stored.format(**_parts(base))
    except (ValueError, LookupError, AttributeError, TypeError):
        return stored


def _parts(base: str) -> dict[str, object]:
    url = urlparse(base)
    parts: dict[str, object] = {
        "username": url.username,
        "password": url.password,
        "hostname": url.hostname,
        "port": url.port,
        "scheme": url.scheme,
        "query": url.query,
        "fragment": url.fragment,
        "path": url.path.lstrip("/"),
    }
    if "," in url.netloc:
        for number, netloc in enumerate(url.netloc.split(","), 1):
            parts |= {f"{name}{number}": value for name, value in _server(netloc).items()}
    return parts


def _server(netloc: str) -> dict[str, object]:
    """Returns the parts of one of several servers: ``user:password@host:port``."""
    login, _, place = netloc.partition("@") if "@" in netloc else ("", "", netloc)
    username, colon, password = login.partition(":")
    bracketed = _BRACKETED.fullmatch(place)
    # More than one colon without brackets is an IPv6 address.
    plain = place.partition(":") if place.count(":") == 1 else (place, "", "")
    host, _, port = bracketed.groups() if bracketed else plain
    return {
        "username": username,
        "password": password if colon else None,
        "hostname": host,
        "port": int(port) if port else None,
    }
