"""What a DDL statement does to the catalog, read off its syntax tree. Pure.

What is not recognised gives no effect: whether it was done can then not be read from a catalog. An ALTER is
applied whole or not at all on the supported servers, so the effects that are recognised stand for the others.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from online_migrate.sql.effect import Effect, Expected
from online_migrate.sql.parse import READERS, Unreadable, parse

if TYPE_CHECKING:
    from sqlglot import exp

_ATOMIC = frozenset({"ALTER", "CREATE", "RENAME", "TRUNCATE", "COMMENT", "GRANT", "REVOKE"})
"""The verbs of statements that have done nothing if the server answers with an error. A DROP has, too, if it
drops one object."""
_HEAD = 8000
"""So many characters are read word by word: the names are at the beginning, and a body may be long."""
_REPEATABLE = frozenset({"REINDEX", "VACUUM", "OPTIMIZE", "REFRESH"})
"""The verbs of statements that change nothing that can be seen, and may run again."""
_CREATED = {"TABLE": "table", "VIEW": "view", "SEQUENCE": "sequence", "TYPE": "type"}
_ROUTINES = frozenset({"PROCEDURE", "FUNCTION", "EVENT"})
_DROPPED = _CREATED | {"TRIGGER": "trigger", "INDEX": "index", "PROCEDURE": "routine", "FUNCTION": "routine"}
_DROPPED_ACTIONS = {
    "COLUMN": "column",
    "INDEX": "index",
    "KEY": "index",
    "FOREIGN KEY": "foreign key",
    "CONSTRAINT": "constraint",
    "CHECK": "check",
}


def derive(statement: str, server: str) -> Expected:
    """The effects of *statement*; *server*: a key of :data:`~online_migrate.sql.parse.READERS`."""
    words = _Words(statement, server)
    found = words.effects()
    if found is None:
        found = _of_tree(statement, server)
    effects, complete = _net(found.effects, in_turn=words.verb == "RENAME"), found.complete
    repeatable = bool(effects) and complete and all(effect.guarded for effect in effects)
    single_drop = words.verb == "DROP" and len(found.effects) == 1
    return Expected(
        effects,
        atomic=words.verb in _ATOMIC | _REPEATABLE or single_drop,
        repeatable=repeatable or words.verb in _REPEATABLE,
    )


@dataclasses.dataclass
class _Found:
    """The effects of a statement, and whether each of its parts has given one."""

    effects: list[Effect] = dataclasses.field(default_factory=list)
    complete: bool = True


def _net(effects: Sequence[Effect], *, in_turn: bool) -> tuple[Effect, ...]:
    """One effect for each object: a name that is taken away and given anew is there afterwards.

    *in_turn*: the parts of the statement are done one after the other; else all at once.
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


# --- statements that are read word by word -------------------------------------------------------


