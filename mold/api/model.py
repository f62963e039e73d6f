"""The published model: what commands there are, as clients discover them. Made from the declarations."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Annotated, Any

import msgspec

from mold.api.answer import Field, view
from mold.api.command import COMMANDS, Command, Ctx, Param, command
from mold.api.permit import Caller, RoleType
from mold.store import Resource, Tx

_related: dict[str, str] = {}


def related(kind: str) -> str:
    """Names of the commands that answer with this resource, comma separated."""
    found = _related.get(kind)
    if found is None:
        names = sorted(n for n, c in COMMANDS.items() if c.answers is not None and c.answers.kind == kind)
        # Lists first: clients look names up with them.
        names.sort(key=lambda n: not n.startswith("list"))
        found = _related[kind] = ",".join(names)
    return found


UNITS = {
    **dict.fromkeys(("memory", "minmemory", "maxmemory"), "MiB"),
    **dict.fromkeys(("disksize", "rootdisksize", "size"), "GiB"),
    **dict.fromkeys(("bytesreadrate", "byteswriterate"), "bytes/s"),
    **dict.fromkeys(("iopsreadrate", "iopswriterate", "miniops", "maxiops"), "operations/s"),
    **dict.fromkeys(("cpunumber", "mincpunumber", "maxcpunumber"), "cores"),
    **dict.fromkeys(("duration", "entrytime"), "seconds"),
    "cpuspeed": "MHz",
    "networkrate": "Mbit/s",
}
"""What numbers count, where the parameter's name says it."""
DESTRUCTIVE = frozenset(
    ("delete", "destroy", "expunge", "remove", "revoke", "purge", "restore", "release", "disassociate")
)
"""Verbs of commands after which something is gone that cannot be had back by asking for the contrary."""


def param_of(spec: Param) -> dict[str, Any]:
    """One parameter as listApis shows it."""
    out: dict[str, Any] = {
        "name": spec.name,
        "description": spec.doc or spec.name,
        "type": spec.kind,
        "length": spec.length,
        "required": spec.required,
    }
    if spec.since:
        out["since"] = spec.since
    if unit := spec.unit or (UNITS.get(spec.name, "") if spec.kind in ("integer", "long", "double") else ""):
        out["unit"] = unit
    if spec.resource is not None:
        out["related"] = related(spec.resource.kind)
    if spec.choices:
        out["choices"] = list(spec.choices)
    if spec.default is not None and not isinstance(spec.default, list | dict):
        out["default"] = str(spec.default).lower() if isinstance(spec.default, bool) else str(spec.default)
    if spec.refused:
        out["refused"] = spec.refused
    if spec.secret:
        out["secret"] = True
    return out


def _field(field: Field) -> dict[str, Any]:
    out: dict[str, Any] = {"name": field.name, "description": field.doc or f"the {field.name}", "type": field.type}
    if field.of:
        out["response"] = [_field(f) for f in field.of]
    return out


def fields_of(made: Command, root: bool) -> list[dict[str, Any]]:
    """The fields of a command's answer."""
    if made.answers is not None:
        found = [_field(f) for f in view(made.answers).all_fields(root)]
    elif made.fields:
        found = [_field(f) for f in made.fields]
    else:
        found = [_field(Field("success", "boolean")), _field(Field("displaytext"))]
    if made.job:
        found += [_field(Field("jobid")), _field(Field("jobstatus", "integer"))]
    return found


def words_of(made: Command) -> tuple[str, str, str]:
    """Group, verb and noun of a command: the room that it is declared in, and how its name begins and what follows."""
    verb = re.match(r"[a-z]+", made.name)
    assert verb is not None, made.name
    room = (made.source or made.function).__module__.removeprefix("mold.").removeprefix("features.").split(".")
    noun = made.answers.kind if made.answers is not None else made.name[verb.end() :].lower()
    return room[0], verb.group(), noun or verb.group()


def describe(made: Command, caller: Caller) -> dict[str, Any]:
    """One command as listApis shows it to a caller."""
    root = caller.root or caller.internal
    group, verb, noun = words_of(made)
    return {
        "name": made.name,
        "description": made.doc or made.name,
        **({"since": made.since} if made.since else {}),
        "group": group,
        "verb": verb,
        "noun": noun,
        "destructive": verb in DESTRUCTIVE,
        "isasync": made.job,
        "related": related(made.answers.kind) if made.answers else "",
        "params": [param_of(p) for p in made.params.values() if root or caller.role in p.roles],
        "response": fields_of(made, root),
        "httprequesttype": "GET" if made.reads else "POST",
    }


