"""The store: transactions over SQLite or PostgreSQL, and nothing else.

Reads run in autocommit on their own connections (a ROLLBACK would drop psycopg's prepared
statements).  Writes are short: SQLite has one writer at a time, taken with BEGIN IMMEDIATE, so that a
transaction never fails half-way for want of the lock.  State moves are one guarded UPDATE; uniqueness
is the database's; removing a row names what still refers to it.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError, OperationalError

from mold.base import ids
from mold.base.errors import Conflict, InUse, NotFound
from mold.store.memory import Memory, made
from mold.store.prepared import Among, Prepared
from mold.store.resource import REGISTRY, R, Resource, metadata

T = TypeVar("T")
Op = Literal["add", "set", "remove"]


class Change(NamedTuple):
    """One row changed by a committed transaction; what the event stream is made of.

    `fields` are the columns that were set; of a new row all of it, of a removed one all of it as it was.
    """

    op: Op
    kind: str
    id: str
    fields: dict[str, Any]


class Tx:
    """One transaction, or one autocommit reader (`writes` is False)."""

    def __init__(
        self,
        conn: sa.Connection,
        *,
        writes: bool,
        memory: Memory | None = None,
        heard: Callable[[str], None] | None = None,
    ) -> None:
        self.conn = conn
        self.memory = memory or Memory()
        self.heard = heard
        self.touched: set[str] = set()
        """Kinds whose rows this transaction has changed."""
        self.writes = writes
        self.postgres = conn.dialect.name == "postgresql"
        self.changes: list[Change] = []
        self._after: list[Callable[[], None]] = []
        self._cursor: Any = None

    def then(self, action: Callable[[], None]) -> None:
        """Run `action` once the transaction has committed; never if it does not."""
        self._after.append(action)

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, kind: type[R], id: str | None, *where: Any) -> R | None:
        """The row with this id (and these conditions), or None."""
        if id is None:
            return None
        if where:
            return self.first(kind, kind.c.id == id, *where)
        found = self.rows(_by_id(kind.kind), {"id_": id})
        return kind.from_row(found[0]) if found else None

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

    def by(self, kind: type[R], **equal: Any) -> list[R]:
        """The rows whose columns have these values (none of them None), in order of creation; made for often."""
        return [kind.from_row(r) for r in self.rows(_by(kind.kind, tuple(equal)), equal)]

    def known(self, kind: type[R], id: str) -> R:
        """Like `one`, for `steady` kinds: as old as `memory.FRESH_SECONDS` if another manager has changed it since."""
        row: R = self.remembered((kind.kind, id), (kind,), lambda: self.one(kind, id))
        return copy.copy(row)  # what the caller does to it is not for others

    def known_among(self, kind: type[R], ids: Iterable[str]) -> dict[str, R]:
        """Like `among`, for `steady` kinds: what is not remembered is read with one query. Rows are shared: read only."""
        names, out, missing = (kind.kind,), {}, []
        if kind.kind in self.touched:
            return self.among(kind, list(ids))
        stamps = self.memory.stamps(names)
        for each in ids:
            hit, row = self.memory.find((kind.kind, each), names)
            if hit:
                out[each] = row
            else:
                missing.append(each)
        for row in self.among(kind, missing).values():
            self.memory.keep((kind.kind, row.id), stamps, row)
            out[row.id] = row
        return out

    def remembered(self, key: Any, kinds: tuple[type[Resource], ...], make: Callable[[], T]) -> T:
        """What `make` read from rows of these kinds a moment ago, or reads now; see `mold.store.memory`."""
        names = tuple(k.kind for k in kinds)
        if not self.touched.isdisjoint(names):
            return make()  # rows of this very transaction are nobody else's yet
        value: T = made(self.memory, key, names, make)
        return value

    def among(self, kind: type[R], ids: Sequence[str], *where: Any) -> dict[str, R]:
        """The rows with these ids, by id; one query whatever the number."""
        if not ids:
            return {}
        if len(ids) == 1 and not where:
            row = self.get(kind, ids[0])
            return {} if row is None else {row.id: row}
        found: Iterable[Any]
        if not where:
            found = self.rows(_among(kind.kind), {"ids": ids})
        else:
            found = self.conn.execute(sa.select(kind.table).where(self.any_of(kind.c.id, ids), *where))
        return {r.id: r for r in map(kind.from_row, found)}

    def parts(self, kind: type[Resource], names: tuple[str, ...], ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Some columns of the rows with these ids, by id."""
        found = self.rows(_parts(kind.kind, names), {"ids": ids})
        return {row[0]: dict(zip(names, row[1:], strict=True)) for row in found}

    def any_of(self, col: Any, values: Sequence[Any]) -> Any:
        """`col` is one of `values`: one bound array on PostgreSQL, one IN list on SQLite."""
        if self.postgres:
            return col == sa.any_(sa.bindparam(None, list(values), type_=sa.ARRAY(col.type), unique=True))
        return col.in_(list(values))

    def count(self, kind: type[Resource], *where: Any) -> int:
        """How many rows fit."""
        return int(self.conn.execute(sa.select(sa.func.count()).select_from(kind.table).where(*where)).scalar_one())

    def noted(self, kind: type[Resource], id: str, *names: str) -> None:
        """These columns (or shown fields) of a row are changed, by a statement that does not say so itself."""
        self.changes.append(Change("set", kind.kind, id, dict.fromkeys(names)))

    def execute(self, statement: Any, params: Any = None) -> Any:
        """Any statement of SQLAlchemy Core. Changes that others shall hear of are told with `noted`."""
        if self.writes and getattr(statement, "is_dml", False):
            self.touched.add(statement.table.name)
        return self.conn.execute(statement, params)

    def rows(self, statement: Prepared, given: dict[str, Any]) -> list[Any]:
        """The rows of a prepared statement, as tuples."""
        cursor = self._cursor or self._opened()
        made = statement.run(self.conn, cursor, given, self.heard)
        if statement.changes is not None:
            self.touched.add(statement.changes)
        return made.converted(cursor.fetchall())

    def done(self, statement: Prepared, given: dict[str, Any]) -> int:
        """Run a prepared statement that returns nothing; how many rows it changed."""
        cursor = self._cursor or self._opened()
        statement.run(self.conn, cursor, given, self.heard)
        if statement.changes is not None:
            self.touched.add(statement.changes)
        return int(cursor.rowcount)

    def _opened(self) -> Any:
        """The cursor of all prepared statements: each is read to its end before the next."""
        raw: Any = self.conn.connection.driver_connection
        self._cursor = raw.cursor()
        return self._cursor

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
            values["number"] = self.rows(_insert(kind.kind, tuple(given)), given)[0][0]
        except IntegrityError as broken:
            raise self._taken(kind, values, broken) from broken
        self.changes.append(Change("add", kind.kind, row.id, values))
        return row

    def add_free(self, row: Resource) -> bool:
        """Insert a row unless a unique value of it is taken; False then. The transaction goes on either way."""
        kind, values = type(row), row.__dict__
        if values.get("id") is None:
            values["id"] = ids.new_id()
        if kind.states is not None and values.get("state") is None:
            values["state"] = kind.states.initial
        given = {k: v for k, v in values.items() if k != "number" or v is not None}
        found = self.rows(_insert_free(kind.kind, tuple(given), self.postgres), given)
        if not found:
            return False
        values["number"] = found[0][0]
        self.changes.append(Change("add", kind.kind, row.id, values))
        return True

    def set(self, row: R, **values: Any) -> R:
        """Update columns of a row, in the database and on the object."""
        if not values:
            return row
        kind = type(row)
        try:
            done = self._update(kind, row.id, (), values)
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
        row.__dict__.update(self.shift(kind, row.id, name, **values))
        return row

    def shift(self, kind: type[Resource], id: str, name: str, **values: Any) -> dict[str, Any]:
        """`move` of a row that was not read; returns the columns it set."""
        assert kind.states is not None, kind
        step = kind.states.moves[name]
        updated = {"state": step.target, **values}
        if not self._update(kind, id, step.sources, updated):
            current = self.get(kind, id)
            if current is None:
                raise NotFound(f"The {kind.title} {id} is gone.", kind=kind.kind, id=id)
            allowed = " or ".join(step.sources)
            state = current.__dict__["state"]
            label = current.__dict__.get("name") or id
            raise Conflict(
                f"The {kind.title} {label} is {state}; this needs it to be {allowed}.",
                kind=kind.kind,
                id=id,
                state=state,
                needed=list(step.sources),
            )
        self.changes.append(Change("set", kind.kind, id, updated))
        return updated

    def _update(self, kind: type[Resource], id: str, states: tuple[str, ...], values: dict[str, Any]) -> int:
        """Update columns of a row, in one of `states` if any are given; how many rows that were."""
        self.touched.add(kind.kind)
        given = {f"{k}_": v for k, v in values.items()}
        if any(isinstance(v, sa.ClauseElement) for v in values.values()):
            where = [kind.c.id == id, *([kind.c.state.in_(states)] if states else [])]
            return int(self.conn.execute(sa.update(kind.table).where(*where).values(values)).rowcount)
        return self.done(_change(kind.kind, tuple(values), states), {**given, "id__": id})

    def remove(self, row: Resource) -> None:
        """Delete a row. InUse names what still refers to it; rows declared `cascade` go with it."""
        kind = type(row)
        self.unused(row)
        self.touched |= gone_with(kind.kind)
        self.done(_delete(kind.kind), {"id_": row.id})
        self.changes.append(Change("remove", kind.kind, row.id, dict(row.__dict__)))
        for follow in GOES_WITH.get(kind.kind, ()):
            follow(self, row.id)

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