class _Words:
    """Statements that sqlglot gives back as they are, and bodies that it takes for several statements."""

    def __init__(self, statement: str, server: str) -> None:
        import sqlglot
        from sqlglot.errors import SqlglotError

        self._server = server
        read = READERS[server]
        self._tokens: Sequence[Any] = ()
        with contextlib.suppress(SqlglotError):
            self._tokens = sqlglot.tokenize(statement[:_HEAD], read)
        self.verb = self._word(0)
        if self.verb == "RENAME":
            # To sqlglot the rest is one word.
            with contextlib.suppress(SqlglotError):
                rest = [token for text in self._tokens[1:2] for token in sqlglot.tokenize(text.text, read)]
                self._tokens = [*self._tokens[:1], *rest]

    def _word(self, at: int) -> str:
        if at >= len(self._tokens) or self._tokens[at].token_type.name in ("IDENTIFIER", "STRING"):
            return ""
        return str(self._tokens[at].text).upper()

    def effects(self) -> _Found | None:
        """None: its tree is to be read."""
        if self.verb == "CREATE":
            return self._created()
        if self.verb == "RENAME" and self._word(1) in ("TABLE", "TABLES"):
            return self._renamed()
        if self.verb == "ALTER" and self._word(1) == "TYPE":
            return self._altered_type()
        if self.verb == "ALTER" and "VALIDATE" in (self._word(at) for at in range(3, 8)):
            return self._validated()
        return None

    def _created(self) -> _Found | None:
        kinds = _ROUTINES | {"TRIGGER"}
        heads = ("TABLE", "VIEW", "INDEX", "SELECT", "AS", "BEGIN")
        at = next((at for at in range(1, 24) if self._word(at) in kinds or self._word(at) in heads), 0)
        kind = self._word(at)
        if kind not in kinds:
            return None
        at += 1
        guarded = self._word(at) == "IF"
        at += 3 if guarded else 0
        schema, name, at = self._name(at)
        if not name:
            return _Found(complete=False)
        table = self._table_after(at) if kind == "TRIGGER" else None
        what = "trigger" if kind == "TRIGGER" else "routine"
        if kind == "EVENT":
            return _Found(complete=False)
        return _Found([Effect(what, name, table, schema, guarded=guarded)])

    def _table_after(self, at: int) -> str | None:
        for place in range(at, min(at + 40, len(self._tokens))):
            if self._word(place) == "ON":
                return self._name(place + 1)[1] or None
        return None

    def _renamed(self) -> _Found:
        effects: list[Effect] = []
        at = 2
        while at < len(self._tokens):
            old_schema, old, at = self._name(at)
            if not old or self._word(at) != "TO":
                return _Found(complete=False)
            schema, new, at = self._name(at + 1)
            effects.append(Effect("table", old, None, old_schema, present=False))
            effects.append(Effect("table", new, None, schema))
            if self._word(at) not in (",", ";", ""):
                return _Found(complete=False)
            at += 1
        return _Found(effects)

    def _altered_type(self) -> _Found:
        schema, name, at = self._name(2)
        if [self._word(at), self._word(at + 1)] != ["ADD", "VALUE"]:
            return _Found(complete=False)
        at += 2
        guarded = self._word(at) == "IF"
        at += 3 if guarded else 0
        if at >= len(self._tokens):
            return _Found(complete=False)
        return _Found([Effect("enum value", self._tokens[at].text, name, schema, guarded=guarded)])

    def _validated(self) -> _Found:
        at = 2
        while self._word(at) in ("IF", "EXISTS", "ONLY"):
            at += 1
        schema, table, at = self._name(at)
        if [self._word(at), self._word(at + 1)] != ["VALIDATE", "CONSTRAINT"]:
            return _Found(complete=False)
        _none, name, _at = self._name(at + 2)
        facts = {"validated": True}
        return _Found([Effect("constraint", name, table, schema, changed=True, facts=facts)])

    def _name(self, at: int) -> tuple[str | None, str, int]:
        """(schema, name, where the next word stands) of what is named at a place."""
        if at >= len(self._tokens):
            return None, "", at
        first = self._plain(at)
        if self._word(at + 1) == ".":
            return first, self._plain(at + 2), at + 3
        return None, first, at + 1

    def _plain(self, at: int) -> str:
        if at >= len(self._tokens):
            return ""
        token = self._tokens[at]
        return _folded(str(token.text), token.token_type.name == "IDENTIFIER", self._server)


def _folded(name: str, quoted: bool, server: str) -> str:
    """A name as the catalog has it."""
    return name.lower() if READERS[server] == "postgres" and not quoted else name


# --- trees ---------------------------------------------------------------------------------------


def _of_tree(statement: str, server: str) -> _Found:
    from sqlglot import exp

    try:
        trees = parse(statement, server)
    except Unreadable:
        return _Found(complete=False)
    if len(trees) != 1:
        return _Found(complete=False)
    [tree] = trees
    if isinstance(tree, exp.Create):
        return _Created(server).read(tree)
    if isinstance(tree, exp.Drop):
        return _dropped(tree, server)
    if isinstance(tree, exp.Alter):
        return _Altered(server, tree).read()
    return _Found(complete=False)


def _name(node: Any, server: str) -> str:
    """The name that an identifier, a column or a table carries."""
    from sqlglot import exp

    while isinstance(node, exp.Column | exp.Table | exp.Schema | exp.ColumnPrefix | exp.Ordered):
        node = node.this
    if isinstance(node, exp.Identifier):
        return _folded(str(node.this), bool(node.args.get("quoted")), server)
    return ""