@dataclass(frozen=True)
class Shown:
    """A command as a kind of caller sees it: whole, in brief, and a mark that changes with it."""

    whole: dict[str, Any]
    brief: dict[str, Any]
    mark: bytes


_described: dict[tuple[RoleType, bool], dict[str, Shown]] = {}


def _shown(made: Command, caller: Caller) -> Shown:
    known = _described.setdefault((caller.role, caller.internal), {})
    if made.name not in known:
        whole = describe(made, caller)
        mark = hashlib.blake2b(msgspec.json.encode(whole), digest_size=16).digest()
        known[made.name] = Shown(whole, _brief(whole), mark)
    return known[made.name]


def _brief(shown: dict[str, Any]) -> dict[str, Any]:
    """A described command in a tenth of the size: of related commands the lists only, of fields name and type."""

    def lists(names: str) -> str:
        return ",".join(n for n in names.split(",") if n.startswith("list"))

    return {
        **shown,
        "related": lists(shown["related"]),
        "params": [{**p, "related": lists(p["related"])} if "related" in p else p for p in shown["params"]],
        "response": [{"name": f["name"], "type": f["type"]} for f in shown["response"]],
    }


def _callable(ctx: Ctx, name: str | None = None) -> list[Shown]:
    word = name.lower() if name is not None else None
    return [
        _shown(made, ctx.caller)
        for made in COMMANDS.values()
        if made.listed and (made.open or ctx.may(made)) and (word is None or made.name.lower() == word)
    ]


def _mark(found: list[Shown]) -> str:
    return hashlib.blake2b(b"".join(s.mark for s in found), digest_size=16).hexdigest()


API_FIELDS = (
    Field("name"),
    Field("description"),
    Field("since"),
    Field("group", doc="the part of the cloud that it is about, as compute"),
    Field("verb", doc="the first word of its name, as list"),
    Field("noun", doc="what it is about, as virtualmachine"),
    Field("destructive", "boolean", "whether something is gone afterwards"),
    Field("isasync", "boolean"),
    Field("related"),
    Field("httprequesttype"),
    Field(
        "params",
        "set",
        of=(
            Field("name"),
            Field("description"),
            Field("type"),
            Field("length", "int"),
            Field("required", "boolean"),
            Field("since"),
            Field("related"),
            Field("unit", doc="what a number counts, as MiB"),
            Field("choices", "list", "the words that it may be"),
            Field("default", doc="what it is when left out"),
            Field("refused", doc="why a value is refused"),
            Field("secret", "boolean", "whether it is to be hidden from onlookers"),
        ),
    ),
    Field("response", "set", of=(Field("name"), Field("description"), Field("type"), Field("response", "set"))),
)


@command("listApis", shape="list", key="api", reads=True, fields=API_FIELDS)
def list_apis(
    ctx: Ctx, name: str | None = None, brief: bool = False, modelhash: str | None = None
) -> dict[str, Any]:
    """Lists the commands that the caller may call, with their parameters and answers.

    name: only the command of this name
    brief: without the descriptions of answers, and of related commands only the lists; with a hash of the whole
    modelhash: the hash of an earlier brief answer; when it still is the same, only the hash is answered
    """
    found = _callable(ctx, name)
    if not found:
        return {}
    if not brief:
        ctx.etag = _mark(found)
        return {"count": len(found), "api": [s.whole for s in found]}
    mark = _mark(found)
    if mark == modelhash:
        return {"modelhash": mark}
    return {"count": len(found), "modelhash": mark, "api": [s.brief for s in found]}


