"""The topology: zone, way out, network and machines as a tenant sees them, live, by keyboard, as a list, and with many."""

from __future__ import annotations

import re
import sqlite3
import time
import uuid
from typing import Any

import pytest
from browserkit import PHONE, window
from clouds import Running
from clouds import running_here as running  # noqa: F401
from playwright.sync_api import Browser, expect
from test_app import KOREAN, state, url  # noqa: F401
from test_tenant import commands, english, looked_at

from mold.cli.client import Cloud
from mold.cli.profiles import Connection

pytestmark = pytest.mark.browser
NAME, PASSWORD = "jiwoo", "Jiwoo-2026!"


@pytest.fixture(scope="module")
def own(running: Running) -> Cloud:  # noqa: F811
    """A tenant's cloud: two networks, two machines in the one, one of which is in the other too."""
    admin = Cloud(Connection("test", {n: running.about[n] for n in ("url", "apikey", "secretkey")}))
    role = next(r for r in admin.call("listRoles", {})["role"] if r["name"] == "User")
    about = {"firstname": "지우", "lastname": "박", "email": "jiwoo@example.com", "roleid": role["id"]}
    made = admin.call("createAccount", {"username": NAME, "password": PASSWORD, **about})
    keys = admin.call("registerUserKeys", {"id": made["account"]["user"][0]["id"]})["userkeys"]
    mine = Cloud(Connection("test", {"url": str(running.about["url"]), **{n: keys[n] for n in ("apikey", "secretkey")}}))
    first = admin.call("listVirtualMachines", {"name": "first"})["virtualmachine"][0]
    offering = admin.call("listNetworks", {"name": "first-network"})["network"][0]["networkofferingid"]
    networks = [
        mine.call("createNetwork", {"name": name, "displaytext": name, "networkofferingid": offering,
                                    "zoneid": first["zoneid"], "gateway": f"10.{n}.0.1", "netmask": "255.255.255.0"})
        ["network"]["id"]
        for n, name in enumerate(("사무실", "연구실"), 3)
    ]  # fmt: skip
    for name, where in (("both", networks), ("single", networks[:1])):
        asked = {n: first[n] for n in ("zoneid", "templateid", "serviceofferingid")}
        wait(mine, mine.call("deployVirtualMachine", {**asked, "name": name, "networkids": ",".join(where)}))
    return mine


@pytest.fixture(scope="module")
def signed(browser: Browser, running: Running, own: Cloud) -> dict[str, Any]:  # noqa: F811
    with window(browser, **KOREAN) as (context, page):
        page.goto(url(running))
        page.get_by_label("사용자 이름").fill(NAME)
        page.locator("input[name=password]").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector("#main h1", timeout=30_000)
        return context.storage_state()  # type: ignore[return-value]


def wait(cloud: Cloud, told: dict[str, Any]) -> None:
    """Until a job is done."""
    while (job := cloud.call("queryAsyncJobResult", {"jobid": told["jobid"]}))["jobstatus"] == 0:
        time.sleep(0.2)
    assert job["jobstatus"] == 1, job