def _schema(node: Any, server: str) -> str | None:
    db = node.args.get("db") if node is not None else None
    return _name(db, server) if db is not None else None


class _Created:
    def __init__(self, server: str) -> None:
        self._server = server

    def read(self, tree: exp.Create) -> _Found:
        from sqlglot import exp

        kind = str(tree.args.get("kind") or "").upper()
        guarded = bool(tree.args.get("exists"))
        if kind == "INDEX" and isinstance(tree.this, exp.Index):
            return self._index(tree, guarded)
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        if kind not in _CREATED or not _name(target, self._server):
            return _Found(complete=False)
        facts = {}
        if isinstance(tree.this, exp.Schema) and kind == "TABLE":
            columns = [c for c in tree.this.expressions if isinstance(c, exp.ColumnDef)]
            facts = {"includes": [_name(column.this, self._server) for column in columns]}
        replaced = bool(tree.args.get("replace"))
        name, schema = _name(target, self._server), _schema(target, self._server)
        return _Found(
            [Effect(_CREATED[kind], name, None, schema, guarded=guarded, facts=facts)], not replaced
        )

    def _index(self, tree: exp.Create, guarded: bool) -> _Found:
        table = tree.this.args.get("table")
        parameters = tree.this.args.get("params")
        columns = (parameters.args.get("columns") if parameters is not None else None) or []
        facts = {"columns": _key(columns, self._server), "unique": bool(tree.args.get("unique"))}
        name, on = _name(tree.this.this, self._server), _name(table, self._server)
        schema = _schema(table, self._server)
        return _Found([Effect("index", name, on, schema, guarded=guarded, facts=facts)])


def _key(columns: Sequence[Any], server: str) -> list[list[Any]]:
    """The columns of a key: name and length of the prefix; a name of None is an expression."""
    from sqlglot import exp

    found: list[list[Any]] = []
    for column in columns:
        inner = column.this if isinstance(column, exp.Ordered) else column
        prefix = None
        if isinstance(inner, exp.ColumnPrefix):
            prefix = int(inner.expression.name)
        elif READERS[server] == "mysql" and _length_of(inner) is not None:
            # ``name(10)`` in CREATE INDEX is read as a call.
            found.append([str(inner.this), _length_of(inner)])
            continue
        found.append([_name(inner, server) or None, prefix])
    return found


def _length_of(call: Any) -> int | None:
    """The length of a prefix, in what was read as a call with one number."""
    from sqlglot import exp

    if not isinstance(call, exp.Anonymous) or len(call.expressions) != 1 or not call.expressions[0].is_int:
        return None
    return int(call.expressions[0].name)


def _dropped(tree: exp.Drop, server: str) -> _Found:
    kind = str(tree.args.get("kind") or "").upper()
    targets = tree.args.get("tables") or [tree.this]
    what = _DROPPED.get(kind)
    if what is None:
        return _Found(complete=False)
    cluster = tree.args.get("cluster")
    on = cluster.this if cluster is not None else None
    effects = []
    for target in targets:
        name = _name(target, server)
        if not name:
            return _Found(complete=False)
        table = _name(on, server) if on is not None else None
        schema = _schema(on, server) if on is not None else _schema(target, server)
        effects.append(
            Effect(what, name, table, schema, present=False, guarded=bool(tree.args.get("exists")))
        )
    return _Found(effects)


