"""The live stream with two managers on one PostgreSQL: what either changes is heard at both."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import private_postgres
import pytest
from listening import Listener
from servers import Server, free_ports, new_key
from signing import signature


def call(server: Server, command: str, **params: Any) -> dict[str, Any]:
    answer = httpx.get(server.url, params={"command": command, "response": "json", **params}, timeout=20)
    assert answer.status_code == 200, answer.text
    (body,) = answer.json().values()
    return dict(body)


def until(what: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.1)


def answers(server: Server) -> bool:
    assert server.process is not None and server.process.poll() is None, (server.folder / "server.log").read_text()
    try:
        return httpx.get(server.url, params={"command": "listZones"}, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.postgres
def test_what_one_manager_changes_is_heard_at_the_other(postgres_url: str, tmp_path: Path) -> None:
    key, ports = new_key(), free_ports(6)
    with private_postgres.database(postgres_url, "live_managers") as url:
        servers = [Server(tmp_path / f"m{n}", url, ports[3 * n : 3 * n + 3], key) for n in range(2)]
        try:
            for each in servers:
                each.start()
                until(lambda each=each: answers(each))
            a, b = servers
            admin = call(a, "listUsers", username="admin", listall="true")["user"][0]
            keys = call(a, "registerUserKeys", id=admin["id"])["userkeys"]
            given = {"apiKey": keys["apikey"]}
            signed = {**given, "signature": signature(given, keys["secretkey"])}
            with Listener(f"http://127.0.0.1:{a.port}", signed) as ear:
                ear.until(lambda h: h.name == "hello")
                for n in range(5):  # also right after the first stream was opened
                    began = time.monotonic()
                    made = call(b, "createDomain", name=f"d{n}")["domain"]["id"]
                    heard = ear.of(made)
                    assert heard.body == {"type": "domain", "id": made, "op": "add", "changed": [], **(
                        {"state": heard.body["state"]} if "state" in heard.body else {})}
                    assert heard.at - began < 1.5
                ear.until(lambda h: h.name == "event" and h.body["type"] == "DOMAIN.CREATE")
                job = call(b, "deleteDomain", id=made)["jobid"]
                ear.of(made, op="remove")
                ear.until(lambda h: h.name == "job" and h.body["id"] == job and h.body["status"] == 1)
                assert len([h for h in ear.about(made) if h.body["op"] == "add"]) == 1, "nothing is told twice"
                assert not any(h.name == "reset" for h in ear.heard)
                both = call(a, "createDomain", name="own")["domain"]["id"]
                ear.of(both)
                b.kill()  # it may have had news that nobody will tell
                ear.until(lambda h: h.name == "reset", 20)
                last = ear.last
            b.start()
            until(lambda: answers(b))
            with Listener(f"http://127.0.0.1:{b.port}", signed, last=last) as there:
                there.until(lambda h: h.name == "reset")  # another manager cannot know what the first has told
                there.of(call(a, "createDomain", name="again")["domain"]["id"])
        finally:
            for each in servers:
                each.end()
