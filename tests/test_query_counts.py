"""How many SQL statements things cost. Not how long they take: a count is the same on every machine.

A page must not cost more statements the longer it is, and a deploy not more than it does today; a lower number
is always welcome, a higher one is a regression that no clock in a test would show.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
from bench_cloud import Statements, Tenant, build, call, machines, manager, tenants
from bench_inside import accept, signed

from mold.api.door import Request
from mold.store import Tx, memory

PAGE_AT_MOST = 8
DEPLOY_AT_MOST = 50
SMALL_READ_AT_MOST = 1


async def _filled(made: Any, count: int) -> tuple[dict[str, str], list[Tenant]]:
    here = await build(made)

    def fill(tx: Tx) -> list[Tenant]:
        found = tenants(tx, here, 3)
        machines(tx, here, found, count)
        return found

    return here, await made.engine.writing(fill)


@pytest.fixture
def long_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered for a second is remembered however slow the machine is."""
    monkeypatch.setattr(memory, "FRESH_SECONDS", 600.0)


@pytest.mark.usefixtures("long_memory")
def test_a_long_page_costs_as_many_statements_as_a_short_one(database_url: str, tmp_path: Path) -> None:
    async def go() -> None:
        async with manager(database_url, tmp_path) as made:
            await _filled(made, 300)
            counted = Statements(made.store)
            seen: dict[int, list[str]] = {}
            for size in (10, 200) * 8:  # a reconciler may come in between
                counted.take()
                answer = await call(made, "listVirtualMachines", listall="true", page=1, pagesize=size)
                assert len(answer["virtualmachine"]) == size
                seen[size] = min(seen.get(size, counted.texts), counted.take(), key=len)
            assert len(seen[10]) == len(seen[200]), "\n".join(seen[200])
            assert len(seen[10]) <= PAGE_AT_MOST, "\n".join(seen[10])

    asyncio.run(go())


@pytest.mark.usefixtures("long_memory")
def test_a_deploy_costs_no_more_statements_than_it_did(database_url: str, tmp_path: Path) -> None:
    async def go() -> None:
        async with manager(database_url, tmp_path) as made:
            here, crowd = await _filled(made, 0)
            counted = Statements(made.store)
            wanted = {"command": "deployVirtualMachine", "zoneid": here["zone"], "templateid": here["template"],
                      "serviceofferingid": here["offering"], "networkids": crowd[0].network}  # fmt: skip
            costs = []
            for _ in range(8):  # the first makes the network real; a reconciler may come in between
                counted.take()
                job = await made.engine.finished(await accept(made, wanted, crowd[0]), 30)
                assert job.status == 1, job.error
                await made.engine.idle()
                # A manager that may not be alone tells the others, until its first beat shows that it is.
                costs.append([s for s in counted.take() if "pg_notify" not in s])
            best = min(costs[1:], key=len)
            assert len(best) <= DEPLOY_AT_MOST, "\n".join(best)

    asyncio.run(go())


def test_a_signed_request_costs_one_statement_to_know_who_asks(database_url: str, tmp_path: Path) -> None:
    async def go() -> None:
        async with manager(database_url, tmp_path) as made:
            _, crowd = await _filled(made, 0)
            counted = Statements(made.store)
            costs = []
            for _ in range(5):
                counted.take()
                answer = await made.door.answer(Request(signed({"command": "listCapabilities"}, crowd[0])))
                assert answer.status == 200
                costs.append(len(counted.take()))
            assert min(costs) <= SMALL_READ_AT_MOST

    asyncio.run(go())


@pytest.mark.parametrize("state", ["disabled", "locked"])
def test_a_disabled_user_is_out_with_the_next_request(database_url: str, tmp_path: Path, state: str) -> None:
    """Who may do what is never remembered."""
    import sqlalchemy as sa

    from mold.features.identity.users import User

    async def go() -> None:
        async with manager(database_url, tmp_path) as made:
            _, crowd = await _filled(made, 0)
            request = Request(signed({"command": "listZones"}, crowd[0]))
            assert (await made.door.answer(request)).status == 200
            await made.engine.writing(
                lambda tx: tx.execute(sa.update(User.table).where(User.c.id == crowd[0].user).values(state=state))
            )
            assert (await made.door.answer(request)).status == 401

    asyncio.run(go())


def test_a_renamed_zone_is_shown_at_once(database_url: str, tmp_path: Path) -> None:
    """What is remembered of a row ends with the commit that changes it."""

    async def go() -> None:
        async with manager(database_url, tmp_path) as made:
            here, _ = await _filled(made, 2)
            for name in ("north", "south", "west"):
                await call(made, "updateZone", id=here["zone"], name=name)
                page = await call(made, "listVirtualMachines", listall="true")
                assert {v["zonename"] for v in page["virtualmachine"]} == {name}

    asyncio.run(go())
