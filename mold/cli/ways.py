"""Verbs that are more than calling a command: show, ssh, console, upload, saving a key."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mold.cli.calls import Call
from mold.cli.faults import Refused, Usage
from mold.cli.show import pick
from mold.cli.words import say

if TYPE_CHECKING:
    from mold.cli.client import Json
    from mold.cli.curated import Line

TAGGED: Mapping[str, tuple[str, str]] = {
    # noun: resource type of the API, and who knows its names
    "vm": ("UserVm", "listVirtualMachines"),
    "volume": ("Volume", "listVolumes"),
    "snapshot": ("Snapshot", "listSnapshots"),
    "image": ("Template", "listTemplates"),
    "iso": ("ISO", "listIsos"),
    "network": ("Network", "listNetworks"),
    "ip": ("PublicIpAddress", "listPublicIpAddresses"),
    "vpc": ("Vpc", "listVPCs"),
    "project": ("Project", "listProjects"),
    "zone": ("Zone", "listZones"),
    "account": ("Account", "listAccounts"),
    "domain": ("Domain", "listDomains"),
}


def show(line: Line, calls: Sequence[Call]) -> int:
    """The one thing, field by field."""
    from mold.cli.curated import only_row

    line.show(only_row(line, calls[0]), calls[0])
    return 0


def console(line: Line, calls: Sequence[Call]) -> int:
    """The address of a console; with -o json all that the server says."""
    answer = line.cloud.call(calls[0].name, calls[0].params, reads=calls[0].reads)
    inner = answer.get("consoleendpoint")
    if not isinstance(inner, dict) or inner.get("success") is False:
        raise Refused(say("no.console", why=str(inner.get("details", "") if isinstance(inner, dict) else "")))
    if line.options.output in ("table", "wide", "name") and not line.options.query:
        print(inner.get("url"))
    else:
        line.show(answer, calls[0])
    return 0


def ssh(line: Line, calls: Sequence[Call]) -> int:
    """Print how a machine is reached: by its public address, a forwarded port, or from inside its network."""
    from mold.cli.curated import only_row

    answer = only_row(line, calls[0])
    row = next(value for value in answer.values() if isinstance(value, dict))
    user = line.extra.get("user") or "root"
    if str(row.get("state")) != "Running":
        print("mold: " + say("ssh.stopped", name=row.get("name"), state=row.get("state")), file=sys.stderr)
    public, port = _reached(line, row)
    nics = [entry for entry in _dicts(row.get("nic")) if entry.get("ipaddress")]
    inner = next((nic for nic in nics if nic.get("isdefault")), nics[0] if nics else {})
    address = public or str(inner.get("ipaddress") or "")
    if not address:
        raise Refused(say("ssh.no.address", name=row.get("name")))
    keys = str(row.get("keypairs") or row.get("keypair") or "")
    words = ["ssh", *(["-p", port] if port != "22" else []), f"{user}@{address}"]
    print(shlex.join(words))
    if not public and inner.get("type") != "Shared":
        print("mold: " + say("ssh.inside", network=inner.get("networkname", "")), file=sys.stderr)
    if keys:
        print("mold: " + say("ssh.key", keys=keys), file=sys.stderr)
    return 0


def _reached(line: Line, row: Mapping[str, Json]) -> tuple[str, str]:
    """The public address and port that lead to port 22 of the machine; empty when there is none."""
    if row.get("publicip"):
        return str(row["publicip"]), "22"
    rules = line.model.get("listPortForwardingRules")
    if rules is None:
        return "", "22"
    answer = line.cloud.call(rules.name, {"listall": "true"} if rules.param("listall") else {}, reads=True)
    for rule in _dicts(answer.get("portforwardingrule")):
        first, last = (str(rule.get(name) or "") for name in ("privateport", "privateendport"))
        here = rule.get("virtualmachineid") == row.get("id") and str(rule.get("protocol")).lower() == "tcp"
        if here and first == "22" and (last or first) == first:
            return str(rule.get("ipaddress")), str(rule.get("publicport"))
    return "", "22"


def _dicts(value: Json) -> list[dict[str, Json]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def upload(line: Line, calls: Sequence[Call]) -> int:
    """Ask where to, send the file there, show the template."""
    path = Path(line.extra["file"]).expanduser()
    try:
        size = path.stat().st_size
        file = path.open("rb")
    except OSError as problem:
        raise Usage(say("bad.file", path=path, why=problem.strerror or problem)) from problem
    with file:
        told = line.cloud.call(calls[0].name, calls[0].params, reads=False).get("getuploadparams")
        if not isinstance(told, dict):
            raise Refused(say("no.json", url=line.cloud.connection.url, status=200), command=calls[0].name)
        line.cloud.send_file(
            str(told["postURL"]),
            {f"x-{name}": str(told[name]) for name in ("signature", "metadata", "expires")},
            path.name,
            file,
            size,
        )
    listed = line.model.get("listTemplates")
    if listed is None:
        print(told["id"])
        return 0
    call = Call(listed.name, {"id": str(told["id"]), "templatefilter": "self"}, {}, True, False)
    answer = line.cloud.call(call.name, call.params, reads=True)
    rows = _dicts(answer.get("template"))
    line.show({"template": rows[0]} if rows else {"id": told["id"]}, call)
    return 0


def save(line: Line, calls: Sequence[Call]) -> int:
    """Make a key; with --save the private half goes into a file of mode 0600 and is not printed."""
    target = line.extra.get("save")
    if target is None:
        (answer,) = line.send(calls)
        line.show(answer, calls[0])
        return 0
    path = Path(target).expanduser()
    try:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
    except OSError as problem:  # an old key is not overwritten
        raise Usage(say("bad.file", path=path, why=problem.strerror or problem)) from problem
    with file:
        try:
            (answer,) = line.send(calls)
        except BaseException:
            path.unlink()
            raise
        private = next((pick(row, "privatekey") for row in answer.values() if isinstance(row, dict)), None)
        file.write(str(private).rstrip("\n") + "\n")
    for row in answer.values():
        if isinstance(row, dict):
            row["privatekey"] = str(path)
    line.show(answer, calls[0])
    return 0


WAYS: Mapping[str, Callable[[Line, Sequence[Call]], int]] = {
    "show": show,
    "console": console,
    "ssh": ssh,
    "upload": upload,
    "save": save,
}
