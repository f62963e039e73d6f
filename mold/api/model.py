"""The published model: what commands there are, as clients discover them. Made from the declarations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib import metadata
from typing import Annotated, Any

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


def param_of(spec: Param) -> dict[str, Any]:
    """One parameter as listApis shows it."""
    out: dict[str, Any] = {
        "name": spec.name,
        "description": spec.doc or spec.name,
        "type": spec.kind,
        "length": spec.length,
        "required": spec.required,
    }
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


def describe(made: Command, caller: Caller) -> dict[str, Any]:
    """One command as listApis shows it to a caller."""
    root = caller.root or caller.internal
    return {
        "name": made.name,
        "description": made.doc or made.name,
        "isasync": made.job,
        "related": related(made.answers.kind) if made.answers else "",
        "params": [param_of(p) for p in made.params.values() if root or caller.role in p.roles],
        "response": fields_of(made, root),
        "httprequesttype": "GET" if made.reads else "POST",
    }


_described: dict[tuple[RoleType, bool], dict[str, dict[str, Any]]] = {}


def slim(shown: dict[str, Any]) -> dict[str, Any]:
    """A described command in a tenth of the size: of related commands the lists only, of fields name and type."""

    def lists(names: str) -> str:
        return ",".join(n for n in names.split(",") if n.startswith("list"))

    return {
        **{k: shown[k] for k in ("name", "description", "isasync", "httprequesttype")},
        "related": lists(shown["related"]),
        "params": [{**p, "related": lists(p["related"])} if "related" in p else p for p in shown["params"]],
        "response": [{"name": f["name"], "type": f["type"]} for f in shown["response"]],
    }


@command(
    "listApis",
    shape="list",
    key="api",
    reads=True,
    fields=(
        Field("name"),
        Field("description"),
        Field("isasync", "boolean"),
        Field("related"),
        Field("httprequesttype"),
        Field("params", "set"),
        Field("response", "set"),
    ),
)
def list_apis(
    ctx: Ctx, name: str | None = None, brief: bool = False, modelhash: str | None = None
) -> dict[str, Any]:
    """Lists the commands that the caller may call, with their parameters and answers.

    brief: without the descriptions of answers, and of related commands only the lists; with a hash of the whole
    modelhash: the hash of an earlier brief answer; when it still is the same, only the hash is answered
    """
    caller = ctx.caller
    known = _described.setdefault((caller.role, caller.internal), {})
    out = []
    for made in COMMANDS.values():
        if (
            not made.listed
            or not (made.open or ctx.may(made))
            or (name is not None and made.name.lower() != name.lower())
        ):
            continue
        if made.name not in known:
            known[made.name] = describe(made, caller)
        out.append(known[made.name])
    if not out:
        return {}
    if not brief:
        return {"count": len(out), "api": out}
    small = [slim(each) for each in out]
    digest = hashlib.sha256(json.dumps(small, sort_keys=True).encode()).hexdigest()[:32]
    if digest == modelhash:
        return {"modelhash": digest}
    return {"count": len(small), "modelhash": digest, "api": small}


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
        ("moldversion", "string"),
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
    not_there = {f.name: False for f in CAPABILITY if f.type == "boolean"}
    return {
        "capability": {
            **not_there,
            "dynamicrolesenabled": True,
            "supportELB": "false",
            "cloudstackversion": VERSION,
            "moldversion": release(),
            **said,
        }
    }
