"""Statements that are made once and run often: SQL text, and what converts values on the way in and out.

SQLAlchemy builds, keys, looks up and wraps a statement anew at each run, which costs more than the database does for
a single row.  A prepared one goes to the driver's cursor directly, on the same connection and in the same transaction;
errors take SQLAlchemy's way, so that a lost connection leaves the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

Convert = Callable[[Any], Any]


class _Text:
    """A statement in one database's dialect."""

    def __init__(self, statement: Any, dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.text = str(compiled)
        self.order: tuple[str, ...] | None = tuple(compiled.positiontup) if compiled.positional else None
        self.fixed: dict[str, Any] = {k: v for k, v in compiled.params.items() if not compiled.binds[k].required}
        self.inward: dict[str, Convert] = dict(compiled._bind_processors)
        if compiled.escaped_bind_names or "POSTCOMPILE" in self.text:
            raise TypeError(f"this statement cannot be prepared (a list, or an odd parameter name): {self.text}")
        columns: Any = statement._all_selected_columns  # of a SELECT, or of RETURNING
        # Both drivers give floats as they are; SQLAlchemy's processor would want to know PostgreSQL's type of the column.
        found = (
            (n, None if isinstance(c.type, sa.Float) else c.type._cached_result_processor(dialect, None))
            for n, c in enumerate(columns)
        )
        self.outward: list[tuple[int, Convert]] = [(n, p) for n, p in found if p is not None]

    def values(self, given: Mapping[str, Any]) -> Any:
        """What the driver gets."""
        whole = {**self.fixed, **given}
        for name, convert in self.inward.items():
            whole[name] = convert(whole[name])
        return whole if self.order is None else tuple([whole[n] for n in self.order])

    def converted(self, rows: list[Any]) -> list[Any]:
        """Rows as the program wants them."""
        if not self.outward:
            return rows
        out = []
        for row in rows:
            cells = list(row)
            for n, convert in self.outward:
                cells[n] = convert(cells[n])
            out.append(tuple(cells))
        return out


class _Ids(sa.types.TypeDecorator[Any]):
    """Many ids as one value: an array on PostgreSQL, a JSON text on SQLite."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        return dialect.type_descriptor(sa.ARRAY(sa.Text()) if dialect.name == "postgresql" else sa.Text())

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        return list(value) if dialect.name == "postgresql" else msgspec.json.encode(list(value)).decode()


class Among(sa.ColumnElement[bool]):
    """The condition that a text column is one of the values given under `name`, for statements that are prepared."""

    type = sa.Boolean()
    inherit_cache = False

    def __init__(self, column: Any, name: str) -> None:
        self.column = column
        self.given: sa.BindParameter[Any] = sa.bindparam(name, type_=_Ids())


@compiles(Among, "postgresql")
def _among_array(element: Among, compiler: Any, **kw: Any) -> str:
    return f"{compiler.process(element.column, **kw)} = ANY ({compiler.process(element.given, **kw)})"


@compiles(Among, "sqlite")
def _among_json(element: Among, compiler: Any, **kw: Any) -> str:
    given = compiler.process(element.given, **kw)
    return f"{compiler.process(element.column, **kw)} IN (SELECT value FROM json_each({given}))"


class Prepared:
    """A Core statement with named `bindparam`s, each a single value (or `Among`). Run it with `Tx.rows` or `Tx.done`."""

    def __init__(self, statement: Any) -> None:
        self.statement = statement
        self.changes: str | None = statement.table.name if getattr(statement, "is_dml", False) else None
        self._texts: dict[str, _Text] = {}

    def run(
        self, conn: sa.Connection, cursor: Any, given: Mapping[str, Any], heard: Callable[[str], None] | None
    ) -> _Text:
        """Run it on a cursor of the connection's driver."""
        made = self._texts.get(conn.dialect.name)
        if made is None:
            made = self._texts[conn.dialect.name] = _Text(self.statement, conn.dialect)
        if heard is not None:
            heard(made.text)
        values = made.values(given)
        try:
            cursor.execute(made.text, values)
        except conn.dialect.loaded_dbapi.Error as broken:
            conn._handle_dbapi_exception(broken, made.text, None, None, None)
            raise
        return made