BEFORE_COMMIT: list[Callable[[Tx], None]] = []
"""What follows from a transaction's changes, in the same transaction, whoever made them."""

GOES_WITH: dict[str, list[Callable[[Tx, str], None]]] = {}
"""What else goes in the transaction that removes a row of a kind, where no foreign key says so: (tx, id of the row)."""


def referrers(kind: str) -> list[tuple[type[Resource], str, bool]]:
    """Every (resource, column, cascades) that refers to `kind`."""
    return [
        (r, n, s.cascade) for r in REGISTRY.values() for n, s in r.columns.items() if s.refers == kind and not s.loose
    ]


@cache
def gone_with(kind: str) -> frozenset[str]:
    """The kinds of rows that may go when a row of this kind goes: itself and what cascades from it."""
    found = {kind}
    for other, _, cascade in referrers(kind):
        if cascade and other.kind not in found:
            found |= gone_with(other.kind)
    return frozenset(found)


# The statements of single rows, built once for each kind and set of columns.


@cache
def _by_id(name: str) -> Prepared:
    kind = REGISTRY[name]
    return Prepared(sa.select(kind.table).where(kind.c.id == sa.bindparam("id_")))


@cache
def _among(name: str) -> Prepared:
    kind = REGISTRY[name]
    return Prepared(sa.select(kind.table).where(Among(kind.c.id, "ids")))


