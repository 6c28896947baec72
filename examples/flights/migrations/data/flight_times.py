"""Converts clock times such as 517 to timestamps: a Python function for each row.

The rules are in README.md, "The timestamps".
"""

import datetime

import sqlalchemy as sa

from online_migrate import row_migration

DAY = datetime.timedelta(days=1)


def pending(t: sa.Table) -> sa.ColumnElement[bool]:
    """Returns the condition that a time is set and its timestamp is not.

    A cancelled flight has no times, and is never pending.
    """
    return sa.or_(
        t.c.dep_time.is_not(None) & t.c.departed_at.is_(None),
        t.c.arr_time.is_not(None) & t.c.arrived_at.is_(None),
    )


def verify(t: sa.Table) -> sa.ColumnElement[bool]:
    """Returns the condition that the timestamps match the clock times and the arrival is not earlier than
    the departure."""
    return sa.and_(
        shows(t.c.departed_at, t.c.dep_time),
        shows(t.c.arrived_at, t.c.arr_time),
        sa.or_(t.c.arrived_at.is_(None), t.c.arrived_at >= t.c.departed_at),
    )


def shows(moment: sa.ColumnElement, clock: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Returns the condition that *clock* is the clock time of *moment*, or that both are NULL."""
    shown = sa.extract("hour", moment) * 100 + sa.extract("minute", moment)
    return sa.or_(moment.is_(None) & clock.is_(None), shown == clock % 2400)


@row_migration(table="flights", pending=pending, verify=verify, revision="expand_2026_1", release="2026.1")
def flight_times(row: sa.Row) -> dict[str, datetime.datetime | None]:
    """Returns the timestamps of a flight.

    Departure: the scheduled time plus the delay. Arrival: the first time after the departure at which the
    clock shows ``arr_time``.
    """
    scheduled = datetime.datetime(row.year, row.month, row.day) + since_midnight(row.sched_dep_time)
    departed = scheduled + datetime.timedelta(minutes=row.dep_delay)
    arrived = None if row.arr_time is None else next_moment(departed, row.arr_time)
    return {"departed_at": departed, "arrived_at": arrived}


def since_midnight(clock: int) -> datetime.timedelta:
    """Returns the time since midnight: 517 is 5 hours and 17 minutes; 2400 is the end of the day."""
    return datetime.timedelta(hours=clock // 100, minutes=clock % 100)


def next_moment(after: datetime.datetime, clock: int) -> datetime.datetime:
    """Returns the first time, not before *after*, at which a clock shows *clock*."""
    moment = datetime.datetime.combine(after.date(), datetime.time()) + since_midnight(clock % 2400)
    return moment if moment >= after else moment + DAY
