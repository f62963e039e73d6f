"""Resources: one class per noun is its table, its answer and its states.

Columns are declared with `column` and `refers`; the class is also the type of a row, so a slice
reads `vm.name` and the type checker knows what that is.  There are no lazy loads and no identity
map: a row is a plain object holding what was selected.

`number` (the internal number, order of creation) and `id` (the API's uuid) exist on every resource.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, dataclass_transform, get_args, get_origin, get_type_hints

import msgspec
import sqlalchemy as sa

from mold.base import clock, ids
from mold.base.states import Machine

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

R = TypeVar("R", bound="Resource")


class Json(sa.types.TypeDecorator[Any]):
    """A list or map kept as JSON text, the same on both databases."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        return None if value is None else msgspec.json.decode(value)


class Sealed(sa.types.TypeDecorator[str]):
    """A secret, encrypted at rest with the installation's key; see `mold.store.seal`."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        from mold.store import seal

        return None if value is None else seal.close(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> str | None:
        from mold.store import seal

        return None if value is None else seal.open(value)


NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


@dataclass(frozen=True)
class Column:
    """What one attribute of a resource is: its place in the table, in answers and in lists."""

    default: Any = ...
    default_factory: Callable[[], Any] | None = None
    refers: str | None = None
    shows: dict[str, str] = field(default_factory=dict)
    api: str | None = None
    hidden: bool = False
    admin: bool = False
    secret: bool = False
    index: bool = False
    unique: bool = False
    filter: bool = False
    keyword: bool = False
    cascade: bool = False
    loose: bool = False
    kind: str | None = None
    doc: str = ""


def column(
    *,
    default: Any = ...,
    default_factory: Callable[[], Any] | None = None,
    api: str | None = None,
    hidden: bool = False,
    admin: bool = False,
    secret: bool = False,
    index: bool = False,
    unique: bool = False,
    filter: bool = False,
    keyword: bool = False,
    kind: str | None = None,
    doc: str = "",
) -> Any:
    """One plain column.

    `api` is the answer's field name (default: the attribute without underscores); `hidden` keeps it out of
    answers, `admin` shows it to root admins only, `secret` encrypts it and keeps it out of answers;
    `filter` makes it a parameter of the list command, `keyword` lets `keyword=` search it; `kind` is the
    documented type when it differs from the Python one (`date`).
    """
    return Column(
        default=default,
        default_factory=default_factory,
        api=api,
        hidden=hidden or secret,
        admin=admin,
        secret=secret,
        index=index,
        unique=unique,
        filter=filter,
        keyword=keyword,
        kind=kind,
        doc=doc,
    )


def refers(
    target: str,
    *,
    default: Any = ...,
    shows: dict[str, str] | None = None,
    hidden: bool = False,
    admin: bool = False,
    filter: bool = True,
    unique: bool = False,
    cascade: bool = False,
    loose: bool = False,
    doc: str = "",
) -> Any:
    """A column holding the id of a row of resource kind `target`.

    `shows` maps answer fields to attributes of the row referred to; without it the target's own `appears`
    is used.  Removing the target is refused while this row exists, unless `cascade` (this row goes with it) or
    `loose` (this row outlives it: records of what was).
    """
    return Column(
        default=default,
        refers=target,
        shows=shows or {},
        hidden=hidden,
        admin=admin,
        filter=filter,
        unique=unique,
        cascade=cascade,
        loose=loose,
        index=True,
        doc=doc,
    )


SQL_TYPES: dict[Any, Callable[[], Any]] = {
    str: sa.Text,
    int: lambda: NUMBER,
    bool: sa.Boolean,
    float: sa.Float,
    dict: Json,
    list: Json,
}


def _plain(hint: Any) -> tuple[Any, bool]:
    """The type without `None`, and whether `None` was in it."""
    args = get_args(hint)
    if type(None) in args:
        rest = [a for a in args if a is not type(None)]
        return rest[0], True
    return hint, False


@dataclass_transform(kw_only_default=True, field_specifiers=(column, refers))
class Resource:
    """Base of all resources; see the module's docstring. Subclasses set the class variables they need."""

    kind: ClassVar[str] = ""
    """Singular name, the table's name and the key of answers (`virtualmachine`)."""
    title: ClassVar[str] = ""
    """What a person calls it in a sentence (`machine`)."""
    states: ClassVar[Machine | None] = None
    unique: ClassVar[tuple[tuple[str, ...], ...]] = ()
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = ()
    appears: ClassVar[dict[str, str]] = {}
    """How a row of this kind appears in answers of rows that refer to it: answer field -> attribute."""
    policy: ClassVar[Any] = None
    """Who may see and do what; set by `mold.api.permit`."""
    steady: ClassVar[bool] = False
    """Rows rarely change, and what refers to them may show them as they were a second ago; see `Tx.known`."""
    table: ClassVar[sa.Table]
    c: ClassVar[Any]
    columns: ClassVar[dict[str, Column]]
    hints: ClassVar[dict[str, Any]]
    light: ClassVar[tuple[str, ...]]
    """The columns that lists read: all but secrets, which are costly to open and never shown."""

    number: int = Column(hidden=True)  # type: ignore[assignment]
    id: str = Column()  # type: ignore[assignment]

    def __init__(self, **values: Any) -> None:
        for name, spec in self.columns.items():
            if name in values:
                value = values.pop(name)
            elif spec.default is not ...:
                value = spec.default
            elif spec.default_factory is not None:
                value = spec.default_factory()
            elif name in ("number", "id"):
                value = None
            else:
                raise TypeError(f"{type(self).__name__} needs {name}")
            self.__dict__[name] = value
        if values:
            raise TypeError(f"{type(self).__name__} has no {', '.join(values)}")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" not in cls.__dict__:
            return
        hints = get_type_hints(cls, include_extras=False)
        specs: dict[str, Column] = {}
        for klass in reversed(cls.__mro__):
            for name, value in list(klass.__dict__.items()):
                if isinstance(value, Column):
                    specs[name] = value
        parts: list[Any] = []
        cls.hints = {}
        for name, spec in specs.items():
            plain, nullable = _plain(hints[name])
            cls.hints[name] = plain
            base = get_origin(plain) or plain
            if base is typing.Literal:
                base = str
            if name == "number":
                parts.append(sa.Column("number", NUMBER, primary_key=True, autoincrement=True))
                continue
            kind = Sealed() if spec.secret else SQL_TYPES[base]()
            extra: list[Any] = []
            if spec.refers and not spec.loose:
                action = "CASCADE" if spec.cascade else None
                extra.append(sa.ForeignKey(f"{spec.refers}.id", ondelete=action))
            unique = spec.unique or name == "id"
            parts.append(
                sa.Column(name, kind, *extra, nullable=nullable, unique=unique, index=spec.index and not unique)
            )
        for names in cls.unique:
            parts.append(sa.UniqueConstraint(*names))
        for names in cls.indexes:
            parts.append(sa.Index(f"ix_{cls.kind}_{'_'.join(names)}", *names))
        cls.columns = specs
        cls.title = cls.__dict__.get("title", cls.kind)
        cls.table = sa.Table(cls.kind, metadata, *parts, sqlite_autoincrement=True)
        cls.c = cls.table.c
        cls.light = tuple(n for n, s in specs.items() if not s.secret)
        for name in specs:
            # A class attribute would shadow nothing (rows keep values in __dict__) but would lie about defaults.
            if name in cls.__dict__:
                delattr(cls, name)
        REGISTRY[cls.kind] = cls

    def __repr__(self) -> str:
        shown = {k: v for k, v in self.__dict__.items() if not self.columns[k].secret}
        return f"<{type(self).__name__} {shown}>"

    def __copy__(self: R) -> R:
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        return made

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__} has no {name}")

    @classmethod
    def from_row(cls: type[R], row: Any) -> R:
        """A row of this resource from a selected one (all columns, in the table's order)."""
        made = cls.__new__(cls)
        made.__dict__.update(zip(cls.columns, row, strict=True))
        return made

    @classmethod
    def from_light(cls: type[R], row: Any) -> R:
        """A row with the columns in `light` only; asking it for another is an AttributeError."""
        made = cls.__new__(cls)
        made.__dict__.update(zip(cls.light, row, strict=True))
        return made

    def fields(self) -> dict[str, Any]:
        """The row's columns as a map; secrets included, so not for answers."""
        return dict(self.__dict__)


REGISTRY: dict[str, type[Resource]] = {}


def created() -> Any:
    """A column with the instant the row was made."""
    return column(default_factory=clock.now, kind="date")


def fresh_id() -> str:
    """A new id for a row, made before the row so that other rows can refer to it."""
    return ids.new_id()
