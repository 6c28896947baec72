"""The forms of a statement on MySQL and MariaDB, with LOCK TABLES and without. Pure.

A form names the algorithm and the lock, and the server refuses a change that they do not permit. Under LOCK
TABLES a plain SELECT of any other session waits, so only forms that change nothing but metadata are used.

Sources: MySQL 9 Reference Manual, "Online DDL Operations"; MariaDB Knowledge Base, "InnoDB Online DDL".
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence

from online_migrate.sql.classification.alter_table import AlterTable, read_alter_table, take_table
from online_migrate.sql.classification.verdict import Words
from online_migrate.sql.forms.form import OnlineCopy, Refusal
from online_migrate.sql.lexer import Token, readings
from online_migrate.sql.parse import Unreadable

ONLINE = {
    "mysql": ("ALGORITHM=INSTANT", "ALGORITHM=INPLACE, LOCK=NONE"),
    "mariadb": ("ALGORITHM=INSTANT", "ALGORITHM=NOCOPY, LOCK=NONE", "ALGORITHM=INPLACE, LOCK=NONE"),
}
"""The clauses that let readers and writers continue, the cheapest first."""
_DROPS_OF_METADATA = frozenset({"INDEX", "KEY", "FOREIGN", "CONSTRAINT", "CHECK"})
_WITHOUT_CLAUSE = frozenset({"DISCARD", "IMPORT", "ENABLE", "DISABLE", "EXCHANGE", "TRUNCATE"})
"""The first words of actions that copy no row and accept no ALGORITHM."""
_COPIES_PARTITIONS = frozenset({"REORGANIZE", "COALESCE", "REBUILD", "REMOVE", "OPTIMIZE", "REPAIR"})
_INDEX_WORDS = ("UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR")


@dataclasses.dataclass(frozen=True)
class Change:
    """A statement that changes an existing table.

    *table*: the parts of its name. *online*: the forms that let readers and writers continue, the cheapest
    first; empty if the server has none. *action*: the first words of its action, for messages.
    """

    table: tuple[str, ...]
    online: tuple[str, ...]
    action: str


def change_of(statement: str, server: str) -> Change | None:
    """Returns the forms of *statement*; None if it is sent as it is.

    None is returned for a statement that changes no existing table or copies no row, and for one that names
    an ALGORITHM or a LOCK itself. *server*: the name of the dialect, ``mysql`` or ``mariadb``.
    """
    tokens = [token for token in _tokens(statement, server) if token.word != ";"]
    if not tokens or _names_algorithm(tokens):
        return None
    altered = read_alter_table(tokens, server)
    if altered is not None:
        return _of_alter(statement, tokens, altered, server)
    return _of_create_index(statement, tokens, server) or _of_drop_index(statement, tokens, server)


def _of_alter(statement: str, tokens: Sequence[Token], altered: AlterTable, server: str) -> Change | None:
    table = tuple(token.text for token in altered.path)
    if not all(altered.actions):
        return None  # an empty action, which the server refuses
    action = " ".join(token.word or token.text for token in altered.actions[0][:2])
    first = [token.word for token in altered.actions[0][:2]]
    if first[0] in _WITHOUT_CLAUSE:
        return None
    if _copies_partitions(altered):
        return Change(table, (), action)
    if first[1:2] == ["PARTITION"]:
        return None  # ADD and DROP PARTITION copy no row, and accept no ALGORITHM on MariaDB
    clauses = ONLINE[server]
    if all(map(_renames_table, altered.actions)):
        return Change(table, (_with_clause(statement, tokens, altered, clauses[0]), statement), action)
    return Change(
        table, tuple(_with_clause(statement, tokens, altered, clause) for clause in clauses), action
    )


def _with_clause(statement: str, tokens: Sequence[Token], altered: AlterTable, clause: str) -> str:
    """Returns the ALTER TABLE with a clause after its last token.

    Behind ORDER BY and PARTITION BY the server reads no further clause; then it is before the first action.
    """
    last = [token.word for token in altered.actions[-1]]
    if last[0] != "ORDER" and "PARTITION" not in last:
        return f"{statement[: tokens[-1].end]}, {clause}"
    actions = sum(len(action) + 1 for action in altered.actions) - 1
    start = tokens[len(tokens) - actions - 1].end
    return f"{statement[:start]} {clause},{statement[start:]}"


def _of_create_index(statement: str, tokens: Sequence[Token], server: str) -> Change | None:
    words = Words(tokens)
    if not words.take("CREATE"):
        return None
    kind = ""
    if words.take("OR", "REPLACE"):
        return None
    while words.next in _INDEX_WORDS:
        kind = words.next
        words.any_()
    if not words.take("INDEX"):
        return None
    while words and words.next != "ON":
        words.any_()
    words.any_()
    table = tuple(token.text for token in take_table(words, server))
    clauses = [clause.replace(",", "") for clause in ONLINE[server][1:]]
    online = tuple(f"{statement[: tokens[-1].end]} {clause}" for clause in clauses)
    return Change(table, online, f"CREATE {kind} INDEX".replace("  ", " ")) if table else None


def _of_drop_index(statement: str, tokens: Sequence[Token], server: str) -> Change | None:
    """Returns the forms of a DROP INDEX, as an ALTER TABLE: MariaDB accepts no ALGORITHM in a DROP INDEX."""
    words = Words(tokens)
    if not words.take("DROP", "INDEX"):
        return None
    start = len(tokens) - len(words.rest)
    words.take("IF", "EXISTS")
    words.name()
    on = len(tokens) - len(words.rest)
    if not words.take("ON"):
        return None
    path = take_table(words, server)
    if not path or words:
        return None
    index = statement[tokens[start - 1].end : tokens[on - 1].end].strip()
    name = statement[tokens[on].end : tokens[-1].end].strip()
    online = tuple(f"ALTER TABLE {name} DROP INDEX {index}, {clause}" for clause in ONLINE[server])
    return Change(tuple(token.text for token in path), online, "DROP INDEX")


def _names_algorithm(tokens: Sequence[Token]) -> bool:
    depth = 0
    for before, token in zip((None, *tokens), tokens, strict=False):
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        separated = before is not None and before.word not in ("CONSTRAINT", "KEY", "INDEX", "COLUMN", ".")
        if depth == 0 and separated and token.word in ("ALGORITHM", "LOCK"):
            return True
    return False


def _copies_partitions(altered: AlterTable) -> bool:
    for action in altered.actions:
        words = [token.word for token in action]
        if words[0] in _COPIES_PARTITIONS or words[:2] == ["PARTITION", "BY"]:
            return True
        if words[:3] == ["ADD", "PARTITION", "PARTITIONS"]:
            return True
    return False


def _renames_table(action: Sequence[Token]) -> bool:
    return _renames(action) and not _renames_part(action)


# --- why no form is accepted ------------------------------------------------------------------------

_FOREIGN_KEY = """\
the server copies the table to check its rows. Create the column and its key with the table, or find
     rows without a parent by a query first, and then add the key without the check, which copies nothing:
     op.execute("SET foreign_key_checks = 0"), the ALTER TABLE, op.execute("SET foreign_key_checks = 1")"""
_NEW_COLUMN = """\
add a new nullable column of the new type in an expand revision, fill it with a data migration,
     and drop the old column in a contract revision"""
_HINTS = (
    (("ADD", "FOREIGN KEY"), _FOREIGN_KEY),
    (
        ("ADD", "CHECK"),
        "check the values in the application, or copy the table with a tool for online changes",
    ),
    (("ADD", "GENERATED", "STORED"), "make the generated column VIRTUAL, which is added in an instant"),
    (("MODIFY",), _NEW_COLUMN),
    (("CHANGE",), _NEW_COLUMN),
    (("CONVERT",), _NEW_COLUMN),
)
_TOOLS = """
     Or copy the table with a tool that lets writers continue; --ddl-tool TOOL runs it:
{commands}"""
_REBUILDS = """
     Or, if its writers may wait for the copy, write rebuilds = ({name!r},) into the script"""


def refusal_of(change: Change, statement: str, server: str, database: str) -> Refusal:
    """Returns why *statement* is not sent, if the server accepts no form that lets writers continue.

    *database*: the database of a table whose name has no qualifier.
    """
    words = " ".join(token.word for token in _tokens(statement, server))
    found = (hint for marks, hint in _HINTS if all(f" {mark}" in f" {words}" for mark in marks))
    hint = next(found, "run it while the application does not write")
    commands = tool_commands(change, statement, server, database)
    lines = "\n".join(f"       {command}" for command in commands)
    return Refusal(
        f"the server can execute it only while the writers of {change.table[-1]} wait",
        hint,
        tools=_TOOLS.format(commands=lines) if commands else "",
        rebuilds=_REBUILDS.format(name=change.table[-1]) if commands else "",
    )


def tool_commands(change: Change, statement: str, server: str, database: str) -> list[str]:
    """Returns the command lines of the tools that copy the table online; empty if they cannot."""
    copy = copy_of(change, statement, server, database)
    if copy is None:
        return []
    text, table, schema = shlex.quote(copy.alter), shlex.quote(copy.table), shlex.quote(copy.schema)
    percona = f"pt-online-schema-change --alter {text} D={schema},t={table} --execute"
    ghost = f"gh-ost --database={schema} --table={table} --alter={text} --execute"
    return [percona, ghost] if server == "mysql" else [percona]


def copy_of(change: Change, statement: str, server: str, database: str) -> OnlineCopy | None:
    """Returns what a tool that copies the table online has to do; None if it cannot.

    *database*: the database of a table whose name has no qualifier.
    """
    alter = _alter_of(statement, server)
    if alter is None:
        return None
    schema = change.table[-2] if len(change.table) > 1 else database
    return OnlineCopy(schema=schema, table=change.table[-1], alter=alter)


def _alter_of(statement: str, server: str) -> str | None:
    """Returns what follows the table in an ALTER TABLE; None for another statement."""
    tokens = [token for token in _tokens(statement, server) if token.word != ";"]
    altered = read_alter_table(tokens, server)
    if altered is None or not altered.actions[0] or _copies_partitions(altered):
        return None
    actions = sum(len(action) + 1 for action in altered.actions) - 1
    return statement[tokens[len(tokens) - actions - 1].end : tokens[-1].end].strip()


# --- under LOCK TABLES -----------------------------------------------------------------------------


def forms_under_lock(statement: str, server: str) -> Sequence[str]:
    """Returns the forms of *statement* to try while its tables are locked, the cheapest first.

    *server*: the name of the dialect, ``mysql`` or ``mariadb``.
    """
    altered = read_alter_table(_tokens(statement, server), server)
    if altered is None or any(_drops_partition(action) for action in altered.actions):
        return [statement]  # DROP PARTITION accepts no ALGORITHM, and copies nothing
    forms = [with_algorithm(statement, server, "INSTANT")]
    if all(_drops_metadata(action) for action in altered.actions):
        forms.append(with_algorithm(statement, server, "INPLACE"))
    if all(map(_renames, altered.actions)) and not all(map(_renames_part, altered.actions)):
        forms.append(statement)
    return forms


def with_algorithm(statement: str, server: str, algorithm: str) -> str:
    """Returns the ALTER TABLE with an ALGORITHM clause, which overrides one that the statement names itself.

    The clause is inserted after the last token: after a trailing comment the server would not read it.
    """
    tokens = [token for token in _tokens(statement, server) if token.word != ";"]
    end = tokens[-1].end if tokens else len(statement)
    return f"{statement[:end]}, ALGORITHM={algorithm}"


def _tokens(statement: str, server: str) -> Sequence[Token]:
    try:
        return readings(statement, server)[0]
    except Unreadable:
        return ()


def _drops_metadata(action: Sequence[Token]) -> bool:
    return len(action) > 1 and action[0].word == "DROP" and action[1].word in _DROPS_OF_METADATA


def _drops_partition(action: Sequence[Token]) -> bool:
    return [token.word for token in action[:2]] == ["DROP", "PARTITION"]


def _renames(action: Sequence[Token]) -> bool:
    return bool(action) and action[0].word == "RENAME"


def _renames_part(action: Sequence[Token]) -> bool:
    return _renames(action) and len(action) > 1 and action[1].word in ("COLUMN", "INDEX", "KEY")
