"""What of a contract revision can soak: the columns and tables that its script drops, and what forbids it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate import state
from online_migrate.dialects.facets.soaks import RequiredColumn, Use
from online_migrate.dialects.problem import Problem
from online_migrate.exceptions import Blocker, GateClosed
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.runtime.rendering import NotRendered, render
from online_migrate.runtime.sync_operations import SyncScope
from online_migrate.sql.soaked import (
    DroppedObject,
    NamedObject,
    SoakedObject,
    Soaking,
    SoakStep,
    dropped_names,
)
from online_migrate.sql.statement import dropped, shorten
from online_migrate.state import Soak, SoakState

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_WITHOUT = "drop it by contract without --soak"


@dataclasses.dataclass(frozen=True)
class SoakPlan:
    """What soaks, and the statements that begin it."""

    soaking: Soaking
    steps: tuple[SoakStep, ...]


def soak_plans(runner: RevisionRunner, revisions: Sequence[str]) -> dict[str, SoakPlan]:
    """Returns the plan of each revision; without objects if its script drops no column and no table.

    The plan of a soak that has begun is the recorded one. Nothing is renamed. Raises
    :class:`~online_migrate.exceptions.GateClosed` with a blocker for each reason against one of them.
    """
    connection = runner.session.connection
    known = state.soaks(connection)
    planned: list[_Planner] = []
    for revision in revisions:
        planner = _Planner(runner, revision, tuple(planned), known.get(revision))
        planner.make()
        planned.append(planner)
    connection.rollback()
    blockers = [blocker for one in planned for blocker in one.blockers]
    if blockers:
        raise GateClosed(blockers, hint="no column and no table was renamed")
    return {one.revision: one.plan for one in planned}


class _Planner:
    """Makes the plan of one revision.

    *earlier*: those of the revisions before it, whose scripts run first. *known*: its recorded soak.
    """

    def __init__(
        self, runner: RevisionRunner, revision: str, earlier: Sequence[_Planner], known: Soak | None
    ) -> None:
        self.revision = revision
        self.plan = SoakPlan(Soaking(), ())
        self.blockers: list[Blocker] = []
        self._runner = runner
        self._earlier = earlier
        self._known = known
        self._owed = _OwedNotNull(runner.session.connection, known)
        self._connection = runner.session.connection
        self._dialect = runner.session.dialect
        self._server = runner.session.dialect.name

    def make(self) -> None:
        """Makes :attr:`plan`, and :attr:`blockers` if there are reasons against it."""
        if self._known is not None and self._known.state is not SoakState.RETURNED:
            self.plan = SoakPlan(self._known.plan, self._known.steps)
            return
        objects = self._objects(self._statements)
        uses = {one: self._uses(one, objects) for one in objects}
        triggers = {use.name.casefold() for found in uses.values() for use in found if use.kind == "trigger"}
        drops = tuple(self._drops(self._statements, triggers))
        gone = {_trigger(one, self._server) for one in drops}
        gone |= {
            _trigger(one, self._server) for before in self._earlier for one in before.plan.soaking.dropped
        }
        for one, found in uses.items():
            in_the_way = [use for use in found if use.kind != "trigger" or use.name.casefold() not in gone]
            self._refuse_uses(one, in_the_way)
        required = {one: self._required(one) for one in objects}
        soaking = Soaking(tuple(self._owed.restored(one, required[one]) for one in objects), drops)
        for statement in self._statements:
            self._refuse_statement(soaking, statement)
        self._refuse_earlier(soaking)
        self._refuse_owed(soaking)
        self.plan = SoakPlan(soaking, tuple(self._steps(soaking, [r for r in required.values() if r])))

    def _refuse(self, subject: object, reason: str, hint: str) -> None:
        self.blockers.append(Blocker("cannot-soak", self.revision, f"{subject}: {reason}", hint))

    @functools.cached_property
    def _statements(self) -> list[str]:
        """The statements of the script; empty, and a blocker, if it cannot be rendered."""
        project, environment = self._runner.project, self._runner.environment
        try:
            scope = SyncScope.of(self._connection)
            return render(project, environment, self._connection.engine, self.revision, scope)
        except NotRendered as error:
            reason = f"its SQL depends on a live connection, so it is not known what it drops: {error.reason}"
            self._refuse("the script", reason, "drop columns by op.drop_column outside of batch_alter_table")
            return []

    def _objects(self, statements: Sequence[str]) -> list[SoakedObject]:
        named = [one for statement in statements for one in dropped_names(statement, self._server)]
        tables = [one for one in named if one.column is None]
        whole = [found for one in tables if (found := self._found(one)) is not None]
        columns = [one for one in named if one.column is not None]
        parts = [
            found
            for one in columns
            if not any(table.is_named(one.table, one.schema, None) for table in whole)
            and (found := self._found(one)) is not None
        ]
        return list(dict.fromkeys([*parts, *whole]))

    def _found(self, named: NamedObject) -> SoakedObject | None:
        """Returns the object as the catalog names it; None, and a blocker, if it does not exist."""
        inspector = sa.inspect(self._connection)
        wanted = SoakedObject(named.table, named.schema, named.column)
        if not inspector.has_table(named.table, schema=named.schema):
            self._refuse(wanted, "it does not exist", "correct the script")
            return None
        if named.column is not None:
            columns = [one["name"] for one in inspector.get_columns(named.table, schema=named.schema)]
            same = [name for name in columns if name == named.column]
            same += [name for name in columns if name.casefold() == named.column.casefold()]
            if not same:
                self._refuse(wanted, "it does not exist", "correct the script")
                return None
            wanted = dataclasses.replace(wanted, column=same[0])
        if self._dialect.has_object(self._connection, wanted, wanted.soaked):
            self._refuse(wanted, f"the name {wanted.soaked} is taken", f"rename {wanted.soaked}")
        return wanted

    def _uses(self, subject: SoakedObject, objects: Sequence[SoakedObject]) -> list[Use]:
        tables = {one.table.casefold() for one in objects if one.column is None}
        return [
            use
            for use in self._dialect.uses_of(self._connection, subject)
            if use.table is None or use.table.casefold() not in tables
        ]

    def _drops(self, statements: Sequence[str], triggers: set[str]) -> Iterator[DroppedObject]:
        """Yields the triggers that the script drops and that use what soaks."""
        for statement in statements:
            name = dropped(statement, "TRIGGER", self._server)
            if name is not None and name.casefold() in triggers:
                yield DroppedObject(statement, tuple(self._dialect.recreated(self._connection, statement)))

    def _refuse_uses(self, subject: SoakedObject, uses: Sequence[Use]) -> None:
        for use in uses:
            hint = f"drop the {use.kind} in a contract revision before this one, or {_WITHOUT}"
            self._refuse(subject, f"{use.kind} {use.name} {use.reason}", hint)

    def _required(self, subject: SoakedObject) -> RequiredColumn | None:
        if subject.column is None:
            return None
        found = self._dialect.required_column(self._connection, subject)
        if isinstance(found, Problem):
            self._refuse(subject, found.reason, found.hint)
            return None
        return found

    def _refuse_statement(self, soaking: Soaking, statement: str) -> None:
        translated = soaking.translated(statement, self._server)
        used = None if translated is None else soaking.uses(translated, self._server)
        if used is not None:
            reason = f"the script uses it in another statement than its drop: {shorten(statement)}"
            self._refuse(used, reason, f"move that statement into another contract revision, or {_WITHOUT}")

    def _refuse_earlier(self, soaking: Soaking) -> None:
        """Refuses what the script of an earlier revision names: it could not be executed any more."""
        for before in self._earlier:
            for statement in before._statements:
                translated = before.plan.soaking.translated(statement, self._server)
                used = None if translated is None else soaking.uses(translated, self._server)
                if used is not None:
                    self._refuse(
                        used,
                        f"contract revision {before.revision}, which comes first, uses its name: "
                        f"{shorten(statement)}",
                        f"apply that revision first: online-migrate contract {before.revision}",
                    )
                    break

    def _refuse_owed(self, soaking: Soaking) -> None:
        """Refuses a script that no longer drops a column which is not NOT NULL again after an unsoak."""
        planned = {str(one) for one in soaking.objects}
        for one in self._owed.columns:
            if str(one) not in planned:
                reason = "it was brought back and is not NOT NULL again, and the script does not drop it now"
                self._refuse(one, reason, "online-migrate contract --unsoak")

    def _steps(self, soaking: Soaking, required: Sequence[RequiredColumn]) -> Iterator[SoakStep]:
        yield from (SoakStep(one.relax, locked=False) for one in required if one.before_lock)
        yield from (SoakStep(one.statement) for one in soaking.dropped)
        yield from (SoakStep(one.relax) for one in required if not one.before_lock)
        for one in soaking.objects:
            yield SoakStep(self._dialect.rename(self._connection, one, back=False))


def _trigger(one: DroppedObject, server: str) -> str:
    """Returns the name of the trigger, to compare it."""
    return str(dropped(one.statement, "TRIGGER", server)).casefold()


class _OwedNotNull:
    """The columns that an unsoak has brought back and that are not NOT NULL again."""

    def __init__(self, connection: Connection, known: Soak | None) -> None:
        self._connection = connection
        objects = () if known is None else known.plan.objects
        self.columns = [one for one in objects if one.restore is not None]

    def restored(self, subject: SoakedObject, required: RequiredColumn | None) -> SoakedObject:
        """Returns the object with the statement that makes it NOT NULL again, also for one that is owed."""
        if required is not None:
            return dataclasses.replace(subject, restore=required.restore)
        for one in self.columns:
            if str(one) == str(subject) and self._is_nullable(subject):
                return dataclasses.replace(subject, restore=one.restore)
        return subject

    def _is_nullable(self, subject: SoakedObject) -> bool:
        columns = sa.inspect(self._connection).get_columns(subject.table, schema=subject.schema)
        return any(one["name"] == subject.column and one["nullable"] for one in columns)
