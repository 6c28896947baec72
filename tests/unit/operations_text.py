"""Writes operations as short texts, which tests compare."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from online_migrate.sql.operations.operation import Operation
from online_migrate.sql.operations.parts import Expression, Name, SqlType


def short(operation: Operation) -> str:
    """Returns the operation as a text, without the fields that have their default."""
    return str(_short(operation))


def _short(value: Any) -> str:
    if isinstance(value, Name):
        return str(value)
    if isinstance(value, SqlType):
        charset = f" charset {value.charset}" if value.charset else ""
        return f"{value}{charset}"
    if isinstance(value, Expression):
        calls = f" calls {'+'.join(value.calls)}" if value.calls else ""
        return f"{value.form.name}<{value.text}>{calls}"
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_short(item) for item in value) + "]"
    if dataclasses.is_dataclass(value):
        fields = [field for field in dataclasses.fields(value) if _is_given(value, field)]
        parts = [_field(field.name, getattr(value, field.name)) for field in fields]
        return f"{type(value).__name__}({', '.join(parts)})"
    return str(value)


def _is_given(value: Any, field: Any) -> bool:
    given = getattr(value, field.name)
    return field.compare and given is not None and given != field.default and given != ()


def _field(name: str, value: Any) -> str:
    return name if value is True else f"{name}={_short(value)}"
