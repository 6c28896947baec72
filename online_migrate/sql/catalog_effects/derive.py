"""Derives the effects of a DDL statement on the catalog from its syntax tree. Pure.

A part of a statement that is not recognised yields no effect; the catalog then cannot show whether it was
applied. The supported servers apply an ALTER completely or not at all, so the recognised effects also prove
the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from online_migrate.sql.catalog_effects.alter_table import Altered
from online_migrate.sql.catalog_effects.effect import Effect, Expected
from online_migrate.sql.catalog_effects.reading import Found, key_of, name_of, schema_of
from online_migrate.sql.catalog_effects.words import Words
from online_migrate.sql.lexer import with_comments_executed
from online_migrate.sql.parse import Unreadable, parse

if TYPE_CHECKING:
    from sqlglot import exp

_ATOMIC = frozenset({"ALTER", "CREATE", "RENAME", "TRUNCATE", "COMMENT", "GRANT", "REVOKE"})
"""The verbs of statements that had no effect if the server returns an error. This also applies to a DROP of a
single object."""
_REPEATABLE = frozenset({"REINDEX", "VACUUM", "OPTIMIZE", "REFRESH"})
"""The verbs of statements that have no visible effect and may be executed again."""
_CREATED = {"TABLE": "table", "VIEW": "view", "SEQUENCE": "sequence", "TYPE": "type"}
_DROPPED = _CREATED | {"TRIGGER": "trigger", "INDEX": "index", "PROCEDURE": "routine", "FUNCTION": "routine"}


def derive(statement: str, server: str) -> Expected:
    """Returns the effects of *statement*; *server*: a key of :data:`~online_migrate.sql.parse.READERS`.

    If they depend on whether the server executes a comment, the server's version would decide. Then no effect
    is returned, and the catalog cannot show whether the statement was executed.
    """
    statement = statement.strip()  # Alembic sends a line break before some statements, and renders none
    executed = with_comments_executed(statement, server)
    if executed == statement:
        return _derive(statement, server)
    expected, other = _derive(executed, server), _derive(statement, server)
    return expected if expected == other else Expected((), atomic=expected.atomic and other.atomic)


def _derive(statement: str, server: str) -> Expected:
    words = Words(statement, server)
    found = words.effects()
    if found is None:
        found = _of_tree(statement, server)
    effects, complete = _net(found.effects, in_turn=words.verb == "RENAME"), found.complete
    repeatable = bool(effects) and complete and all(effect.guarded for effect in effects)
    single_drop = words.verb == "DROP" and len(found.effects) == 1
    return Expected(
        effects,
        atomic=found.single and (words.verb in _ATOMIC | _REPEATABLE or single_drop),
        repeatable=repeatable or words.verb in _REPEATABLE,
    )


def _net(effects: Sequence[Effect], *, in_turn: bool) -> tuple[Effect, ...]:
    """Returns one effect for each object: a name that is removed and used again exists afterwards.

    *in_turn*: the parts of the statement are applied one after the other; otherwise all at once.
    """
    net: dict[tuple[str, ...], Effect] = {}
    for number, effect in enumerate(effects):
        key: tuple[str, ...] = (
            effect.object,
            effect.schema or "",
            (effect.table or "").lower(),
            effect.name.lower(),
        )
        if not effect.name and effect.object != "primary key":
            key = (*key, str(number))
        earlier = net.get(key)
        if earlier is not None and effect.present != earlier.present and (effect.present or not in_turn):
            effect = dataclasses.replace(effect if effect.present else earlier, changed=True)
        net[key] = effect
    return tuple(net.values())


def _of_tree(statement: str, server: str) -> Found:
    from sqlglot import exp

    try:
        trees = parse(statement, server)
    except Unreadable:
        return Found(complete=False)
    if len(trees) != 1:
        return Found(complete=False, single=False)
    [tree] = trees
    if isinstance(tree, exp.Create):
        return _Created(server).read(tree)
    if isinstance(tree, exp.Drop):
        return _dropped(tree, server)
    if isinstance(tree, exp.Alter):
        return Altered(server, tree).read()
    return Found(complete=False)


class _Created:
    def __init__(self, server: str) -> None:
        self._server = server

    def read(self, tree: exp.Create) -> Found:
        from sqlglot import exp

        kind = str(tree.args.get("kind") or "").upper()
        guarded = bool(tree.args.get("exists"))
        if kind == "INDEX" and isinstance(tree.this, exp.Index):
            return self._index(tree, guarded)
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        if kind not in _CREATED or not name_of(target, self._server):
            return Found(complete=False)
        facts = {}
        if isinstance(tree.this, exp.Schema) and kind == "TABLE":
            columns = [c for c in tree.this.expressions if isinstance(c, exp.ColumnDef)]
            facts = {"includes": [name_of(column.this, self._server) for column in columns]}
        replaced = bool(tree.args.get("replace"))
        name, schema = name_of(target, self._server), schema_of(target, self._server)
        return Found([Effect(_CREATED[kind], name, None, schema, guarded=guarded, facts=facts)], not replaced)

    def _index(self, tree: exp.Create, guarded: bool) -> Found:
        table = tree.this.args.get("table")
        parameters = tree.this.args.get("params")
        columns = (parameters.args.get("columns") if parameters is not None else None) or []
        facts = {"columns": key_of(columns, self._server), "unique": bool(tree.args.get("unique"))}
        name, on = name_of(tree.this.this, self._server), name_of(table, self._server)
        schema = schema_of(table, self._server)
        return Found([Effect("index", name, on, schema, guarded=guarded, facts=facts)])


def _dropped(tree: exp.Drop, server: str) -> Found:
    kind = str(tree.args.get("kind") or "").upper()
    targets = tree.args.get("tables") or [tree.this]
    what = _DROPPED.get(kind)
    if what is None:
        return Found(complete=False)
    cluster = tree.args.get("cluster")
    on = cluster.this if cluster is not None else None
    effects = []
    for target in targets:
        name = name_of(target, server)
        if not name:
            return Found(complete=False)
        table = name_of(on, server) if on is not None else None
        schema = schema_of(on, server) if on is not None else schema_of(target, server)
        effects.append(
            Effect(what, name, table, schema, present=False, guarded=bool(tree.args.get("exists")))
        )
    return Found(effects)
