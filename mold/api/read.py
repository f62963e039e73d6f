"""Reading: from what came over the wire to what a command's function gets.

Every value is bounded and typed here; ids are looked up together with the caller's permission.  The texts
of refusals are the API's own where clients match them.
"""

from __future__ import annotations

import math
import re
from typing import Any

from mold.api.command import Command, Owner, Param
from mold.api.permit import Caller, find, owner_of
from mold.base import clock, ids
from mold.base.errors import Invalid, Malformed, Missing, Unsupported
from mold.store import Resource, Tx
from mold.store.settings import setting

CONTROL = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]")
MAP = re.compile(r"^([^\[\]]+)\[(\d{1,6})\]\.([^\[\]]+)$")
WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
LIST_MAX = 10_000
PAGE = setting(
    "default.page.size",
    500,
    "Rows that a list answers when no page is asked for, and at most.",
    low=1,
    high=10_000,
    unit="rows",
    shape="Long",
)
MAP_MAX = 5_000


def clean(raw: dict[str, str]) -> tuple[dict[str, str], dict[str, dict[int, dict[str, str]]]]:
    """Plain parameters with lower-case names, and map parameters as {name: {index: {field: value}}}."""
    plain: dict[str, str] = {}
    maps: dict[str, dict[int, dict[str, str]]] = {}
    for key, value in raw.items():
        if CONTROL.search(value):
            raise Invalid(
                f"Received value containing illegal ASCII non-printable characters for parameter {key}", parameter=key
            )
        if "[" in key or "]" in key:
            match = MAP.match(key)
            if match is None:
                raise Malformed(
                    f"Unable to decode parameter {key}; if specifying an object array, please use parameter[index].field=XXX, e.g. userGroupList[0].group=httpGroup",
                    parameter=key,
                )
            name, index, sub = match.groups()
            maps.setdefault(name.lower(), {}).setdefault(int(index), {})[sub] = value
        else:
            plain[key.lower()] = value
    return plain, maps


def said(made: Command, name: str, why: str) -> Invalid:
    """The API's text for a value that will not do."""
    return Invalid(f"Unable to execute API command {made.name.lower()} due to invalid value. {why}", parameter=name)


def arguments(made: Command, raw: dict[str, str], tx: Tx, caller: Caller) -> tuple[dict[str, Any], frozenset[str]]:
    """The function's arguments, and the names of the parameters that were given."""
    plain, maps = clean(raw)
    found: dict[str, Any] = {}
    given: set[str] = set()
    for name, spec in made.params.items():
        if not spec.roles >= {caller.role} and not caller.internal:
            if spec.required:
                raise Missing(
                    f"Unable to execute API command {made.name.lower()} due to missing parameter {name}", parameter=name
                )
            continue  # the API ignores parameters that are not for this caller's role
        if spec.kind == "map":
            groups = maps.get(name)
            if groups is None:
                if spec.required:
                    raise Missing(
                        f"Unable to execute API command {made.name.lower()} due to missing parameter {name}",
                        parameter=name,
                    )
                continue
            if spec.refused:
                raise Unsupported(
                    f"The parameter {name} of {made.name} is {spec.refused}; leave it out.", parameter=name
                )
            found[name] = _map(made, spec, groups)
            given.add(name)
            continue
        text = plain.get(name)
        if text is None:
            if spec.required:
                raise Missing(
                    f"Unable to execute API command {made.name.lower()} due to missing parameter {name}", parameter=name
                )
            continue
        if text == "":
            if spec.required:
                raise said(made, name, f"Invalid value provided for API arg: {name}")
            if spec.kind not in ("string", "long", "short"):
                continue
        if spec.refused:
            if _harmless(spec, text):
                continue
            raise Unsupported(f"The parameter {name} of {made.name} is {spec.refused}; leave it out.", parameter=name)
        found[name] = value(made, spec, text, tx, caller)
        given.add(name)
    if made.shape == "list" and "pagesize" in made.params:
        _page(found, given, PAGE.get(tx))
    if made.owner:
        owner = owner_of(
            tx, caller, found.pop("account", None), found.pop("domainid", None), found.pop("projectid", None)
        )
        found["owner"] = Owner(owner.id, owner.domain_id, owner.project_id, owner)
    return found, frozenset(given)


def _page(found: dict[str, Any], given: set[str], most: int) -> None:
    """How much a list answers: as much as was asked for and `default.page.size` allows, or just so much."""
    if "page" not in given and "pagesize" not in given:
        found.update(page=1, pagesize=most)
    elif (size := found.get("pagesize")) is not None and size > most:
        raise Invalid(f"Page size can't exceed max allowed page size value: {most}", parameter="pagesize")


def _harmless(spec: Param, text: str) -> bool:
    """An unoffered switch that is switched off asks for nothing."""
    return spec.kind == "boolean" and text.strip().lower() != "true"


