"""The store: transactions over SQLite or PostgreSQL, and nothing else.

Reads run in autocommit on their own connections (a ROLLBACK would drop psycopg's prepared
statements).  Writes are short: SQLite has one writer at a time, taken with BEGIN IMMEDIATE, so that a
transaction never fails half-way for want of the lock.  State moves are one guarded UPDATE; uniqueness
is the database's; removing a row names what still refers to it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError

from mold.base import ids
from mold.base.errors import Conflict, InUse, NotFound
from mold.store.resource import REGISTRY, R, Resource, metadata

Op = Literal["add", "set", "remove"]


class Change(NamedTuple):
    """One row changed by a committed transaction; what the event stream is made of."""

    op: Op
    kind: str
    id: str
    fields: dict[str, Any]


class Tx:
    """One transaction, or one autocommit reader (`writes` is False)."""

    def __init__(self, conn: sa.Connection, *, writes: bool) -> None:
        self.conn = conn
        self.writes = writes
        self.postgres = conn.dialect.name == "postgresql"
        self.changes: list[Change] = []
        self._after: list[Callable[[], None]] = []

    def then(self, action: Callable[[], None]) -> None:
        """Run `action` once the transaction has committed; never if it does not."""
        self._after.append(action)

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, kind: type[R], id: str | None, *where: Any) -> R | None:
        """The row with this id (and these conditions), or None."""
        if id is None:
            return None
        return self.first(kind, kind.c.id == id, *where)

    def one(self, kind: type[R], id: str | None) -> R:
        """The row with this id; NotFound if there is none (any more)."""
        row = self.get(kind, id)
        if row is None:
            raise NotFound(f"There is no {kind.title} with id {id}.", kind=kind.kind, id=id)
        return row

    def locked(self, kind: type[R], id: str) -> R:
        """Like `one`, and no other transaction changes the row before this one ends."""
        row = self.conn.execute(sa.select(kind.table).where(kind.c.id == id).with_for_update()).first()
        if row is None:
            raise NotFound(f"There is no {kind.title} with id {id}.", kind=kind.kind, id=id)
        return kind.from_row(row)

    def first(self, kind: type[R], *where: Any, order: Any = None) -> R | None:
        """The first row that fits, or None."""
        found = self.find(kind, *where, order=order, limit=1)
        return found[0] if found else None

    def find(self, kind: type[R], *where: Any, order: Any = None, limit: int | None = None) -> list[R]:
        """All rows that fit, in order of creation unless `order` says otherwise."""
        query = sa.select(kind.table).where(*where)
        query = (
            query.order_by(*(order if isinstance(order, tuple) else (order,)))
            if order is not None
            else query.order_by(kind.c.number)
        )
        if limit is not None:
            query = query.limit(sa.literal_column(str(int(limit))))
        return [kind.from_row(r) for r in self.conn.execute(query)]

    def among(self, kind: type[R], ids: Sequence[str], *where: Any) -> dict[str, R]:
        """The rows with these ids, by id; one query whatever the number."""
        if not ids:
            return {}
        return {
            r.id: r
            for r in (
                kind.from_row(x)
                for x in self.conn.execute(sa.select(kind.table).where(self.any_of(kind.c.id, ids), *where))
            )
        }

    def any_of(self, col: Any, values: Sequence[Any]) -> Any:
        """`col` is one of `values`: one bound array on PostgreSQL, one IN list on SQLite."""
        if self.postgres:
            return col == sa.any_(sa.bindparam(None, list(values), type_=sa.ARRAY(col.type), unique=True))
        return col.in_(list(values))

    def count(self, kind: type[Resource], *where: Any) -> int:
        """How many rows fit."""
        return int(self.conn.execute(sa.select(sa.func.count()).select_from(kind.table).where(*where)).scalar_one())

    def execute(self, statement: Any, params: Any = None) -> Any:
        """Any statement of SQLAlchemy Core."""
        return self.conn.execute(statement, params)

    # -- writing ---------------------------------------------------------------------------------------------

    def add(self, row: R) -> R:
        """Insert a row; gives it its number and, if it has none yet, its id. Conflict when a name is taken."""
        kind = type(row)
        values = row.__dict__
        if values.get("id") is None:
            values["id"] = ids.new_id()
        if kind.states is not None and values.get("state") is None:
            values["state"] = kind.states.initial
        given = {k: v for k, v in values.items() if k != "number" or v is not None}
        try:
            values["number"] = self.conn.execute(
                sa.insert(kind.table).values(given).returning(kind.c.number)
            ).scalar_one()
        except IntegrityError as broken:
            raise self._taken(kind, values, broken) from broken
        self.changes.append(Change("add", kind.kind, row.id, {}))
        return row

    def set(self, row: R, **values: Any) -> R:
        """Update columns of a row, in the database and on the object."""
        if not values:
            return row
        kind = type(row)
        try:
            done = self.conn.execute(sa.update(kind.table).where(kind.c.id == row.id).values(values)).rowcount
        except IntegrityError as broken:
            raise self._taken(kind, {**row.__dict__, **values}, broken) from broken
        if not done:
            raise NotFound(f"The {kind.title} {row.id} is gone.", kind=kind.kind, id=row.id)
        row.__dict__.update(values)
        self.changes.append(Change("set", kind.kind, row.id, values))
        return row

    def move(self, row: R, name: str, **values: Any) -> R:
        """Make a named state move, by compare and set. Conflict when the row is not in a state it may start from."""
        kind = type(row)
        assert kind.states is not None, kind
        step = kind.states.moves[name]
        updated = {"state": step.target, **values}
        done = self.conn.execute(
            sa.update(kind.table).where(kind.c.id == row.id, kind.c.state.in_(step.sources)).values(updated)
        ).rowcount
        if not done:
            current = self.get(kind, row.id)
            if current is None:
                raise NotFound(f"The {kind.title} {row.id} is gone.", kind=kind.kind, id=row.id)
            allowed = " or ".join(step.sources)
            state = current.__dict__["state"]
            label = current.__dict__.get("name") or row.id
            raise Conflict(
                f"The {kind.title} {label} is {state}; this needs it to be {allowed}.",
                kind=kind.kind,
                id=row.id,
                state=state,
                needed=list(step.sources),
            )
        row.__dict__.update(updated)
        self.changes.append(Change("set", kind.kind, row.id, updated))
        return row

    def remove(self, row: Resource) -> None:
        """Delete a row. InUse names what still refers to it; rows declared `cascade` go with it."""
        kind = type(row)
        self.unused(row)
        self.conn.execute(sa.delete(kind.table).where(kind.c.id == row.id))
        self.changes.append(Change("remove", kind.kind, row.id, {}))

    def unused(self, row: Resource) -> None:
        """InUse when something still refers to the row; it names the first that does."""
        kind = type(row)
        for other, name, cascade in referrers(kind.kind):
            if cascade:
                continue
            user = self.first(other, other.c[name] == row.id)
            if user is not None:
                label = user.__dict__.get("name") or user.id
                me = row.__dict__.get("name") or row.id
                raise InUse(
                    f"The {kind.title} {me} is used by the {other.title} {label}; remove that first.",
                    kind=kind.kind,
                    id=row.id,
                    usedby=other.kind,
                    usedbyid=user.id,
                )

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """A part of the transaction that may fail alone."""
        with self.conn.begin_nested():
            yield

    def _taken(self, kind: type[Resource], values: dict[str, Any], broken: IntegrityError) -> Exception:
        """The refusal for a broken constraint: which columns collided."""
        text = str(broken.orig)
        if "foreign key" in text.lower():
            return NotFound(f"Something this {kind.title} refers to is gone; read again and retry.", kind=kind.kind)
        for names in (*kind.unique, *((n,) for n, s in kind.columns.items() if s.unique)):
            if all(n in text for n in names):
                shown = names[-1]
                return Conflict(
                    f"There is already a {kind.title} with {shown.replace('_', ' ')} '{values.get(shown)}'; choose another.",
                    kind=kind.kind,
                    field=shown,
                    value=str(values.get(shown)),
                )
        return Conflict(f"This {kind.title} collides with one that exists.", inner=text, kind=kind.kind)


def referrers(kind: str) -> list[tuple[type[Resource], str, bool]]:
    """Every (resource, column, cascades) that refers to `kind`."""
    return [(r, n, s.cascade) for r in REGISTRY.values() for n, s in r.columns.items() if s.refers == kind and not s.loose]


class Store:
    """One database. `url` is SQLAlchemy's (`sqlite:////path/mold.db`, `postgresql+psycopg://…`)."""

    def __init__(self, url: str, *, readers: int = 4, writers: int = 4) -> None:
        if url.startswith("postgresql://"):
            url = "postgresql+psycopg://" + url.removeprefix("postgresql://")
        self.url = sa.make_url(url)
        self.postgres = self.url.get_backend_name() == "postgresql"
        self._lock = threading.Lock()
        self.listeners: list[Callable[[list[Change]], None]] = []
        if self.postgres:
            self.engine = sa.create_engine(
                self.url,
                pool_size=readers + writers,
                max_overflow=4,
                pool_pre_ping=False,
                pool_recycle=1800,
                connect_args={
                    "prepare_threshold": 3,
                    "connect_timeout": 5,
                    "options": "-c timezone=UTC -c plan_cache_mode=force_generic_plan",
                },
                skip_autocommit_rollback=True,
            )
        else:
            if self.url.database and self.url.database != ":memory:":
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
            self.engine = sa.create_engine(
                self.url,
                pool_size=readers + 2,
                max_overflow=4,
                connect_args={
                    "check_same_thread": False,
                    "timeout": 30,
                    "isolation_level": None,
                    "cached_statements": 512,
                },
            )

            @sa.event.listens_for(self.engine, "connect")
            def tune(raw: Any, _: Any) -> None:
                for line in (
                    "journal_mode=WAL",
                    "synchronous=NORMAL",
                    "foreign_keys=ON",
                    "cache_size=-65536",
                    "temp_store=MEMORY",
                ):
                    raw.execute(f"PRAGMA {line}")

            @sa.event.listens_for(self.engine, "begin")
            def begin(conn: sa.Connection) -> None:
                conn.exec_driver_sql("BEGIN IMMEDIATE" if conn.get_execution_options().get("mold_writes") else "BEGIN")

        self._reads = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._writes = self.engine.execution_options(mold_writes=True)

    @contextlib.contextmanager
    def read(self) -> Iterator[Tx]:
        """A reader. Every statement sees what is committed when it runs."""
        with self._reads.connect() as conn:
            yield Tx(conn, writes=False)

    @contextlib.contextmanager
    def write(self) -> Iterator[Tx]:
        """One transaction: commits at the end of the block, or not at all."""
        with contextlib.ExitStack() as stack:
            if not self.postgres:
                stack.enter_context(self._lock)
            with self._writes.begin() as conn:
                tx = Tx(conn, writes=True)
                yield tx
        for action in tx._after:
            action()
        if tx.changes:
            for listener in self.listeners:
                listener(tx.changes)

    def transact(self, work: Callable[[Tx], Any], *, tries: int = 5) -> Any:
        """Run `work` in a transaction, again when the database chose it as the victim of a deadlock."""
        for attempt in range(tries):
            try:
                with self.write() as tx:
                    return work(tx)
            except OperationalError as broken:
                again = any(w in str(broken.orig).lower() for w in ("deadlock", "could not serialize", "locked"))
                if not again or attempt == tries - 1:
                    raise
        raise AssertionError

    def create(self) -> None:
        """Make all tables at once (tests; an installation uses migrations)."""
        metadata.create_all(self.engine)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()
