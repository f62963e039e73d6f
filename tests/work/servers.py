"""Real processes to kill: management servers, a PostgreSQL, and a client that goes on whatever dies."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psycopg
from workcloud import Refused

from mold.server import simhosts

START_SECONDS = 60.0


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now; from 19100 on, where this machine hands out none by itself."""
    found: list[int] = []
    for port in range(19100, 19200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


class Server:
    """One management server as a process of its own."""

    def __init__(self, folder: Path, database: str, ports: list[int], key: str) -> None:
        self.folder, self.database, self.key = folder, database, key
        self.port, self.agents, self.integration = ports
        self.process: subprocess.Popen[bytes] | None = None
        self.kills = 0

    def start(self) -> None:
        """Start it; `ready` waits until it answers."""
        argv = [sys.executable, "-m", "mold.server.main", "--data-dir", self.folder, "--port", self.port,
                "--agent-port", self.agents, "--integration-port", self.integration]  # fmt: skip
        if self.database:
            argv += ["--database", self.database]
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            environment = {**os.environ, "MOLD_KEY": self.key, "MOLD_ADMIN_PASSWORD": "drill"}
            self.process = subprocess.Popen([str(a) for a in argv], stdout=log, stderr=log, env=environment)

    async def ready(self) -> None:
        """Wait until it answers."""
        until = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(httpx.HTTPError):
                async with httpx.AsyncClient() as client:
                    answer = await client.get(self.url, params={"command": "listZones", "response": "json"}, timeout=5)
                    if answer.status_code == 200:
                        return
            if self.process is None or self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the manager did not start:\n{(self.folder / 'server.log').read_text()[-4000:]}")
            await asyncio.sleep(0.05)

    @property
    def url(self) -> str:
        """Of its integration port."""
        return f"http://127.0.0.1:{self.integration}/client/api"

    def signal(self, number: int) -> None:
        """Send it a signal, by its pid."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.kills += 1
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """End it at the end of a test, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Postgres:
    """A PostgreSQL of a test's own, that can be stopped in the middle of anything."""

    def __init__(self, programs: Path, *, empty: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mold-kill-"))
        self.programs = programs
        self.user: list[str] = []
        if os.geteuid() == 0:
            self.user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
            shutil.chown(self.folder, "postgres", "postgres")
        if not empty:
            subprocess.run(
                [*self.user, programs / "initdb", "-D", self.folder / "data", "-U", "mold", "--auth=trust",
                 "--encoding=UTF8", "--no-locale", "--no-sync"], check=True, capture_output=True, cwd=self.folder,
            )  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql://mold@/postgres?host={self.folder}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = ["listen_addresses=", f"unix_socket_directories={self.folder}", "fsync=off", "max_connections=100"]
        words = [word for each in options for word in ("-c", each)]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.user, self.programs / "postgres", "-D", self.folder / "data", *words],
                stdout=log, stderr=log, cwd=self.folder,
            )  # fmt: skip
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def standby(self) -> Postgres:
        """A second server that follows this one, which from now on commits nothing that the second does not have."""
        second = Postgres(self.programs, empty=True)
        subprocess.run(
            [*self.user, self.programs / "pg_basebackup", "-h", self.folder, "-U", "mold", "-D", second.folder / "data",
             "-R", "-X", "stream", "--checkpoint=fast"], check=True, capture_output=True, cwd=self.folder,
        )  # fmt: skip
        second.start()
        with psycopg.connect(self.url, autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            admin.execute("SELECT pg_reload_conf()")
            until = time.monotonic() + START_SECONDS
            while admin.execute("SELECT sync_state FROM pg_stat_replication").fetchall() != [("sync",)]:
                assert time.monotonic() < until, "the standby does not follow"
                time.sleep(0.05)
        return second

    def promote(self) -> None:
        """Make a standby the server that takes writes."""
        with psycopg.connect(self.url, autocommit=True) as admin:
            # What was copied with the data: it would wait for a standby of its own.
            admin.execute("SELECT pg_promote(true)")
            admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
            admin.execute("SELECT pg_reload_conf()")

    def stop(self) -> None:
        """Immediate stop: as a crash, without a checkpoint; it recovers when it starts."""
        assert self.process is not None
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)

    def end(self) -> None:
        """Stop it and remove its folder."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def new_key() -> str:
    """An installation's key."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


class Client:
    """Asks whichever manager answers. A request whose answer is lost is asked again: commands here are named things."""

    def __init__(self, servers: list[Server]) -> None:
        self.servers = servers
        self.http = httpx.AsyncClient(timeout=httpx.Timeout(8, connect=1), limits=httpx.Limits(max_connections=40))
        self.lost = 0

    async def call(self, command: str, /, **params: Any) -> dict[str, Any]:
        """Ask until somebody answers; Refused when the answer is no."""
        given = {k: str(v) for k, v in params.items() if v is not None}
        until = time.monotonic() + 60
        number = int(time.monotonic() * 1000)
        while True:
            number += 1
            server = self.servers[number % len(self.servers)]
            try:
                answer = await self.http.get(server.url, params={"command": command, "response": "json", **given})
                (body,) = answer.json().values()
                if answer.status_code == 200:
                    return dict(body)
                if answer.status_code != 503:
                    raise Refused(f"{command}: {body.get('errortext')}")
            except (httpx.HTTPError, ValueError):
                self.lost += 1
            if time.monotonic() > until:
                raise TimeoutError(f"nobody has answered {command} for a minute")
            await asyncio.sleep(0.1)

    async def done(self, command: str, /, **params: Any) -> dict[str, Any]:
        """Ask, and wait for the job if there is one; its result."""
        body = await self.call(command, **params)
        if "jobid" not in body:
            return body
        until = time.monotonic() + 90
        while True:
            job = await self.call("queryAsyncJobResult", jobid=body["jobid"])
            if job["jobstatus"] == 1:
                return {**body, **(job.get("jobresult") or {})}
            if job["jobstatus"] == 2:
                raise Refused(f"{command}: {job['jobresult'].get('errortext')}")
            if time.monotonic() > until:
                raise TimeoutError(f"{command} is still under way: {job}")
            await asyncio.sleep(0.1)


def hosts(folder: Path, count: int, servers: list[Server]) -> simhosts.Hosts:
    """Simulated hosts over the real agent link, in this process, which nobody kills."""
    for number in range(1, count + 1):
        simhosts.certify(folder, f"sim-{number}", servers[0].integration)
    return simhosts.Hosts(folder, count, [f"127.0.0.1:{s.agents}" for s in servers])
