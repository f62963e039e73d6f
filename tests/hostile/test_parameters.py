"""Nonsense in every parameter of every command: refused with a sentence, never an exception, and the world as before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from cloud_in_process import Called, Cloud

from mold.api.command import COMMANDS, Command, Param
from mold.base.errors import EVERY, Failed
from mold.server.app import load

load()
NOBODY = "00000000-0000-0000-0000-000000000000"
TEXTS = (
    "",
    " ",
    "\x00",
    "a\tb",
    "\x7f",
    "a\r\nSet-Cookie: evil=1",
    "'",
    '"',
    "' OR '1'='1",
    "'; DROP TABLE virtualmachine; --",
    "<script>alert(1)</script>",
    "../../../etc/passwd",
    "/",
    "file:///etc/passwd",
    "http://[::1",
    "http://x:99999999/",
    "%00%0a%s%n{0}{x}${y}",
    "\\",
    "\u202egnp.exe",
    "\U0001f642" * 40,
    "\ufffd",
    "A" * 256,
    "A" * 70_000,
    "-1",
    "0",
    "-0",
    "²",
    "١٢",
    "1" * 400,
    "9223372036854775807",
    "99999999999999999999",
    "-9223372036854775809",
    "1e999",
    "nan",
    "0x10",
    "1_000",
    "true",
    "null",
    "[]",
    "{}",
    "2020-13-45",
    "9999-12-31T23:59:59+2359",
    "0001-01-01",
    ",,,",
    "a,,b",
    NOBODY,
    NOBODY.upper() + ",",
    "10.1.1.0/99",
    "255.255.255.255",
    "0.0.0.0",
    "::1",
    "10.1.1.1/0",
    "1-",
    "-",
    "16777216-99999999",
    "VNC\x1b[31m",
)
MAPS: tuple[dict[str, str], ...] = (
    {"[0].a": "b"},
    {"[0].key": "k"},
    {"[0].value": "v"},
    {"[0].key": "", "[0].value": ""},
    {"[0].key": "'; --", "[0].value": "<b>"},
    {"[0]": "x"},
    {"[0].": "x"},
    {"[a].b": "x"},
    {"[-1].b": "x"},
    {"[0][1].b": "x"},
    {"[99999999].b": "x"},
    {"[999999].b": "x"},
    {"[²].b": "x"},
    {"[0].b.c": "x"},
    {"[0].cpuNumber": "²", "[0].memory": "1e9", "[0].cpuSpeed": "-1"},
    {"[0].cpuNumber": "9" * 30},
    {"[0].extraconfig": "<domain/>"},
    {f"[{i}].k{i}": "v" for i in range(300)},
    {"[0]." + "k" * 300: "v"},
    {"[0].k": "v" * 5000},
    {"[0].networkid": NOBODY, "[0].ip": "²"},
    {"[0].service": "Dhcp", "[0].provider": "../../x"},
    {"": "plain text"},
)
NUMBERS = (
    "",
    " ",
    "x",
    "²",
    "١٢",
    "-1",
    "0",
    "1" * 400,
    "99999999999999999999",
    "9223372036854775807",
    "1e999",
    "nan",
    "1_0",
)
IDS = (
    "",
    " ",
    "x",
    "²",
    "-1",
    "0",
    "1" * 400,
    "9223372036854775807",
    NOBODY,
    NOBODY.upper() + ",",
    "' OR '1'='1",
    ",,,",
    "\x00",
)
FOR_KIND = {
    "boolean": ("", "maybe", "\x00", "TRUE "),
    "uuid": IDS,
    **dict.fromkeys(("integer", "long", "short", "double", "float"), NUMBERS),
}
CODES = {c.code for c in EVERY} | {200, 405}
ENDING = re.compile(r"^(delete|destroy|expunge|remove|revoke|disassociate|archive)")
VALID = {
    "startip": "10.99.0.10",
    "endip": "10.99.0.20",
    "gateway": "10.99.0.1",
    "netmask": "255.255.255.0",
    "dns1": "9.9.9.9",
    "internaldns1": "9.9.9.9",
    "networktype": "Advanced",
    "hypervisor": "Simulator",
    "format": "QCOW2",
    "url": "http://images.invalid/x.qcow2",
    "provider": "NFS",
    "clustertype": "CloudManaged",
    "traffictype": "Guest",
    "templatefilter": "all",
    "resourcetype": "UserVm",
    "cpunumber": "1",
    "cpuspeed": "100",
    "memory": "128",
    "disksize": "1",
    "accounttype": "0",
    "username": "somebody",
    "password": "a password of tests",
    "email": "a@b.c",
    "firstname": "a",
    "lastname": "b",
    "guestiptype": "Isolated",
    "supportedservices": "Dhcp,Dns",
    "policy": "ALLOWOVERRIDE",
    "userdatapolicy": "ALLOWOVERRIDE",
    "userdata": "IyEvYmluL3NoCg==",
    "publickey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGkS0aC3Mtcbk0KcWcPq4rlCXhqJdBGKFNzGHnkUSXM0 x",
    "vlan": "untagged",
    "name": "a-name",
    "scope": "CLUSTER",
    "startdate": "2026-01-01",
    "enddate": "2026-01-02",
}


def some_id(cloud: Cloud, spec: Param) -> str:
    """The id of something of the kind that the parameter takes."""
    assert spec.resource is not None
    kind = spec.resource
    with cloud.manager.store.read() as tx:
        found = tx.first(kind)
    return found.id if found is not None else NOBODY


def usual(cloud: Cloud, made: Command) -> dict[str, str]:
    """A call of the command as a reasonable caller would make it, as far as can be guessed."""
    params = {}
    for name, spec in made.params.items():
        if spec.refused or not (spec.required or name == "id"):
            continue
        if spec.kind == "map":
            params[f"{name}[0].key"], params[f"{name}[0].value"] = "a", "b"
        elif spec.resource is not None:
            params[name] = some_id(cloud, spec)
        elif spec.choices:
            params[name] = spec.choices[0]
        elif spec.kind in ("integer", "long", "double", "short", "float"):
            params[name] = VALID.get(name, "1")
        else:
            params[name] = VALID.get(name, "a-word")
    return params


def calls(made: Command, base: dict[str, str]) -> Iterator[dict[str, str]]:
    """The usual call, the call without each parameter, and with each parameter spoiled in every way."""
    yield base
    yield {}
    for name in base:
        yield {k: v for k, v in base.items() if k != name}
    for name, spec in made.params.items():
        plain = {k: v for k, v in base.items() if k.partition("[")[0] != name}
        if spec.kind == "map":
            for spoiled in MAPS:
                yield {**plain, **{name + k: v for k, v in spoiled.items()}}
            continue
        for text in IDS if spec.item == "uuid" else FOR_KIND.get(spec.kind, TEXTS):
            yield {**plain, name: text}
        yield {**plain, f"{name}[0].a": "b"}
    yield {**base, "no-such-parameter": "x", "a[b": "c", "]": "d"}


def judged(cloud: Cloud, made: Command, params: dict[str, str], called: Called, before: dict[str, int]) -> str | None:
    """What is wrong with an answer, or None."""
    shown = {k: v[:80] for k, v in params.items()}
    wrong = cloud.log.take()
    if wrong:
        entry = wrong[0]
        return f"{made.name} {shown}: logged {entry.get('event')} {entry.get('error')} {entry.get('trace', '')[-300:]}"
    if called.status not in CODES:
        return f"{made.name} {shown}: status {called.status}"
    if called.status == 200:
        return None
    if called.text == Failed.public or len(called.text) < 12 or "Traceback" in called.text:
        return f"{made.name} {shown}: says only '{called.text}'"
    after = cloud.counts()
    if made.waits:  # its operation came and went: that is history, not a thing
        after = {**after, "asyncjob": before["asyncjob"], "event": before["event"]}
    if after != before:
        changed = {k: (before[k], after[k]) for k in after if after[k] != before[k]}
        return f"{made.name} {shown}: refused ({called.text[:80]}) but changed {changed}"
    return None


NAMES = sorted(COMMANDS, key=lambda n: (bool(ENDING.match(n)), n))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in NAMES if not COMMANDS[n].open])
def test_every_parameter(cloud: Cloud, name: str) -> None:
    """Every command, every parameter, every kind of nonsense."""
    made = COMMANDS[name]
    faults: list[str] = []
    cloud.log.take()
    for params in calls(made, usual(cloud, made)):
        before = cloud.counts()
        called = cloud.call(name, **params)
        fault = judged(cloud, made, params, called, before)
        if called.status == 200 or made.waits:
            cloud.idle()
        if fault is not None:
            faults.append(fault)
    cloud.idle()
    assert not cloud.log.take()
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults[:12])


def sane(value: Any) -> bool:
    """Whether an answer holds no control character."""
    return "\x00" not in str(value) and "\x1b" not in str(value)


def test_lists_show_what_was_stored(cloud: Cloud) -> None:
    """Every list still answers after all that, in both formats."""
    for name, made in COMMANDS.items():
        if made.reads and made.shape == "list":
            given = {"listall": "true", **usual(cloud, made)}
            if "id" in given and not made.params["id"].required:
                del given["id"]
            if {NOBODY, "a-word"} & set(given.values()) or made.asks is not None:
                continue  # a list of what belongs to one thing, or lies in a directory, and there is none here
            called = cloud.call(name, **given)
            assert called.status == 200, (name, called.text)
            assert sane(called.body)
