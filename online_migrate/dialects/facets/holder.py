"""A session or a prepared transaction that holds a lock for which a DDL statement would wait. Pure."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Holder:
    """The holder of a lock."""

    id: str
    """Identifies the session, or the prepared transaction, on its server."""
    description: str
    """``pid 7 (user, application``: what comes before the state of the session."""
    state: str = ""
    """``idle in transaction``, ``active``; empty for a prepared transaction."""
    table: str = ""
    """A table that it has locked; empty if the server does not show it."""
    seconds: float | None = None
    """The age of its transaction; None if the server does not show it."""
    idle: float = 0.0
    """Seconds since its last statement ended; a lock that it holds is at least as old. 0 if one runs."""
    statement: str = ""
    """Its current or last statement."""
    ends: str = ""
    """The statement that ends it."""
    spared: str = ""
    """The reason why the engine never ends it; empty if it may."""
    is_certain: bool = True
    """False: the server does not show which session holds the lock, and this one may."""
    never_yields: bool = False
    """True: its lock is certainly kept for long, however young its transaction is."""

    def __str__(self) -> str:
        since = "" if self.seconds is None else f" for {self.seconds:.0f} s"
        about = f", {self.state}{since}" if self.state else since
        statement = f": {self.statement}" if self.statement else ""
        ends = f"; {self.ends} ends it" if self.ends else ""
        return f"{self.description}{about}){statement}{ends}"
