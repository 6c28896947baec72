"""A mapped class with a moved column passes mypy's strict checks, and its values have a type."""

from __future__ import annotations

import re
from pathlib import Path

import sqlalchemy
from mypy import api

ROOT = Path(__file__).parents[2]

USE = """
import sqlalchemy as sa
from sqlalchemy.orm import Session
from volumes import Volume

def use(session: Session) -> None:
    volume = Volume(size=5)
    reveal_type(volume.size)
    volume.size = 5
    volume.size = "5"
    query = sa.select(Volume).where(Volume.size == 5).order_by(Volume.size.desc())
    found: list[Volume] = list(session.scalars(query))
    reveal_type(session.scalars(sa.select(Volume.size)).all())
    session.execute(sa.update(Volume).values(size=Volume.size + 1))
"""
WRONG = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from online_migrate.orm import moved

class Base(DeclarativeBase): ...

class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    age: Mapped[int | None] = mapped_column()
    years: Mapped[str | None] = mapped_column()
    both = moved("age", old=age, new=years, to_new=lambda v: v.upper(), to_old=lambda v: int(v))
"""


EXPECTED = [
    'use note: Revealed type is "int | None"',
    'use error: Incompatible types in assignment (expression has type "str", variable has type '
    '"SQLCoreOperations[int | None] | int | None")  [assignment]',
    'use note: Revealed type is "typing.Sequence[int | None]"',
    'wrong error: "int" has no attribute "upper"  [attr-defined]',
]


def test_example_of_the_documentation(tmp_path: Path) -> None:
    """The class of docs/orm.md; a wrong assignment and a wrong conversion are found."""
    page = (ROOT / "docs" / "orm.md").read_text(encoding="utf-8")
    [example] = re.findall(r"<!-- file: volumes.py -->\n```python\n(.*?)```", page, re.DOTALL)
    for name, text in (("volumes", example), ("use", USE), ("wrong", WRONG)):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    files = [str(tmp_path / f"{name}.py") for name in ("volumes", "use", "wrong")]
    cache = str(ROOT / ".mypy_cache" / f"sqlalchemy-{sqlalchemy.__version__}")
    output, errors, _ = api.run(["--strict", "--no-error-summary", "--cache-dir", cache, *files])
    lines = [re.sub(r"^.*/(\w+)\.py:\d+: ", r"\1 ", line) for line in (output + errors).splitlines()]
    assert sorted(lines) == sorted(EXPECTED)
