"""Answers: how rows become what goes over the wire, in JSON and in XML.

The fields of an answer come from the resource's columns, from what the rows it refers to show of
themselves, and from functions registered with `shown`, each called once for a whole page.  So a page of 500
costs the same number of queries as a page of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_origin

import msgspec

from mold.store import REGISTRY, Resource, Tx

Values = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """One field of an answer; `type` is the API's simple type, `of` the fields of a nested answer."""

    name: str
    type: str = "string"
    doc: str = ""
    admin: bool = False
    of: tuple[Field, ...] = ()


@dataclass(frozen=True)
class Extra:
    """A function that adds fields to a page of rows."""

    function: Callable[[Tx, list[Any], Any], dict[str, Values]]
    fields: tuple[Field, ...]
    detail: str
    asked: bool


EXTRAS: dict[str, list[Extra]] = {}
SIMPLE = {str: "string", int: "long", bool: "boolean", float: "double", dict: "map", list: "list"}


def shown(
    kind: type[Resource], *fields: Field, detail: str = "", asked: bool = False
) -> Callable[[Callable[[Tx, list[Any], Any], dict[str, Values]]], Any]:
    """Add fields to the answers of `kind`.

    The function gets a reader, a page of rows and the caller, and returns {row id: {field: value}}.  `detail` names the
    set that `details=` of a list asks for; without a name it is always there.  With `asked` it is there only when a list
    asks for it by that name: what costs too much to be in every answer.
    """

    def keep(function: Callable[[Tx, list[Any], Any], dict[str, Values]]) -> Any:
        EXTRAS.setdefault(kind.kind, []).append(Extra(function, fields, detail, asked))
        return function

    return keep


@dataclass(frozen=True)
class Ref:
    """How one reference is shown."""

    attribute: str
    target: str
    shows: tuple[tuple[str, str], ...]
    admin: bool


def _type(kind: type[Resource], name: str) -> str:
    """The API's simple type of a column."""
    hint = kind.hints[name]
    return kind.columns[name].kind or SIMPLE.get(get_origin(hint) or hint, "string")


class View:
    """How rows of one resource are shown."""

    def __init__(self, kind: type[Resource]) -> None:
        self.kind = kind
        self.plain: list[tuple[str, str]] = []
        self.admin: list[tuple[str, str]] = []
        self.refs: list[Ref] = []
        self.fields: list[Field] = []
        for name, spec in kind.columns.items():
            if spec.hidden:
                continue
            if spec.refers:
                shows = spec.shows or REGISTRY[spec.refers].appears or {f"{spec.refers}id": "id"}
                self.refs.append(Ref(name, spec.refers, tuple(shows.items()), spec.admin))
                target = REGISTRY[spec.refers]
                self.fields += [Field(n, _type(target, a), spec.doc, spec.admin) for n, a in shows.items()]
                continue
            api = spec.api or name.replace("_", "")
            (self.admin if spec.admin else self.plain).append((api, name))
            self.fields.append(Field(api, _type(kind, name), spec.doc, spec.admin))

    def all_fields(self, root: bool) -> list[Field]:
        """Every field that may appear, those of extras included."""
        found = {f.name: f for f in self.fields}
        for extra in EXTRAS.get(self.kind.kind, ()):
            found.update((f.name, f) for f in extra.fields)
        return [f for f in found.values() if root or not f.admin]

    def page(
        self, tx: Tx, rows: Sequence[Resource], caller: Any, details: frozenset[str] | None = None
    ) -> list[Values]:
        """Show a page of rows. `details` limits the named extras; None means all."""
        if not rows:
            return []
        root = caller.root or caller.internal
        operator = root or caller.rank >= 2
        plain = self.plain + self.admin if root else self.plain
        out: list[Values] = []
        for row in rows:
            data = row.__dict__
            out.append({api: data[name] for api, name in plain if data[name] is not None})
        refs = [r for r in self.refs if operator or not r.admin]
        wanted: dict[str, set[str]] = {}
        for ref in refs:
            if ref.shows != (("id", "id"),):
                wanted.setdefault(ref.target, set()).update(
                    v for row in rows if (v := row.__dict__[ref.attribute]) is not None
                )
        known = {target: self._looked_up(tx, target, ids) for target, ids in wanted.items() if ids}
        for ref in refs:
            table = known.get(ref.target)
            if not table:
                continue
            shows = ref.shows
            name = ref.attribute
            for row, values in zip(rows, out, strict=True):
                seen = table.get(row.__dict__[name])
                if seen is not None:
                    for api, attribute in shows:
                        value = seen[attribute]
                        if value is not None:
                            values[api] = value
        for extra in EXTRAS.get(self.kind.kind, ()):
            if extra.asked and (details is None or extra.detail not in details):
                continue
            if extra.detail and details is not None and extra.detail not in details and "all" not in details:
                continue
            hide = () if root else tuple(f.name for f in extra.fields if f.admin)
            found = extra.function(tx, list(rows), caller)
            for row, values in zip(rows, out, strict=True):
                more = found.get(row.id)
                if more:
                    for key, value in more.items():
                        if value is not None and key not in hide:
                            values[key] = value
        return out

    def _looked_up(self, tx: Tx, target: str, ids: set[str]) -> dict[str, dict[str, Any]]:
        """What is shown of the rows of a kind that a page refers to: remembered, or the needed columns only."""
        kind = REGISTRY[target]
        if kind.steady:
            return {i: row.__dict__ for i, row in tx.known_among(kind, ids).items()}
        names = {a for ref in self.refs if ref.target == target for _, a in ref.shows}
        return tx.parts(kind, tuple(sorted(names)), list(ids))