def test_from_a_network_to_the_whole_and_to_a_machine(
    browser: Browser,
    running: Running,  # noqa: F811
    signed: Any,
    own: Cloud,
) -> None:
    with window(browser, **KOREAN, storage_state=signed) as (_, page):
        page.set_default_timeout(15_000)
        page.goto(url(running, "networks"))
        page.get_by_role("link", name="연구실").click()
        page.get_by_role("link", name="토폴로지에서 보기").click()
        expect(page.get_by_text("연구실 네트워크만 보고 있습니다.")).to_be_visible()
        expect(page.get_by_role("listitem", name="네트워크 사무실")).to_be_hidden()
        page.get_by_role("button", name="모두 보기").click()
        zone = page.get_by_role("region", name="Zone zone1")
        office, lab = (zone.get_by_role("listitem", name=f"네트워크 {name}") for name in ("사무실", "연구실"))
        for net in (office, lab):  # how it goes out, its gateway, itself
            expect(net.get_by_text("외부 · 공인 IP")).to_be_visible()
            expect(net.get_by_text("게이트웨이")).to_be_visible()
            expect(net.get_by_role("link", name=re.compile("사용 중"))).to_be_visible()
        expect(office.get_by_role("link", name=re.compile(r"single\s*10\.3\.0\.\d+\s*실행 중"))).to_be_visible()
        expect(office.get_by_role("link", name=re.compile("both.*다른 네트워크: 연구실.*실행 중"))).to_be_visible()
        expect(lab.get_by_role("link", name=re.compile("both.*다른 네트워크: 사무실"))).to_be_visible()
        expect(zone.get_by_text("sim-")).to_have_count(0)
        looked_at(page, "topology")
        # A machine in two networks lights up in both.
        office.get_by_role("link", name=re.compile("both")).hover()
        expect(page.locator("a[data-lit]")).to_have_count(2)
        # What happens elsewhere is seen here, without a reload.
        machine = own.call("listVirtualMachines", {"name": "single"})["virtualmachine"][0]["id"]
        own.call("stopVirtualMachine", {"id": machine, "forced": "true"})
        expect(office.get_by_role("link", name=re.compile("single.*정지됨"))).to_be_visible(timeout=30_000)
        # By keyboard alone, there and back.
        page.get_by_label("토폴로지 검색").focus()
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent").startswith("single"):
                break
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="single", level=1)).to_be_visible()
        page.go_back()
        expect(office).to_be_visible()
        page.get_by_label("토폴로지 검색").fill("single")
        expect(lab).to_be_hidden()
        expect(page.get_by_text("네트워크 1개, 가상머신 1개")).to_be_visible()


def test_the_list_beside_the_picture(browser: Browser, running: Running, signed: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=signed) as (_, page):
        page.set_default_timeout(15_000)
        page.goto(url(running, "topology"))
        page.get_by_text("목록", exact=True).click()
        table = page.get_by_role("table", name="토폴로지")
        expect(table.get_by_role("row", name=re.compile("both.*실행 중.*가상머신"))).to_have_count(2)
        expect(table.get_by_role("row", name=re.compile(r"사무실.*네트워크.*10\.3\.0\.0"))).to_be_visible()
        looked_at(page, "topology-list")
        # Turned to cards and back, the rows are as high as before.
        page.set_viewport_size({"width": 390, "height": 844})
        expect(page.get_by_role("list", name="토폴로지")).to_be_visible()
        page.wait_for_timeout(300)
        page.set_viewport_size({"width": 1280, "height": 800})
        expect(table.get_by_role("row", name=re.compile("both")).first).to_have_css("height", "46px")
        page.get_by_role("combobox", name="종류").click()
        page.get_by_role("option", name="가상머신", exact=True).click()
        expect(table).to_have_attribute("aria-rowcount", "4")
        table.get_by_role("row", name=re.compile("both")).first.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="both", level=1)).to_be_visible()


def test_on_a_telephone_the_list_comes_first(browser: Browser, running: Running, signed: Any) -> None:  # noqa: F811
    with window(browser, **PHONE, storage_state=signed) as (_, page):
        page.set_default_timeout(15_000)
        page.goto(url(running, "topology"))
        cards = page.get_by_role("list", name="토폴로지")
        expect(cards.get_by_text("사무실").first).to_be_visible()
        looked_at(page, "phone-topology-list")
        page.get_by_text("그림", exact=True).tap()
        expect(page.get_by_role("listitem", name="네트워크 사무실")).to_be_visible()
        looked_at(page, "phone-topology")
        page.get_by_role("listitem", name="네트워크 연구실").get_by_role("link", name=re.compile("both")).tap()
        expect(page.get_by_role("heading", name="both", level=1)).to_be_visible()


def test_an_admin_sees_routers_in_english_and_dark(browser: Browser, running: Running, state: Any, own: Cloud) -> None:  # noqa: F811
    with window(browser, viewport={"width": 1280, "height": 800}, locale="en-US", color_scheme="dark",
                storage_state=english(state)) as (_, page):  # fmt: skip
        page.set_default_timeout(15_000)
        page.goto(url(running, "topology"))
        net = page.get_by_role("listitem", name="Network first-network")
        expect(net.get_by_role("link", name=re.compile(r"^Virtual router\s*r-\d+-VM\s*Running"))).to_be_visible()
        expect(page.get_by_role("listitem", name="Network 사무실")).to_be_visible()
        looked_at(page, "topology-dark", english=True)
        net.get_by_role("link", name=re.compile("^Virtual router")).click()
        expect(page.get_by_role("heading", name=re.compile(r"r-\d+-VM"), level=1)).to_be_visible()


