"""The blockers of contract while the objects of a revision soak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from online_migrate import state
from online_migrate.exceptions import Blocker
from online_migrate.state import Soak, SoakState

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_UNFINISHED = {
    SoakState.BEGUN: (
        "soak-unfinished",
        "its soak was begun and not finished",
        "online-migrate contract --soak   (or bring everything back: online-migrate contract --unsoak)",
    ),
    SoakState.RETURNING: (
        "unsoak-unfinished",
        "what soaked was not completely brought back",
        "online-migrate contract --unsoak",
    ),
    SoakState.RETURNED: (
        "unsoak-unfinished",
        "what soaked is back, but a column is not NOT NULL again, or rows of a sync were out of step",
        "online-migrate contract --unsoak",
    ),
}


def soak_blockers(connection: Connection, revisions: Sequence[str], *, end_soak: bool) -> list[Blocker]:
    """Returns a blocker for each of *revisions* that soaks. *end_soak*: its time need not be over."""
    soaks = state.soaks(connection)
    found = []
    for revision in revisions:
        soak = soaks.get(revision)
        if soak is None:
            continue
        if soak.state in _UNFINISHED:
            id_, reason, hint = _UNFINISHED[soak.state]
            found.append(Blocker(id_, revision, reason, hint))
        elif not end_soak and soak.left(state.server_epoch(connection)):
            found.append(_soaking(connection, soak))
    return found


def unsoak_blockers(connection: Connection, revisions: Sequence[str]) -> list[Blocker]:
    """Returns a blocker for each of *revisions* that was not completely brought back, for a new soak."""
    soaks = state.soaks(connection)
    id_, reason, hint = _UNFINISHED[SoakState.RETURNING]
    return [
        Blocker(id_, revision, reason, hint)
        for revision in revisions
        if revision in soaks and soaks[revision].state is SoakState.RETURNING
    ]


def _soaking(connection: Connection, soak: Soak) -> Blocker:
    left = soak.left(state.server_epoch(connection))
    names = ", ".join(str(one) for one in soak.plan.objects)
    return Blocker(
        "soaking",
        soak.revision,
        f"it soaks for another {as_duration(left)}: {names}",
        "wait; or drop it now: online-migrate contract --end-soak; "
        "or bring it back: online-migrate contract --unsoak",
    )


def as_duration(seconds: int) -> str:
    """Returns a number of seconds for display, such as ``23 h 59 min``."""
    minutes, rest = divmod(seconds, 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