def openapi(version: str) -> dict[str, Any]:
    """The model as an OpenAPI 3.1 document: one path, one operation per command."""
    types = {
        "boolean": "boolean",
        "integer": "integer",
        "long": "integer",
        "short": "integer",
        "double": "number",
        "float": "number",
    }
    paths: dict[str, Any] = {}
    for made in sorted(COMMANDS.values(), key=lambda c: c.name):
        properties: dict[str, Any] = {
            "command": {"type": "string", "const": made.name},
            "response": {"type": "string", "enum": ["json", "xml"]},
        }
        for spec in made.params.values():
            if spec.kind == "map":
                properties[f"{spec.name}[0].{spec.keys[0] if spec.keys and spec.keys[0] != '*' else 'key'}"] = {
                    "type": "string",
                    "description": spec.doc,
                }
                continue
            shape: dict[str, Any] = {"type": types.get(spec.kind, "string"), "description": spec.doc}
            if spec.kind == "uuid":
                shape["format"] = "uuid"
            if spec.choices:
                shape["enum"] = list(spec.choices)
            if shape["type"] == "string" and spec.kind == "string":
                shape["maxLength"] = spec.length
            properties[spec.name] = shape
        paths[f"/client/api?command={made.name}"] = {
            "get" if made.reads else "post": {
                "operationId": made.name,
                "summary": made.doc,
                "requestBody" if not made.reads else "x-query": {
                    "content": {
                        "application/x-www-form-urlencoded": {
                            "schema": {
                                "type": "object",
                                "properties": properties,
                                "required": ["command", *(p.name for p in made.params.values() if p.required)],
                            }
                        }
                    }
                },
                "responses": {
                    "200": {
                        "description": "the answer",
                        "content": {
                            "application/json": {
                                "schema": {"type": "object", "properties": {made.envelope: {"type": "object"}}}
                            }
                        },
                    }
                },
            }
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Mold", "version": version, "description": "CloudStack-compatible query API."},
        "paths": paths,
    }


CAPABILITY = tuple(
    Field(n, t)
    for n, t in (
        ("securitygroupsenabled", "boolean"),
        ("dynamicrolesenabled", "boolean"),
        ("cloudstackversion", "string"),
        ("userpublictemplateenabled", "boolean"),
        ("supportELB", "string"),
        ("projectinviterequired", "boolean"),
        ("allowusercreateprojects", "boolean"),
        ("customdiskofferingminsize", "long"),
        ("customdiskofferingmaxsize", "long"),
        ("regionsecondaryenabled", "boolean"),
        ("kvmsnapshotenabled", "boolean"),
        ("snapshotshowchainsize", "boolean"),
        ("allowuserviewdestroyedvm", "boolean"),
        ("allowuserexpungerecovervm", "boolean"),
        ("allowuserexpungerecovervolume", "boolean"),
        ("allowuserviewalldomainaccounts", "boolean"),
        ("allowuserforcestopvm", "boolean"),
        ("kubernetesserviceenabled", "boolean"),
        ("kubernetesclusterexperimentalfeaturesenabled", "boolean"),
        ("defaultuipagesize", "long"),
        ("instanceleaseenabled", "boolean"),
        ("dynamicscalingenabled", "boolean"),
        ("additionalconfigenabled", "boolean"),
        ("secondfactoroffered", "boolean"),
        ("moldversion", "string"),
        ("apihash", "string"),
    )
)


def release() -> str:
    """The version of this program; 0 when it runs from a folder that was not installed."""
    try:
        return metadata.version("mold-cloud")
    except metadata.PackageNotFoundError:
        return "0"


Capability = Callable[[Tx, Caller], Any]
ABILITIES: dict[str, Capability] = {}
"""What slices say that the cloud can do; names are those of `listCapabilities`."""


def capability(name: str, function: Capability) -> None:
    """Let a slice say what it can do, out of its settings."""
    ABILITIES[name] = function


@command("listCapabilities", shape="object", key="capability", reads=True, fields=CAPABILITY)
def capabilities(
    ctx: Ctx, domainid: Annotated[Resource | None, Param(of="domain", access="see")] = None
) -> dict[str, Any]:
    """Says what this cloud can do.

    domainid: the cloud is the same for every domain
    """
    from mold.api.door import VERSION

    said = {name: function(ctx.tx, ctx.caller) for name, function in ABILITIES.items()}
    said = {name: value for name, value in said.items() if value is not None}
    not_there = {f.name: False for f in CAPABILITY if f.type == "boolean"}
    return {
        "capability": {
            **not_there,
            "dynamicrolesenabled": True,
            "supportELB": "false",
            "cloudstackversion": VERSION,
            "moldversion": release(),
            "apihash": _mark(_callable(ctx)),
            **said,
        }
    }
