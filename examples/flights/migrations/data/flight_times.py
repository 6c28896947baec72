"""Clock times such as 517 become timestamps: a Python function for each row.

What is right is written down in README.md, "The timestamps".
"""

import datetime

import sqlalchemy as sa

from online_migrate import row_migration

DAY = datetime.timedelta(days=1)


def pending(t: sa.Table) -> sa.ColumnElement[bool]:
    """A time is there and its timestamp is not. A cancelled flight has no times, and is never pending."""
    return sa.or_(
        t.c.dep_time.is_not(None) & t.c.departed_at.is_(None),
        t.c.arr_time.is_not(None) & t.c.arrived_at.is_(None),
    )


def verify(t: sa.Table) -> sa.ColumnElement[bool]:
    """The timestamps show what the clocks showed, and nobody arrived before he departed."""
    return sa.and_(
        shows(t.c.departed_at, t.c.dep_time),
        shows(t.c.arrived_at, t.c.arr_time),
        sa.or_(t.c.arrived_at.is_(None), t.c.arrived_at >= t.c.departed_at),
    )


def shows(moment: sa.ColumnElement, clock: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """The SQL condition that the clock shows *clock* at *moment*, or that there is neither."""
    shown = sa.extract("hour", moment) * 100 + sa.extract("minute", moment)
    return sa.or_(moment.is_(None) & clock.is_(None), shown == clock % 2400)


@row_migration(table="flights", pending=pending, verify=verify, revision="expand_2026_1", release="2026.1")
def flight_times(row: sa.Row) -> dict[str, datetime.datetime | None]:
    """Departure: as scheduled, plus the delay. Arrival: when the clock first shows arr_time after that."""
    scheduled = datetime.datetime(row.year, row.month, row.day) + since_midnight(row.sched_dep_time)
    departed = scheduled + datetime.timedelta(minutes=row.dep_delay)
    arrived = None if row.arr_time is None else next_moment(departed, row.arr_time)
    return {"departed_at": departed, "arrived_at": arrived}


def since_midnight(clock: int) -> datetime.timedelta:
    """517 is 5 hours and 17 minutes; 2400 is the midnight at the end of the day."""
    return datetime.timedelta(hours=clock // 100, minutes=clock % 100)


def next_moment(after: datetime.datetime, clock: int) -> datetime.datetime:
    """The first moment, not before *after*, at which a clock shows *clock*."""
    moment = datetime.datetime.combine(after.date(), datetime.time()) + since_midnight(clock % 2400)
    return moment if moment >= after else moment + DAY