class _Altered:
    """Reads an ALTER TABLE, action by action."""

    def __init__(self, server: str, tree: exp.Alter) -> None:
        from sqlglot import exp

        self._server = server
        self._tree = tree
        self._schema = _schema(tree.this, server)
        self._old = _name(tree.this, server)
        actions = tree.args.get("actions") or []
        renames = [action for action in actions if isinstance(action, exp.AlterRename)]
        # The columns are to be found in the table as it is called afterwards.
        self._table = _name(renames[-1].this, server) if renames else self._old
        self._found = _Found()

    def read(self) -> _Found:
        kind = str(self._tree.args.get("kind") or "").upper()
        if kind == "INDEX":
            return self._index()
        if kind != "TABLE" or not self._old:
            return _Found(complete=False)
        for action in self._tree.args.get("actions") or []:
            effects = list(self._action(action))
            self._found.effects += effects
            self._found.complete = self._found.complete and bool(effects)
        for option in self._tree.args.get("options") or []:
            self._option(option)
        return self._found

    def _index(self) -> _Found:
        from sqlglot import exp

        actions = self._tree.args.get("actions") or []
        if len(actions) != 1 or not isinstance(actions[0], exp.AlterRename):
            return _Found(complete=False)
        new = _name(actions[0].this, self._server)
        gone = Effect("index", self._old, None, self._schema, present=False)
        return _Found([gone, Effect("index", new, None, self._schema)])

    def _option(self, option: Any) -> None:
        from sqlglot import exp

        if isinstance(option, exp.SchemaCommentProperty):
            facts = {"comment": option.this.name}
            self._found.effects.append(
                Effect("table", self._table, None, self._schema, changed=True, facts=facts)
            )
        elif not isinstance(option, exp.AlgorithmProperty | exp.LockProperty):
            self._found.complete = False

    def _effect(self, what: str, name: str, **more: Any) -> Effect:
        return Effect(what, name, self._table, self._schema, **more)

    def _action(self, action: Any) -> Iterator[Effect]:
        from sqlglot import exp

        readers: dict[type, Callable[[Any], Iterator[Effect]]] = {
            exp.ColumnDef: self._added_column,
            exp.Drop: self._dropped,
            exp.AddConstraint: self._added_constraint,
            exp.ModifyColumn: self._modified,
            exp.RenameColumn: self._renamed_column,
            exp.AlterColumn: self._altered_column,
            exp.AlterRename: self._renamed_table,
        }
        name = type(action).__name__
        if type(action) in readers:
            yield from readers[type(action)](action)
        elif name == "RenameIndex":
            yield self._effect("index", _name(action.this, self._server), present=False)
            yield self._effect("index", _name(action.args["to"], self._server))
        elif name == "DropPrimaryKey":
            yield self._effect("primary key", "", present=False)

    def _added_column(self, action: Any) -> Iterator[Effect]:
        guarded = bool(action.args.get("exists"))
        facts = _column_facts(action, self._server)
        yield self._effect("column", _name(action.this, self._server), guarded=guarded, facts=facts)

    def _dropped(self, action: Any) -> Iterator[Effect]:
        what = _DROPPED_ACTIONS.get(str(action.args.get("kind") or "").upper())
        for target in action.args.get("tables") or [action.this]:
            name = _name(target, self._server)
            if what is not None and name:
                yield self._effect(what, name, present=False, guarded=bool(action.args.get("exists")))

    def _renamed_column(self, action: Any) -> Iterator[Effect]:
        yield self._effect("column", _name(action.this, self._server), present=False)
        yield self._effect("column", _name(action.args["to"], self._server))

    def _renamed_table(self, action: Any) -> Iterator[Effect]:
        schema = _schema(action.this, self._server)
        yield Effect("table", self._old, None, self._schema, present=False)
        # MySQL: a name without a schema is in the current one; PostgreSQL: in the table's own.
        own = self._schema if READERS[self._server] == "postgres" else None
        yield Effect("table", _name(action.this, self._server), None, schema or own)

    def _modified(self, action: Any) -> Iterator[Effect]:
        column = action.this
        facts = _column_facts(column, self._server)
        new = _name(column.this, self._server)
        old = _name(action.args.get("rename_from"), self._server)
        if old and old.lower() != new.lower():
            yield self._effect("column", old, present=False)
            yield self._effect("column", new, facts=facts)
        else:
            yield self._effect("column", new, changed=True, facts=facts)

    def _altered_column(self, action: Any) -> Iterator[Effect]:
        facts: dict[str, Any] = {}
        if action.args.get("dtype") is not None:
            facts["type"] = action.args["dtype"].sql(READERS[self._server])
        if action.args.get("allow_null") is not None:
            facts["nullable"] = bool(action.args["allow_null"])
        elif action.args.get("drop"):
            facts["default"] = None
        if action.args.get("default") is not None:
            facts |= _default_facts(action.args["default"])
        yield self._effect("column", _name(action.this, self._server), changed=True, facts=facts)

    def _added_constraint(self, action: Any) -> Iterator[Effect]:
        from sqlglot import exp

        for added in action.expressions:
            name = ""
            inner = added
            if isinstance(added, exp.Constraint):
                name = _name(added.this, self._server)
                if len(added.expressions) != 1:
                    continue
                inner = added.expressions[0]
            yield from self._constraint(name, inner)

    def _constraint(self, name: str, added: Any) -> Iterator[Effect]:
        from sqlglot import exp

        server = self._server
        if isinstance(added, exp.IndexColumnConstraint):
            facts: dict[str, Any] = {"columns": _key(added.expressions, server)}
            yield self._effect("index", name or _name(added.this, server), facts=facts)
        elif isinstance(added, exp.UniqueColumnConstraint) and isinstance(added.this, exp.Schema):
            facts = {"columns": _key(added.this.expressions, server), "unique": True}
            yield self._effect("index", name or _name(added.this.this, server), facts=facts)
        elif isinstance(added, exp.PrimaryKey):
            yield self._effect("primary key", "", facts={"columns": _key(added.expressions, server)})
        elif isinstance(added, exp.ForeignKey):
            reference = added.args.get("reference")
            referred = _name(reference.this, server) if reference is not None else None
            facts = {"columns": _key(added.expressions, server), "referred": referred}
            yield self._effect("foreign key", name, facts=facts)
        elif isinstance(added, exp.CheckColumnConstraint) and name:
            yield self._effect("check", name)


