"""Chooses the form in which a statement of a revision is sent, so that it blocks no reader and no writer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions
from online_migrate.dialects import Dialect
from online_migrate.driver_errors import error_message
from online_migrate.sql.forms.form import Form
from online_migrate.sql.statement import Kind, altered_table, shorten

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class SafeForms:
    """The forms of the statements of one revision.

    *connection*: reads the catalog; its transaction is ended after each read if *commit* is true. *rebuilds*:
    the tables whose writers may wait, as the script declares. *under_lock*: the guard chooses the form of a
    statement that runs under the table lock.
    """

    dialect: Dialect
    connection: Connection
    commit: bool
    rebuilds: Sequence[str] = ()
    under_lock: bool = False

    def form(self, statement: str, kind: Kind, permitted: Sequence[str], *, autocommit: bool) -> Form:
        """Returns the form of *statement*.

        *permitted*: the forms of the guard. *autocommit*: True in an ``autocommit_block``: there the author
        controls the transactions, and the statement is sent as it is on a server with transactional DDL.
        """
        if kind is Kind.DATA or (self.under_lock and kind is not Kind.UNLOCKED):
            return Form(tuple(permitted))
        if autocommit and self.dialect.transactional_ddl:
            return Form(tuple(permitted))
        try:
            form = self.dialect.safe_form(self.connection, statement, may_convert=not self.under_lock)
        finally:
            if self.commit:
                self.connection.rollback()
        if altered_table(statement, self.dialect.name) in self.rebuilds and statement not in form.texts:
            return dataclasses.replace(form, texts=(*form.texts, statement))
        return form


def refusal(
    dialect: Dialect, statement: str, form: Form, error: BaseException | None, no_copy: str = ""
) -> Exception:
    """Returns the error for a statement that the server refused in every permitted form.

    *no_copy*: why the tool that copies tables cannot execute it; empty: no tool was asked for.
    """
    told = f": {error_message(error)}" if error is not None else ""
    also = f"; {no_copy}" if no_copy else ""
    if form.refusal is not None:
        return exceptions.WritersBlocked(
            statement=shorten(statement),
            reason=f"{form.refusal.reason}{told}{also}",
            hint=form.refusal.hint_of(tools=not no_copy),
        )
    problem = dialect.no_form(statement)
    return exceptions.StatementRefused(
        statement=shorten(statement), reason=f"{problem.reason}: {error}{also}", hint=problem.hint
    )