_views: dict[str, View] = {}


def view(kind: type[Resource]) -> View:
    """The view of a resource, made once."""
    found = _views.get(kind.kind)
    if found is None:
        found = _views[kind.kind] = View(kind)
    return found


def show(tx: Tx, row: Resource, caller: Any) -> Values:
    """One row as the caller sees it."""
    return view(type(row)).page(tx, [row], caller)[0]


_json = msgspec.json.Encoder()


def as_json(envelope: str, body: Any) -> bytes:
    """The answer in JSON: one top-level key."""
    return _json.encode({envelope: body})


ELEMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
ODD = re.compile("[&<>\"'\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that are written otherwise in XML, and those that no XML document may hold, escaped or not."""
WRITTEN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}


def as_xml(envelope: str, body: Any, version: str | None) -> bytes:
    """The answer in XML. `version` becomes the cloud-stack-version attribute."""
    mark = f' cloud-stack-version="{version}"' if version else ""
    parts = ['<?xml version="1.0" encoding="UTF-8"?>', f"<{envelope}{mark}>"]
    if isinstance(body, dict):
        _fields(parts, body)
    parts.append(f"</{envelope}>")
    return "".join(parts).encode()


@lru_cache(4096)
def _tags(key: str) -> tuple[str, str] | None:
    """How a field begins and ends; None when its name cannot be an element's."""
    return (f"<{key}>", f"</{key}>") if ELEMENT.fullmatch(key) else None


def _fields(parts: list[str], values: Values) -> None:
    for key, value in values.items():
        tags = _tags(key)
        if tags is None:
            parts.append(f"<entry><key>{_text(key)}</key><value>{_text(value)}</value></entry>")
        elif value.__class__ is str:
            parts += (tags[0], value if ODD.search(value) is None else ODD.sub(_written, value), tags[1])
        else:
            _element(parts, tags, key, value)


def _element(parts: list[str], tags: tuple[str, str], key: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, list | tuple):
        for item in value:
            _element(parts, tags, key, item)
        if not value and key == "uuidList":
            parts.append("<uuidList></uuidList>")
    elif isinstance(value, dict):
        parts.append(tags[0])
        _fields(parts, value)
        parts.append(tags[1])
    else:
        parts += (tags[0], _text(value), tags[1])


def _written(found: re.Match[str]) -> str:
    return WRITTEN.get(found.group(), " ")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else str(value)
    return text if ODD.search(text) is None else ODD.sub(_written, text)