def value(made: Command, spec: Param, text: str, tx: Tx, caller: Caller) -> Any:
    """One value, checked."""
    name = spec.name
    match spec.kind:
        case "boolean":
            return text.strip().lower() == "true"
        case "integer" | "long" | "short":
            try:
                number = int(_plain_number(text))
            except ValueError:
                raise said(
                    made, name, f"Invalid parameter {name} value={text[:80]}: it must be a whole number."
                ) from None
            top = 2**31 - 1 if spec.kind == "integer" else 2**63 - 1
            low, high = spec.low if spec.low is not None else -top - 1, spec.high if spec.high is not None else top
            if not low <= number <= high:
                raise said(
                    made, name, f"Invalid parameter {name} value={text[:80]}: it must lie between {low} and {high}."
                )
            return number
        case "double" | "float":
            try:
                number_f = float(_plain_number(text))
            except ValueError:
                raise said(made, name, f"Invalid parameter {name} value={text[:80]}: it must be a number.") from None
            if not math.isfinite(number_f):
                raise said(made, name, f"Invalid parameter {name} value={text[:80]}: it must be a finite number.")
            return number_f
        case "date":
            try:
                return clock.at(clock.parse(text))
            except (ValueError, OverflowError, OSError):
                raise Invalid(
                    f"Unable to parse date {text[:80]} for command {made.name}, please pass dates in the format mentioned in the api documentation",
                    parameter=name,
                ) from None
        case "uuid":
            return row(made, spec, text, tx, caller)
        case "list":
            items = [i for i in text.split(",") if i]
            if len(items) > LIST_MAX:
                raise said(made, name, f"The list {name} has more than {LIST_MAX} items.")
            if spec.item == "uuid":
                return [row(made, spec, i, tx, caller) for i in dict.fromkeys(items)]
            for i in items:
                if len(i) > spec.length:
                    raise said(made, name, f"Value greater than max allowed length {spec.length} for param: {name}")
            return items
    if len(text) > spec.length:
        raise said(made, name, f"Value greater than max allowed length {spec.length} for param: {name}")
    if spec.choices:
        for choice in spec.choices:
            if choice.lower() == text.strip().lower():
                return choice
        raise said(
            made, name, f"Invalid parameter {name} value={text[:80]}: it must be one of {', '.join(spec.choices)}."
        )
    if spec.label and text and not ids.is_label(text):
        raise Invalid(
            f"Invalid name '{text[:80]}': it must be at most 63 letters, digits or hyphens, must not begin or end with a hyphen and not be all digits.",
            parameter=name,
        )
    return text


def _plain_number(text: str) -> str:
    """The text, if it is written as the API writes numbers: Python's own spellings (1_000, ١٢) are none."""
    word = text.strip()
    if not word.isascii() or "_" in word:
        raise ValueError(word)
    return word


def row(made: Command, spec: Param, text: str, tx: Tx, caller: Caller) -> Any:
    """The row that an id names, permitted; `-1` passes through for the projects of a list declared with `lists` (all of them)."""
    assert spec.access is not None
    word = text.strip()
    if spec.resource is None:
        # A thing that has an id and no row of its own, as a role or a manager: the command looks it up.
        if ids.UUID.match(word) or word.isdigit():
            return word.lower()
        raise said(made, spec.name, f"Invalid parameter {spec.name} value={word[:80]}: it must be a uuid.")
    if word == "-1" and spec.name == "projectid" and made.source is not None and not spec.required:
        return "-1"
    found: Resource | None = None
    if ids.UUID.match(word) or (ids.whole(word) is not None and not spec.since):
        found = find(tx, spec.resource, caller, word, spec.access)
    if found is None:
        raise said(
            made,
            spec.name,
            f"Invalid parameter {spec.name} value={word[:80]} due to incorrect long value format, or entity does not exist or due to incorrect parameter annotation for the field in api cmd class.",
        )
    return found


def _map(made: Command, spec: Param, groups: dict[int, dict[str, str]]) -> Any:
    if sum(len(g) for g in groups.values()) > MAP_MAX:
        raise said(made, spec.name, f"The map {spec.name} has more than {MAP_MAX} entries.")
    ordered = [groups[i] for i in sorted(groups)]
    for group in ordered:
        for key, text in group.items():
            if len(key) > 255 or len(text) > max(spec.length, 4096):
                raise said(
                    made,
                    spec.name,
                    f"Value greater than max allowed length {max(spec.length, 4096)} for param: {spec.name}",
                )
    if spec.keys == ("*",):
        merged: dict[str, str] = {}
        for group in ordered:
            if set(group) == {"key", "value"}:
                merged[group["key"]] = group["value"]
            else:
                merged.update(group)
        return merged
    if spec.keys == ("key", "value"):
        pairs: dict[str, str] = {}
        for group in ordered:
            if "key" not in group:
                raise said(made, spec.name, f"Each {spec.name}[i] needs a key and a value.")
            pairs[group["key"]] = group.get("value", "")
        return pairs
    lowered = [{k.lower(): v for k, v in g.items()} for g in ordered]
    allowed = {k.lower() for k in spec.keys}
    for group in lowered:
        unknown = set(group) - allowed
        if unknown and allowed:
            raise said(
                made, spec.name, f"{spec.name}[i] has no field {sorted(unknown)[0]}; it has {', '.join(spec.keys)}."
            )
    return lowered