@cache
def _parts(name: str, columns: tuple[str, ...]) -> Prepared:
    kind = REGISTRY[name]
    return Prepared(sa.select(kind.c.id, *(kind.c[n] for n in columns)).where(Among(kind.c.id, "ids")))


@cache
def _by(name: str, columns: tuple[str, ...]) -> Prepared:
    kind = REGISTRY[name]
    where = (kind.c[n] == sa.bindparam(n, type_=kind.c[n].type) for n in columns)
    return Prepared(sa.select(kind.table).where(*where).order_by(kind.c.number))


@cache
def _insert(name: str, columns: tuple[str, ...]) -> Prepared:
    kind = REGISTRY[name]
    return Prepared(sa.insert(kind.table).values({n: sa.bindparam(n) for n in columns}).returning(kind.c.number))


@cache
def _insert_free(name: str, columns: tuple[str, ...], on_postgres: bool) -> Prepared:
    kind = REGISTRY[name]
    made: Any = (postgresql if on_postgres else sqlite).insert(kind.table)
    made = made.values({n: sa.bindparam(n) for n in columns}).on_conflict_do_nothing().returning(kind.c.number)
    return Prepared(made)


@cache
def _change(name: str, columns: tuple[str, ...], states: tuple[str, ...]) -> Prepared:
    kind = REGISTRY[name]
    found = sa.update(kind.table).where(kind.c.id == sa.bindparam("id__"))
    if states:
        found = found.where(sa.or_(*(kind.c.state == s for s in states)))
    return Prepared(found.values({n: sa.bindparam(f"{n}_", type_=kind.c[n].type) for n in columns}))


@cache
def _delete(name: str) -> Prepared:
    kind = REGISTRY[name]
    return Prepared(sa.delete(kind.table).where(kind.c.id == sa.bindparam("id_")))


class Store:
    """One database. `url` is SQLAlchemy's (`sqlite:////path/mold.db`, `postgresql+psycopg://…`)."""

    def __init__(self, url: str, *, readers: int = 4, writers: int = 4) -> None:
        if url.startswith("postgresql://"):
            url = "postgresql+psycopg://" + url.removeprefix("postgresql://")
        self.url = sa.make_url(url)
        self.postgres = self.url.get_backend_name() == "postgresql"
        self._lock = threading.Lock()
        self.listeners: list[Callable[[list[Change]], None]] = []
        self.memory = Memory()
        self.heard: Callable[[str], None] | None = None
        """Told of the text of each prepared statement (the others can be heard with SQLAlchemy's events)."""
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
            yield Tx(conn, writes=False, memory=self.memory, heard=self.heard)

    @contextlib.contextmanager
    def write(self) -> Iterator[Tx]:
        """One transaction: commits at the end of the block, or not at all."""
        with contextlib.ExitStack() as stack:
            if not self.postgres:
                stack.enter_context(self._lock)
            tx: Tx | None = None
            try:
                with self._writes.begin() as conn:
                    tx = Tx(conn, writes=True, memory=self.memory, heard=self.heard)
                    yield tx
                    if tx.changes:
                        for follow in BEFORE_COMMIT:
                            follow(tx)
            finally:
                # Also when it failed: a commit that was not confirmed may have happened.
                if tx is not None:
                    self.memory.forget(tx.touched)
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