def test_two_hundred_networks_and_two_thousand_machines(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    many(running, 200, 2000)
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        page.set_default_timeout(30_000)
        page.goto(url(running, "networks"))
        page.wait_for_selector("#main h1")
        asked = commands(page)
        began = time.monotonic()
        page.get_by_role("link", name="토폴로지", exact=True).click()
        expect(page.get_by_role("listitem", name="네트워크 net-0", exact=True)).to_be_visible()
        first = time.monotonic() - began
        expect(page.get_by_text(re.compile(r"네트워크 20\d개, 가상머신 (2,0|[3-9],)\d\d"))).to_be_visible(timeout=30_000)
        net = page.get_by_role("listitem", name="네트워크 net-199", exact=True)
        net.scroll_into_view_if_needed()
        expect(net.get_by_text("정지됨 10")).to_be_visible()
        print(f'first networks after {first:.2f} s, {len(asked)} questions, all after {time.monotonic() - began:.2f} s')
        assert first < 5, f"{first:.1f} s to the first networks"
        assert len(asked) <= 24, asked
        assert asked.count("listNetworks") <= 2, "no question for each network"
        assert page.locator("a.topo-box").count() < 900, "a network with many others beside it shows a number"
        net.get_by_role("button", name="net-199: 가상머신 10개 보기").click()
        expect(net.get_by_role("link", name=re.compile("in-199-"))).to_have_count(10)
        looked_at(page, "topology-many")
        page.get_by_label("토폴로지 검색").fill("in-7-3")
        expect(page.get_by_role("listitem", name="네트워크 net-7", exact=True).get_by_role("link", name=re.compile("in-7-3"))).to_be_visible()  # fmt: skip
        expect(page.get_by_text(re.compile("네트워크 1개, 가상머신 1개"))).to_be_visible()


def many(cloud: Running, networks: int, machines: int) -> None:
    """So many networks with stopped machines in them, put straight into the database: making them takes long."""
    base = sqlite3.connect(next(cloud.data.glob("*.db")), timeout=60)

    def copies(table: str, where: str, changes: list[dict[str, Any]]) -> None:
        row = base.execute(f"SELECT * FROM {table} WHERE {where}")
        names = [d[0] for d in row.description]
        old = dict(zip(names, row.fetchone(), strict=True))
        quoted = '"{}"'.format
        base.executemany(
            f"INSERT INTO {table} ({', '.join(map(quoted, names))}) VALUES ({', '.join('?' * len(names))})",
            [[{**old, "number": None, **each}[n] for n in names] for each in changes],
        )

    nets = [str(uuid.uuid4()) for _ in range(networks)]
    vms = [str(uuid.uuid4()) for _ in range(machines)]
    here = [(n % networks, n // networks) for n in range(machines)]
    with base:
        copies("network", "name = 'first-network'",
               [{"id": id, "name": f"net-{n}", "displaytext": "", "tag": None, "state": "Allocated"}
                for n, id in enumerate(nets)])  # fmt: skip
        copies("virtualmachine", "name = 'first'",
               [{"id": id, "name": f"in-{net}-{n}", "display_name": f"in-{net}-{n}", "state": "Stopped",
                 "host_id": None, "instance_name": None} for id, (net, n) in zip(vms, here, strict=True)])  # fmt: skip
        copies("nic", "host_name = 'first'",
               [{"id": str(uuid.uuid4()), "machine_id": id, "network_id": nets[net], "ip": f"10.1.1.{n + 20}",
                 "mac": f"02:00:00:00:{net:02x}:{n:02x}", "host_name": f"in-{net}-{n}"}
                for id, (net, n) in zip(vms, here, strict=True)])  # fmt: skip
    base.close()
