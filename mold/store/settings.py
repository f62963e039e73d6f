"""Settings: declared on the thing they govern, stored when changed, effective at once.

`NAME = setting("the.name", default, "what it does")` stands in the slice that honours it; `NAME.get(tx)` reads the value
for a scope.  Values are remembered, because every request asks for some (see `mold.store.memory`): a change is seen at
once by the manager that made it, and a second later by the others.  Secrets are sealed at rest, and opened only for who
reads them by `get`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from mold.base import clock
from mold.base.errors import Invalid
from mold.store import seal
from mold.store.resource import REGISTRY, Resource, column
from mold.store.store import GOES_WITH, Tx

T = TypeVar("T", bool, int, float, str)
VALUE_MAX = 4096
MASK = "********"
"""What is shown of a secret that has been set."""
KINDS = {
    "zone": "zone", "cluster": "cluster", "storage": "storagepool", "imagestore": "imagestore",
    "domain": "domain", "account": "account",
}  # fmt: skip
"""Scope -> kind of the thing it is about."""
ABOVE: dict[str, tuple[tuple[str, str], ...]] = {
    "storage": (("cluster", "cluster_id"), ("zone", "zone_id")),
    "cluster": (("zone", "zone_id"),),
    "imagestore": (("zone", "zone_id"),),
}
"""Scope -> the scopes asked next when a thing has no value of its own, and the column that names the thing there."""


class Setting(Resource):
    """A changed value. `scope` is Global or one of `KINDS`, `scope_id` the id of the thing. Secrets are sealed in `value`.

    `changed` is when it was last changed, `changed_by` the name of the user who did (None: the system), `before` what held
    before that; None for secrets.
    """

    kind = "setting"
    unique = (("name", "scope", "scope_id"),)

    name: str = column()
    scope: str = column(default="Global")
    scope_id: str = column(default="")
    value: str = column(hidden=True)
    changed: str | None = column(default=None, hidden=True)
    changed_by: str | None = column(default=None, hidden=True)
    before: str | None = column(default=None, hidden=True)


@dataclass
class Declared(Generic[T]):
    """A setting as declared; `setting` says what the fields mean."""

    name: str
    default: T
    doc: str
    category: str
    group: str
    scopes: tuple[str, ...]
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    unit: str
    many: bool
    parent: str
    shape: str
    secret: bool
    restart: bool
    check: Callable[[str], str | None] | None

    def get(self, tx: Tx, **scope: str | None) -> T:
        """The value for the first scope given (`zone=id`, `cluster=id`, …) that has one, its own or from above; else the global one."""
        values = _values(tx).get(self.name)
        if values is None:
            return self.default
        for kind, id in scope.items():
            if id is None:
                continue
            for place in self._places(tx, values, kind, id):
                if (found := values.get(place)) is not None:
                    return self._kept(found)
        found = values.get(("Global", ""))
        return self.default if found is None else self._kept(found)

    def own(self, tx: Tx, scope: str, scope_id: str) -> T | None:
        """The value set for exactly this thing; None when there is none."""
        found = _values(tx).get(self.name, {}).get((scope, scope_id))
        return None if found is None else self._kept(found)

    def may(self, tx: Tx, scope: str) -> bool:
        """Whether it may be set for things of this scope."""
        return scope in self.scopes or (scope == "domain" and "account" in self.scopes and BY_DOMAIN.get(tx))

    def _places(self, tx: Tx, values: dict[tuple[str, str], str], kind: str, id: str) -> Iterator[tuple[str, str]]:
        yield kind, id
        scoped = {k for k, _ in values}
        if kind == "account":
            if "domain" not in scoped or not BY_DOMAIN.get(tx):
                return
            kind, id = "domain", tx.known(REGISTRY["account"], id).__dict__["domain_id"]
            yield kind, id
        if kind == "domain":
            above = tx.known(REGISTRY["domain"], id).__dict__["parent_id"]
            if above is None or not BY_PARENT.get(tx):
                return
            while above is not None:
                yield "domain", above
                above = tx.known(REGISTRY["domain"], above).__dict__["parent_id"]
            return
        for next_, name in ABOVE.get(kind, ()):
            if next_ in scoped and next_ in self.scopes:
                found = tx.known(REGISTRY[KINDS[kind]], id).__dict__[name]
                if found is not None:
                    yield next_, found

    def _kept(self, text: str) -> T:
        return self.read(seal.open(text) if self.secret and text.startswith(seal.MARK) else text)

    def read(self, text: str) -> T:
        """The value that `text` means; Invalid says what was expected."""
        kind = type(self.default)
        shown = MASK if self.secret else text[:80]
        if len(text) > VALUE_MAX:
            raise Invalid(f"{self.name} takes at most {VALUE_MAX} characters.", name=self.name)
        if kind is str:
            value = kind(text)
            self._chosen(text, shown)
            return value
        word = text.strip()
        try:
            if kind is bool:
                if word.lower() not in ("true", "false"):
                    raise ValueError(word)
                return kind(word.lower() == "true")
            if not word.isascii() or "_" in word:
                raise ValueError(word)  # Python's own spellings of numbers are none
            value = kind(word)
        except ValueError:
            what = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
            raise Invalid(f"{self.name} cannot be '{shown}': it is {what}.", name=self.name) from None
        number = float(value)
        top = self.high if self.high is not None else 2**31 - 1 if self.shape == "Integer" else 2**63 - 1
        if not math.isfinite(number) or number > top:
            raise Invalid(f"{self.name} must be at most {_plain(top)}{self._of()}.", name=self.name)
        if self.low is not None and number < self.low:
            raise Invalid(f"{self.name} must be at least {_plain(self.low)}{self._of()}.", name=self.name)
        return value

    def _of(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def _chosen(self, text: str, shown: str) -> None:
        if self.choices:
            words = [w.strip() for w in text.split(",") if w.strip()] if self.many else [text]
            for word in words:
                if word not in self.choices:
                    raise Invalid(
                        f"{self.name} cannot be '{shown}': it must be one of {', '.join(self.choices)}.", name=self.name
                    )
        if self.check is not None and (why := self.check(text)) is not None:
            raise Invalid(f"{self.name} cannot be '{shown}': {why}", name=self.name)

    def text(self, value: Any) -> str:
        """A value as it is written in answers; secrets are masked."""
        if self.secret:
            return MASK if value else ""
        return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


SETTINGS: dict[str, Declared[Any]] = {}


def setting(
    name: str,
    default: T,
    doc: str,
    *,
    category: str = "Advanced",
    group: str = "",
    scopes: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    unit: str = "",
    many: bool = False,
    parent: str = "",
    shape: str = "",
    secret: bool = False,
    restart: bool = False,
    check: Callable[[str], str | None] | None = None,
) -> Declared[T]:
    """Declare a setting.

    `scopes` are the kinds it may be set for besides globally (`zone`, `cluster`, `storage`, `imagestore`, `domain`,
    `account`).  `low` and `high` bound numbers, `choices` texts (each word of them, where it is `many`: a list separated
    by commas); `check` says what is wrong with a text, or None.  `unit` is what a number counts.  `shape` is the API's
    type where Python's says too little (Integer is the default for int, Long and Double the others).  A `secret` is
    sealed at rest and masked in answers.  `restart` marks the few that a manager reads only when it starts.  `group` is
    where a console shows a setting whose name says nothing of it; `parent` is the setting without which it has no effect.
    """
    if name in SETTINGS:
        raise TypeError(f"the setting {name} is declared twice")
    kinds: dict[type, str] = {bool: "Boolean", int: "Integer", float: "Float", str: "String"}
    made = Declared(
        name, default, doc, category, group, scopes, low, high, choices, unit, many, parent,
        shape or kinds[type(default)], secret, restart, check,
    )  # fmt: skip
    SETTINGS[name] = made
    return made


def _values(tx: Tx) -> dict[str, dict[tuple[str, str], str]]:
    return tx.remembered("settings", (Setting,), lambda: _read(tx))


def _read(tx: Tx) -> dict[str, dict[tuple[str, str], str]]:
    out: dict[str, dict[tuple[str, str], str]] = {}
    for row in tx.find(Setting):
        out.setdefault(row.name, {})[row.scope, row.scope_id] = row.value
    return out


CHANGED: dict[str, Callable[[Tx, str, str], None]] = {}
"""What follows in the same transaction when a setting changes: (tx, scope, scope id)."""


def known(name: str) -> Declared[Any]:
    """The setting of this name; Invalid when there is none."""
    declared = SETTINGS.get(ALIASES.get(name, name))
    if declared is None:
        raise Invalid(f"There is no setting {name[:100]}.", name=name[:100])
    return declared


ALIASES = {"user.vm.blacklisted.details": "user.vm.denied.details", "vmsnapshots.max": "vmsnapshot.max"}
"""Former and misspelled names that are still asked for."""


def changes(tx: Tx, scope: str = "Global", scope_id: str = "") -> dict[str, Setting]:
    """What was changed globally, or for one thing, by the names of the settings."""
    return {row.name: row for row in tx.find(Setting, Setting.c.scope == scope, Setting.c.scope_id == scope_id)}


def store(
    tx: Tx, name: str, text: str, scope: str = "Global", scope_id: str = "", *, by: str | None = None,
    before: str | None = None,
) -> None:  # fmt: skip
    """Set a value; Invalid when it will not do, or cannot be set for this. `by` and `before` are remembered with it."""
    declared = known(name)
    if scope != "Global":
        _scoped(tx, declared, scope, scope_id)
    declared.read(text)
    kept = seal.close(text) if declared.secret and text else text
    found = _row(tx, declared.name, scope, scope_id)
    about = {"changed": clock.now(), "changed_by": by, "before": None if declared.secret else before}
    if found is None:
        tx.add(Setting(name=declared.name, scope=scope, scope_id=scope_id, value=kept, **about))
    else:
        tx.set(found, value=kept, **about)
    _effect(tx, declared.name, scope, scope_id)


def reset(tx: Tx, name: str, scope: str = "Global", scope_id: str = "") -> None:
    """Take a changed value back."""
    declared = known(name)
    if scope != "Global":
        _scoped(tx, declared, scope, scope_id)
    found = _row(tx, declared.name, scope, scope_id)
    if found is not None:
        tx.remove(found)
    _effect(tx, declared.name, scope, scope_id)


def _goes(scope: str) -> Callable[[Tx, str], None]:
    """What was set for a thing goes with it."""

    def go(tx: Tx, id: str) -> None:
        tx.execute(sa.delete(Setting.table).where(Setting.c.scope == scope, Setting.c.scope_id == id))

    return go


for _scope, _kind in KINDS.items():
    GOES_WITH.setdefault(_kind, []).append(_goes(_scope))


def _scoped(tx: Tx, declared: Declared[Any], scope: str, scope_id: str) -> None:
    if not declared.may(tx, scope):
        can = "global only" if not declared.scopes else "for " + ", ".join(declared.scopes)
        raise Invalid(f"{declared.name} cannot be set for a {scope}; it is {can}.", name=declared.name)
    thing = REGISTRY[KINDS[scope]]
    if tx.get(thing, scope_id) is None:
        raise Invalid(f"There is no {thing.title} with the id {scope_id[:80]}.", name=declared.name)


def _row(tx: Tx, name: str, scope: str, scope_id: str) -> Setting | None:
    return tx.first(Setting, Setting.c.name == name, Setting.c.scope == scope, Setting.c.scope_id == scope_id)


def _effect(tx: Tx, name: str, scope: str, scope_id: str) -> None:
    follow = CHANGED.get(name)
    if follow is not None:
        follow(tx, scope, scope_id)


BY_DOMAIN = setting(
    "enable.account.settings.for.domain",
    False,
    "Whether settings of accounts may be set for a domain too; accounts without a value of their own then take the domain's.",
)
BY_PARENT = setting(
    "enable.domain.settings.for.child.domain",
    False,
    "Whether a domain without a value of its own takes that of the domain above it.",
)
