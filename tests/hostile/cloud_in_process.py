"""A whole cloud in this process: a manager in a thread, simulated hosts, and everything that it logs."""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import traceback
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

from mold.api.door import Answer, Request
from mold.api.sign import candidates, sign
from mold.cli.quickstart import Builder
from mold.server.app import Manager, Options
from mold.store import metadata

PASSING = {"session", "lease", "held", "link", "http_session"}
"""Tables that live on their own: leases of managers, sessions."""


class Called:
    """An answer, taken apart."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.raw = answer.body
        (self.envelope, self.body) = next(iter(json.loads(answer.body).items()))

    @property
    def text(self) -> str:
        """The sentence of a refusal."""
        return str(self.body.get("errortext", ""))


class Log:
    """What was logged; as structlog's processor it keeps everything and prints nothing."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def __call__(self, logger: Any, method: str, event: dict[str, Any]) -> Any:
        trace = traceback.format_exc() if event.get("exc_info") else ""
        self.entries.append({**event, "method": method, "trace": trace})
        raise structlog.DropEvent

    def take(self) -> list[dict[str, Any]]:
        """What was logged since the last look and names an exception."""
        found, self.entries = (
            [e for e in self.entries if e.get("exc_info") or e["method"] in ("exception", "error")],
            [],
        )
        return found


class Cloud:
    """The cloud. `call` asks as admin, with a signature."""

    def __init__(self, folder: Path, hosts: int = 2) -> None:
        self.log = Log()
        self._kept = structlog.get_config()
        structlog.configure(processors=[self.log])
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.folder = folder
        self.manager = Manager(Options(folder, admin_password="a password of tests"))
        self.wait(self.manager.start(agents=False))
        self._counts = self._count_statement()
        self.keys: dict[str, str] = {}
        system = {"integration": True}
        (admin,) = self.ask({"command": "listUsers", "username": "admin"}, **system).body["user"]
        self.keys = self.ask({"command": "registerUserKeys", "id": admin["id"]}, **system).body["userkeys"]
        chosen = argparse.Namespace(simulator=True, hosts=hosts, data_dir=folder)
        subnet = {"subnet": "172.30.251.0/24", "host": "x", "bridge": "x", "instance": "x"}
        builder = Builder(chosen, _Caller(self), subnet)  # type: ignore[arg-type]
        zone = builder.build()
        builder.machine(zone["id"], builder.template(zone["id"]))

    def wait(self, work: Any) -> Any:
        """The result of a coroutine in the manager's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(90)

    def call(self, command: str, **params: str) -> Called:
        """Ask a command as admin."""
        signed = {"response": "json", "command": command, **params, "apikey": self.keys["apikey"]}
        signed["signature"] = sign(next(iter(candidates(signed))), self.keys["secretkey"])
        return self.ask(signed)

    def ask(self, params: dict[str, str], **about: Any) -> Called:
        """Ask with these parameters as they are."""
        request = Request(params={"response": "json", **params}, base_url="http://x/client", **about)
        return Called(self.wait(self.manager.door.answer(request)))

    def ok(self, command: str, **params: str) -> dict[str, Any]:
        """Ask, and wait for the job; the answer, which must be no refusal."""
        called = self.call(command, **params)
        assert called.status == 200, called.raw
        if "jobid" not in called.body:
            return dict(called.body)
        job = self.wait(self.manager.engine.finished(called.body["jobid"], 60))
        assert job.status == 1, (command, job.error)
        return dict(self.call("queryAsyncJobResult", jobid=job.id).body["jobresult"])

    def failed(self, command: str, **params: str) -> dict[str, Any]:
        """Ask, and wait for the job, which must fail; its error."""
        called = self.call(command, **params)
        if called.status != 200:
            return dict(called.body)
        job = self.wait(self.manager.engine.finished(called.body["jobid"], 120))
        assert job.status == 2, (command, job.error)
        return dict(self.call("queryAsyncJobResult", jobid=job.id).body["jobresult"])

    def idle(self) -> None:
        """Wait until no operation is under way."""
        self.wait(self.manager.engine.idle(60))

    def _count_statement(self) -> Any:
        tables = [t for t in metadata.sorted_tables if t.name not in PASSING]
        self.names = [t.name for t in tables]
        return sa.select(*(sa.select(sa.func.count()).select_from(t).scalar_subquery() for t in tables))

    def counts(self) -> dict[str, int]:
        """How many rows each table has."""
        with self.manager.store.read() as tx:
            return dict(zip(self.names, tx.execute(self._counts).one(), strict=True))

    def world(self) -> dict[str, Any]:
        """What lies on the simulated hosts and storages."""
        simulator = self.manager.hub.simulator
        return {
            "machines": {h: sorted(b.machines) for h, b in simulator.boxes.items() if b.machines},
            "routers": {h: sorted(b.routers) for h, b in simulator.boxes.items() if b.routers},
            "volumes": {s: sorted(v.volumes) for s, v in simulator.stores.items() if v.volumes},
            "images": {s: sorted(v.images) for s, v in simulator.stores.items() if v.images},
        }

    def close(self) -> None:
        """Stop the manager."""
        self.wait(self.manager.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        structlog.configure(**self._kept)


class _Caller:
    """What `Builder` calls through."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def call(self, command: str, params: dict[str, str], **_: Any) -> dict[str, Any]:
        """The command's answer, which must be no refusal."""
        called = self.cloud.call(command, **params)
        assert called.status == 200, (command, params, called.raw)
        return dict(called.body)