# --- columns -------------------------------------------------------------------------------------


def _column_facts(column: Any, server: str) -> dict[str, Any]:
    """What a column's definition says of it."""
    from sqlglot import exp

    facts: dict[str, Any] = {}
    kinds = [c.args.get("kind") for c in column.args.get("constraints") or []]
    data_type = column.args.get("kind")
    if data_type is not None:
        facts["type"] = data_type.sql(READERS[server])
    special = (
        exp.PrimaryKeyColumnConstraint,
        exp.AutoIncrementColumnConstraint,
        exp.ComputedColumnConstraint,
        exp.GeneratedAsIdentityColumnConstraint,
    )
    is_special = any(isinstance(kind, special) for kind in kinds)
    null = [kind for kind in kinds if isinstance(kind, exp.NotNullColumnConstraint)]
    stamp = str(facts.get("type", "")).upper().startswith(("TIMESTAMP", "SERIAL", "BIGSERIAL", "SMALLSERIAL"))
    if null:
        facts["nullable"] = bool(null[-1].args.get("allow_null"))
    elif not is_special and not stamp:
        facts["nullable"] = True
    defaults = [kind for kind in kinds if isinstance(kind, exp.DefaultColumnConstraint)]
    if defaults:
        facts |= _default_facts(defaults[-1].this)
    elif not is_special and not stamp:
        facts["default"] = None
    facts |= _texts(kinds, server)
    return facts


def _texts(kinds: Sequence[Any], server: str) -> dict[str, Any]:
    """The comment and the collation of a column."""
    from sqlglot import exp

    facts: dict[str, Any] = {}
    if READERS[server] == "mysql":
        facts["comment"] = ""
    for kind in kinds:
        if isinstance(kind, exp.CommentColumnConstraint):
            facts["comment"] = kind.this.name
        elif isinstance(kind, exp.CollateColumnConstraint):
            facts["collation"] = kind.this.name
        elif isinstance(kind, exp.CharacterSetColumnConstraint):
            facts["charset"] = kind.this.name
    return facts


def _default_facts(default: Any) -> dict[str, Any]:
    """The default as a text, where it is a plain value."""
    from sqlglot import exp

    if isinstance(default, exp.Paren):
        default = default.this
    if isinstance(default, exp.Null):
        return {"default": None}
    if isinstance(default, exp.Literal):
        text = str(default.this)
        return {"default": "'" + text.replace("'", "''") + "'" if default.is_string else text}
    if isinstance(default, exp.Neg) and isinstance(default.this, exp.Literal):
        return {"default": f"-{default.this.this}"}
    if isinstance(default, exp.Boolean):
        return {"default": "true" if default.this else "false"}
    if isinstance(default, exp.CurrentTimestamp):
        return {"default": "CURRENT_TIMESTAMP"}
    return {}
