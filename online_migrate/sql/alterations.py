"""The effects of an ALTER, action by action. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from online_migrate.sql.effect import Effect
from online_migrate.sql.parse import READERS
from online_migrate.sql.reading import Found, key_of, name_of, schema_of

if TYPE_CHECKING:
    from sqlglot import exp

_DROPPED_ACTIONS = {
    "COLUMN": "column",
    "INDEX": "index",
    "KEY": "index",
    "FOREIGN KEY": "foreign key",
    "CONSTRAINT": "constraint",
    "CHECK": "check",
}


class Altered:
    """Reads an ALTER TABLE, action by action."""

    def __init__(self, server: str, tree: exp.Alter) -> None:
        from sqlglot import exp

        self._server = server
        self._tree = tree
        self._schema = schema_of(tree.this, server)
        self._old = name_of(tree.this, server)
        actions = tree.args.get("actions") or []
        renames = [action for action in actions if isinstance(action, exp.AlterRename)]
        # The columns are to be found in the table as it is called afterwards.
        self._table = name_of(renames[-1].this, server) if renames else self._old
        self._found = Found()

    def read(self) -> Found:
        kind = str(self._tree.args.get("kind") or "").upper()
        if kind == "INDEX":
            return self._index()
        if kind != "TABLE" or not self._old:
            return Found(complete=False)
        for action in self._tree.args.get("actions") or []:
            effects = list(self._action(action))
            self._found.effects += effects
            self._found.complete = self._found.complete and bool(effects)
        for option in self._tree.args.get("options") or []:
            self._option(option)
        return self._found

    def _index(self) -> Found:
        from sqlglot import exp

        actions = self._tree.args.get("actions") or []
        if len(actions) != 1 or not isinstance(actions[0], exp.AlterRename):
            return Found(complete=False)
        new = name_of(actions[0].this, self._server)
        gone = Effect("index", self._old, None, self._schema, present=False)
        return Found([gone, Effect("index", new, None, self._schema)])

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
            yield self._effect("index", name_of(action.this, self._server), present=False)
            yield self._effect("index", name_of(action.args["to"], self._server))
        elif name == "DropPrimaryKey":
            yield self._effect("primary key", "", present=False)

    def _added_column(self, action: Any) -> Iterator[Effect]:
        guarded = bool(action.args.get("exists"))
        facts = _column_facts(action, self._server)
        yield self._effect("column", name_of(action.this, self._server), guarded=guarded, facts=facts)

    def _dropped(self, action: Any) -> Iterator[Effect]:
        what = _DROPPED_ACTIONS.get(str(action.args.get("kind") or "").upper())
        for target in action.args.get("tables") or [action.this]:
            name = name_of(target, self._server)
            if what is not None and name:
                yield self._effect(what, name, present=False, guarded=bool(action.args.get("exists")))

    def _renamed_column(self, action: Any) -> Iterator[Effect]:
        yield self._effect("column", name_of(action.this, self._server), present=False)
        yield self._effect("column", name_of(action.args["to"], self._server))

    def _renamed_table(self, action: Any) -> Iterator[Effect]:
        schema = schema_of(action.this, self._server)
        yield Effect("table", self._old, None, self._schema, present=False)
        # MySQL: a name without a schema is in the current one; PostgreSQL: in the table's own.
        own = self._schema if READERS[self._server] == "postgres" else None
        yield Effect("table", name_of(action.this, self._server), None, schema or own)

    def _modified(self, action: Any) -> Iterator[Effect]:
        column = action.this
        facts = _column_facts(column, self._server)
        new = name_of(column.this, self._server)
        old = name_of(action.args.get("rename_from"), self._server)
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
        yield self._effect("column", name_of(action.this, self._server), changed=True, facts=facts)

    def _added_constraint(self, action: Any) -> Iterator[Effect]:
        from sqlglot import exp

        for added in action.expressions:
            name = ""
            inner = added
            if isinstance(added, exp.Constraint):
                name = name_of(added.this, self._server)
                if len(added.expressions) != 1:
                    continue
                inner = added.expressions[0]
            yield from self._constraint(name, inner)

    def _constraint(self, name: str, added: Any) -> Iterator[Effect]:
        from sqlglot import exp

        server = self._server
        if isinstance(added, exp.IndexColumnConstraint):
            facts: dict[str, Any] = {"columns": key_of(added.expressions, server)}
            yield self._effect("index", name or name_of(added.this, server), facts=facts)
        elif isinstance(added, exp.UniqueColumnConstraint) and isinstance(added.this, exp.Schema):
            facts = {"columns": key_of(added.this.expressions, server), "unique": True}
            yield self._effect("index", name or name_of(added.this.this, server), facts=facts)
        elif isinstance(added, exp.PrimaryKey):
            yield self._effect("primary key", "", facts={"columns": key_of(added.expressions, server)})
        elif isinstance(added, exp.ForeignKey):
            reference = added.args.get("reference")
            referred = name_of(reference.this, server) if reference is not None else None
            facts = {"columns": key_of(added.expressions, server), "referred": referred}
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
