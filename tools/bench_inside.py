"""Measures taken inside a management server's process, without HTTP. Run by bench.py, one process per measure.

bench_inside.py prepare|pages|singles|wire|deploys|certificates URL FOLDER      options on standard input and results are JSON
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import structlog
import uvloop
from bench_cloud import Spent, Statements, Tenant, build, machines, manager, more_hosts, settle, tenants

from mold.api.door import Request
from mold.api.sign import candidates, sign, verify
from mold.features.compute import placement
from mold.features.compute.machines.row import VirtualMachine
from mold.features.infra import certificates
from mold.server.app import Manager
from mold.work import Job

PAGES = {
    "first page of 500": {"page": 1, "pagesize": 500},
    "500 at nine tenths": {"page": 0, "pagesize": 500},
    "page of 100": {"page": 1, "pagesize": 100},
    "500 of an account": {"page": 1, "pagesize": 500, "account": "tenant-0", "domainid": "$domain"},
    "500 of a zone": {"page": 1, "pagesize": 500, "zoneid": "$zone"},
    "500 that run": {"page": 1, "pagesize": 500, "state": "Running"},
    "500 by keyword": {"page": 1, "pagesize": 500, "keyword": "chine-7"},
    "100 of an account": {"page": 1, "pagesize": 100, "account": "tenant-0", "domainid": "$domain"},
    "100 of a host": {"page": 1, "pagesize": 100, "hostid": "$host"},
    "100 that run": {"page": 1, "pagesize": 100, "state": "Running"},
    "100 by keyword": {"page": 1, "pagesize": 100, "keyword": "chine-7"},
    "500 as a tenant": {"page": 1, "pagesize": 500},
}


def signed(params: dict[str, Any], who: Tenant) -> dict[str, str]:
    """The parameters with key and signature."""
    given = {**{k: str(v) for k, v in params.items()}, "response": "json", "apiKey": who.apikey}
    return {**given, "signature": sign(next(candidates(given)), who.secret)}


# -- the raw driver --------------------------------------------------------------------------------------------------

MACHINE = {
    "id": "m.id", "name": "m.name", "displayname": "m.display_name", "instancename": "m.instance_name",
    "hypervisor": "m.hypervisor", "arch": "m.arch", "state": "m.state", "cpunumber": "m.cpu_number",
    "cpuspeed": "m.cpu_speed", "memory": "m.memory", "haenable": "m.ha_enabled",
    "isdynamicallyscalable": "m.is_dynamically_scalable", "passwordenabled": "m.password_enabled",
    "keypairs": "m.keypairs", "group": 'm."group"', "details": "m.details", "displayvm": "m.display",
    "deleteprotection": "m.delete_protection", "boottype": "m.boot_type", "bootmode": "m.boot_mode",
    "lastupdated": "m.state_since", "created": "m.created", "account": "a.name", "domainid": "d.id", "domain": "d.name",
    "domainpath": "d.path", "projectid": "p.id", "project": "p.name", "zoneid": "z.id", "zonename": "z.name",
    "hostid": "h.id", "hostname": "h.name", "serviceofferingid": "o.id", "serviceofferingname": "o.name",
    "templateid": "t.id", "templatename": "t.name", "templatedisplaytext": "t.displaytext",
    "templatetype": "t.template_type", "templateformat": "t.format", "ostypeid": "s.id", "guestosid": "s.id",
    "osdisplayname": "s.name", "userid": "u.id", "username": "u.username",
}  # fmt: skip
JOINS = """from virtualmachine m join account a on a.id = m.account_id join domain d on d.id = m.domain_id
 join zone z on z.id = m.zone_id join serviceoffering o on o.id = m.service_offering_id
 join template t on t.id = m.template_id left join project p on p.id = m.project_id left join host h on h.id = m.host_id
 left join ostype s on s.id = m.os_type_id left join "user" u on u.id = m.user_id"""
TRUTHS = ("haenable", "isdynamicallyscalable", "passwordenabled", "displayvm", "deleteprotection")


class Raw:
    """The same pages by the bare driver: one statement with all joins, one each for cards and disks, one to count."""

    def __init__(self, url: str) -> None:
        self.postgres = url.startswith("postgresql")
        self.conn: Any
        if self.postgres:
            self.conn = psycopg.connect(
                url, autocommit=True, prepare_threshold=2, options="-c plan_cache_mode=force_generic_plan"
            )
        else:
            self.conn = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
            self.conn.execute("PRAGMA cache_size=-65536")
        self.mark = "%s" if self.postgres else "?"
        self.names = list(MACHINE)
        self.columns = ", ".join(MACHINE.values())

    def rows(self, text: str, given: list[Any]) -> list[Any]:
        """What a statement finds."""
        return list(self.conn.execute(text.replace("?", self.mark), given).fetchall())

    def among(self, column: str, wanted: list[str]) -> tuple[str, list[Any]]:
        """A condition that a column is one of many values."""
        if self.postgres:
            return f"{column} = any(?)", [wanted]
        return f"{column} in ({','.join('?' * len(wanted))})", list(wanted)

    def page(self, where: str, given: list[Any], size: int, offset: int) -> bytes:
        """One page as JSON."""
        found = self.rows(
            f"select {self.columns} {JOINS} where {where} order by m.number limit {size} offset {offset}", given
        )
        out = [{k: v for k, v in zip(self.names, row, strict=True) if v is not None} for row in found]
        if not self.postgres:
            for each in out:
                each.update((k, bool(each[k])) for k in TRUTHS)
        ids = [v["id"] for v in out]
        condition, values = self.among("n.machine_id", ids)
        cards: dict[str, list[dict[str, Any]]] = {}
        for vm, card, ip, mac, device, default, network, name, netmask, gateway, kind, traffic in self.rows(
            f"select n.machine_id, n.id, n.ip, n.mac, n.device, n.is_default, w.id, w.name, w.netmask, w.gateway, w.type,"
            f" w.traffic_type from nic n join network w on w.id = n.network_id where {condition} order by n.number", values
        ):  # fmt: skip
            cards.setdefault(vm, []).append(
                {"id": card, "networkid": network, "networkname": name, "netmask": netmask, "gateway": gateway,
                 "ipaddress": ip, "traffictype": traffic, "type": kind, "isdefault": bool(default), "macaddress": mac,
                 "deviceid": str(device), "secondaryip": [], "extradhcpoption": [], "enabled": True}
            )  # fmt: skip
        condition, values = self.among("k.machine_id", ids)
        pools = dict(
            self.rows(
                "select k.machine_id, s.type from disk k join volume v on v.id = k.volume_id"
                f" left join storagepool s on s.id = v.pool_id where k.device = 0 and {condition}", values
            )
        )  # fmt: skip
        for each in out:
            vm = each["id"]
            each.update(
                nic=cards[vm], ipaddress=cards[vm][0]["ipaddress"], rootdeviceid=0, rootdevicetype="ROOT",
                pooltype=pools[vm], tags=[], securitygroup=[], affinitygroup=[], vmtype="User", forvirtualnetwork=True,
            )  # fmt: skip
        ((count,),) = self.rows(f"select count(*) from virtualmachine m where {where}", given)
        return msgspec.json.encode({"listvirtualmachinesresponse": {"count": count, "virtualmachine": out}})


def raw_condition(case: dict[str, Any], here: dict[str, Any], tenant: bool) -> tuple[str, list[Any]]:
    """The condition of a case in plain SQL."""
    who = here["tenants"][0]
    if tenant:
        return "m.account_id = ? and m.state not in ('Destroyed', 'Expunging')", [who["account"]]
    if "account" in case:
        return "m.account_id = ?", [who["account"]]
    if "hostid" in case:
        return "m.project_id is null and m.host_id = ?", [here["host"]]
    if "zoneid" in case:
        return "m.project_id is null and m.zone_id = ?", [here["zone"]]
    if "state" in case:
        return "m.project_id is null and lower(m.state) = ?", ["running"]
    if "keyword" in case:
        return "m.project_id is null and (lower(m.name) like ? or lower(m.display_name) like ?)", ["%chine-7%"] * 2
    return "m.project_id is null", []


# -- measures --------------------------------------------------------------------------------------------------------


async def prepare(url: str, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """A cloud with so many hosts, tenants and machines."""
    async with manager(url, folder) as made:
        here: dict[str, Any] = await build(made)

        def fill(tx: Any) -> None:
            here["tenants"] = [msgspec.to_builtins(t) for t in tenants(tx, here, options["tenants"])]
            more_hosts(tx, here["host"], options["hosts"] - 1)
            machines(tx, here, [Tenant(**t) for t in here["tenants"]], options["machines"])

        await made.engine.writing(fill)
        settle(made.store)
        first = here["tenants"][0]["account"]
        here["machines"] = await made.engine.reading(
            lambda tx: [v.id for v in tx.find(VirtualMachine, VirtualMachine.c.account_id == first, limit=100)]
        )
    return here


async def pages(url: str, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Pages of machines through the door and by the raw driver, in turns."""
    here = options["here"]
    who = Tenant(**here["tenants"][0])
    raw = Raw(url)
    out: dict[str, Any] = {}
    async with manager(url, folder) as made:
        counted = Statements(made.store)
        times: dict[str, tuple[list[float], list[float]]] = {}
        for turn in range(options["rounds"] + 3):
            for label, case in PAGES.items():
                tenant = label.endswith("tenant")
                params = {"command": "listVirtualMachines", "response": "json", "listall": "true"}
                words = {"$zone": here["zone"], "$domain": who.domain, "$host": here["host"]}
                params.update((k, words.get(str(v), str(v))) for k, v in case.items())
                if params["page"] == "0":
                    params["page"] = str(options["machines"] * 9 // 10 // 500 + 1)
                request = Request(signed(params, who) if tenant else params, integration=not tenant)
                size, number = int(case["pagesize"]), int(params["page"])
                where, given = raw_condition(case, here, tenant)
                counted.take()
                began = time.perf_counter()
                answer = await made.door.answer(request)
                door = time.perf_counter() - began
                statements = len(counted.take())
                began = time.perf_counter()
                body = raw.page(where, given, size, (number - 1) * size)
                bare = time.perf_counter() - began
                if turn < 3:  # plans, caches and prepared statements settle
                    if turn == 0:
                        out[label] = {"same": _compare(answer.body, body, tenant), "bytes": len(answer.body)}
                    continue
                # The fewest: now and then the engine's own housekeeping comes in between.
                out[label]["statements"] = min(statements, out[label].get("statements", statements))
                mine, theirs = times.setdefault(label, ([], []))
                mine.append(door)
                theirs.append(bare)
        for label, (mine, theirs) in times.items():
            out[label].update(
                door=statistics.median(mine), raw=statistics.median(theirs), p99=sorted(mine)[len(mine) * 99 // 100]
            )
    return out


async def singles(url: str, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Small signed requests, one at a time, through the door: how long, and what they cost the manager and PostgreSQL."""
    here = options["here"]
    who = Tenant(**here["tenants"][0])
    out: dict[str, Any] = {}
    async with manager(url, folder) as made:
        deploy = {"command": "deployVirtualMachine", "zoneid": here["zone"], "templateid": here["template"],
                  "serviceofferingid": here["offering"], "networkids": who.network}  # fmt: skip
        job = await made.engine.finished(await accept(made, {**deploy, "startvm": "false"}, who), 60)
        asked = {
            "listVirtualMachines id=": [{"command": "listVirtualMachines", "id": vm} for vm in here["machines"]],
            "queryAsyncJobResult": [{"command": "queryAsyncJobResult", "jobid": job.id}],
            "listZones": [{"command": "listZones"}],
            "deployVirtualMachine, accepted": [{**deploy, "startvm": "false"}],
        }
        counted, spent = Statements(made.store), Spent(made.store)
        for name, wanted in asked.items():
            requests = itertools.cycle([Request(signed(each, who)) for each in wanted])
            times, statements = [], []
            for turn in range(options["rounds"] + 10):
                if turn == 10:  # plans, caches and prepared statements have settled
                    spent.take()
                counted.take()
                began = time.perf_counter()
                answer = await made.door.answer(next(requests))
                times.append(time.perf_counter() - began)
                statements.append(len(counted.take()))
                assert answer.status == 200, answer.body
            manager_seconds, postgres_seconds = spent.take()
            await made.engine.idle(120)
            times = sorted(times[10:])
            out[name] = {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100], "statements": min(statements),
                         "manager": manager_seconds / len(times), "postgres": postgres_seconds / len(times)}  # fmt: skip
            spent.take()
    return out


async def wire(url: str, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """What a signature costs, and a page of 500 machines in JSON and in XML, in turns."""
    here = options["here"]
    who = Tenant(**here["tenants"][0])
    page = {"command": "listVirtualMachines", "listall": "true", "page": "1", "pagesize": "500"}
    out: dict[str, Any] = {}
    async with manager(url, folder) as made:
        bare = Request({"command": "getApiLimit", "response": "json"}, integration=True)
        known = Request(signed({"command": "getApiLimit"}, who))
        forms = {form: Request({**page, "response": form}, integration=True) for form in ("json", "xml")}
        asked = {"unsigned": bare, "signed": known, **forms}
        times: dict[str, list[float]] = {name: [] for name in asked}
        for turn in range(options["rounds"]):
            for name, request in asked.items():
                for _ in range(20 if name.endswith("signed") else 1):
                    began = time.perf_counter()
                    answer = await made.door.answer(request)
                    if turn >= 3:
                        times[name].append(time.perf_counter() - began)
                assert answer.status == 200, answer.body
                if name in forms:
                    out[f"{name} bytes"] = len(answer.body)
        out.update((name, statistics.median(each)) for name, each in times.items())
        low = {k: v for k, v in known.params.items() if k != "signature"}
        began = time.perf_counter()
        for _ in range(1000):
            verify({**low, "signature": known.params["signature"]}, who.secret)
        out["verify"] = (time.perf_counter() - began) / 1000
    return out


def _compare(mine: bytes, theirs: bytes, tenant: bool) -> str:
    """What differs between two pages; empty when nothing does. A tenant is not shown what admins are."""
    a = json.loads(mine)["listvirtualmachinesresponse"]
    b = json.loads(theirs)["listvirtualmachinesresponse"]
    if a["count"] != b["count"] or len(a["virtualmachine"]) != len(b["virtualmachine"]):
        return f"{a['count']} machines against {b['count']}"
    hidden = {"hostid", "hostname", "instancename", "displayvm"} if tenant else set()
    for x, y in zip(a["virtualmachine"], b["virtualmachine"], strict=True):
        odd = sorted(k for k in {*x, *y} - hidden - {"nic"} if x.get(k) != y.get(k))
        if odd:
            return ", ".join(odd)
    return ""


async def deploys(url: str, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Deploys by many tenants at once: a lone one's statements, how fast they are accepted and how fast they are done."""
    out: dict[str, Any] = {}
    async with manager(url, folder) as made:
        here = await build(made)
        crowd = await made.engine.writing(lambda tx: tenants(tx, here, options["tenants"]))
        counted = Statements(made.store)
        over: dict[str, asyncio.Future[Job]] = {}

        def ending(job_id: str) -> asyncio.Future[Job]:
            return over.setdefault(job_id, asyncio.get_running_loop().create_future())

        def told(job: Job, text: str) -> None:
            # It may be over before its answer is back here; jobs nobody waits for stay, and are few.
            if job.phase == "over" and not ending(job.id).done():
                ending(job.id).set_result(job)

        made.engine.on_told.append(told)
        hosts = 1

        async def deploy(who: Tenant) -> tuple[float, float]:
            params = {"command": "deployVirtualMachine", "zoneid": here["zone"], "templateid": here["template"],
                      "serviceofferingid": here["offering"], "networkids": who.network}  # fmt: skip
            began = time.perf_counter()
            job_id = await accept(made, params, who)
            accepted = time.perf_counter() - began
            job = await asyncio.wait_for(ending(job_id), 60)
            del over[job_id]
            if job.status != 1:
                raise RuntimeError(f"deploy failed: {job.error}")
            return accepted, time.perf_counter() - began

        async def several(number: Iterator[int]) -> list[tuple[float, float]]:
            return [await deploy(crowd[n % len(crowd)]) for n in number]

        for who in crowd:  # each network is made real once, which is not what is measured
            await deploy(who)
        counted.take()
        for _ in range(3):
            await asyncio.sleep(0.3)
            counted.take()
            one = asyncio.create_task(deploy(crowd[0]))
            await one
            lone = counted.take()
        cost = Spent(made.store)
        out["statements"] = {"all": len(lone), "texts": lone if options.get("texts") else []}
        for wanted in options["hosts"]:
            if wanted > hosts:
                await made.engine.writing(lambda tx, n=wanted - hosts: more_hosts(tx, here["host"], n))
                settle(made.store)
                hosts = wanted
            line: dict[str, Any] = {}
            rates, spent, accepted, complete = [], [], [], []
            theirs = []
            for _ in range(options["rounds"]):
                cost.take()
                began = time.perf_counter()
                number = iter(range(options["deploys"]))
                found = await asyncio.gather(*(several(number) for _ in range(options["clients"])))
                rates.append(options["deploys"] / (time.perf_counter() - began))
                mine, database = cost.take()
                spent.append(mine / options["deploys"])
                theirs.append(database / options["deploys"])
                for a, c in itertools.chain(*found):
                    accepted.append(a)
                    complete.append(c)
            line["rate"], line["cpu"] = statistics.median(rates), statistics.median(spent)
            line["postgres"] = statistics.median(theirs)
            single = sorted([await deploy(crowd[n % len(crowd)]) for n in range(40)])
            line["alone"] = [statistics.median(s[0] for s in single), statistics.median(s[1] for s in single)]
            for name, values in (("accepted", accepted), ("complete", complete)):
                values.sort()
                line[name] = [values[len(values) // 2], values[len(values) * 99 // 100]]
            line["placement"] = await decisions(made, here, crowd[0], options["decisions"])
            out[str(wanted)] = line
        await made.engine.idle()
    return out


async def accept(made: Manager, params: dict[str, Any], who: Tenant) -> str:
    """The job of a deploy."""
    answer = await made.door.answer(Request(signed(params, who), base_url="http://127.0.0.1/client"))
    body = json.loads(answer.body)["deployvirtualmachineresponse"]
    if answer.status != 200:
        raise RuntimeError(f"deploy refused: {body}")
    return str(body["jobid"])


async def decisions(made: Manager, here: dict[str, str], who: Tenant, count: int) -> list[float]:
    """Half and 99 % of so many placement decisions, each in a transaction of its own that is not kept."""
    times = []

    class NotKept(Exception):
        pass

    def go(tx: Any) -> None:
        need = placement.Need(zone_id=here["zone"], hypervisor="Simulator", arch="x86_64", cores=1, mhz=100,
                              memory=64 << 20, account_id=who.account)  # fmt: skip
        began = time.perf_counter()
        placement.place(tx, need)
        times.append(time.perf_counter() - began)
        raise NotKept

    for _ in range(count + 10):
        try:
            await made.engine.writing(go)
        except NotKept:
            continue
    times = sorted(times[10:])
    return [times[len(times) // 2], times[len(times) * 99 // 100]]


async def certify(url: str, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Certificates for so many agents, as PEM files in FOLDER/agents."""
    target = folder / "agents"
    target.mkdir(mode=0o700)

    async with manager(url, folder) as made:

        def go(tx: Any) -> None:
            for number in range(options["agents"]):
                certificate, key, ca = certificates.issue(tx, f"bench-{number}")
                (target / f"{number}.pem").write_text(key + certificate)
            (target / "ca.pem").write_text(ca)

        await made.engine.writing(go)
    return {}


MEASURES: dict[str, Callable[[str, Path, dict[str, Any]], Any]] = {
    "prepare": prepare,
    "pages": pages,
    "singles": singles,
    "wire": wire,
    "deploys": deploys,
    "certificates": certify,
}


def main() -> None:
    """Take one measure."""
    name, url, folder = sys.argv[1:]
    options = json.loads(sys.stdin.read())
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
                        logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # fmt: skip
    print(json.dumps(uvloop.run(MEASURES[name](url, Path(folder), options))))


if __name__ == "__main__":
    main()
