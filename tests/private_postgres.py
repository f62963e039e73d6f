"""A private PostgreSQL server for tests and measurements: its own folder, its own socket, no TCP port, ended by its pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

START_SECONDS = 60.0
CARELESS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "64MB"}
"""For tests: nothing survives the machine, everything is quick."""
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "shared_buffers": "512MB"}
"""For measurements: a commit is on disk when it returns, as in the product."""


def programs() -> Path | None:
    """The folder of the newest PostgreSQL's server programs; Debian keeps them off the PATH."""
    if (on_path := shutil.which("initdb")) is not None:
        return Path(on_path).resolve().parent  # where all of them are
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(versions, key=lambda folder: int(folder.parent.name), default=None)


@contextlib.contextmanager
def server(options: dict[str, str]) -> Iterator[str]:
    """Run a server with these settings; gives the URL of its database `postgres`, whose user may make others."""
    found = programs()
    if found is None:
        raise RuntimeError("PostgreSQL is not installed (make setup installs it)")
    # Not pytest's tmp_path: only its owner may enter that, and the server runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="mold-postgres-"))
    user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
        shutil.chown(folder, "postgres", "postgres")
    data, log = folder / "data", folder / "server.log"
    given = {"listen_addresses": "", "unix_socket_directories": str(folder), "max_connections": "200", **options}
    settings = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
    process: subprocess.Popen[bytes] | None = None
    try:
        subprocess.run(
            [*user, found / "initdb", "-D", data, "-U", "mold", "--auth=trust", "--encoding=UTF8", "--no-locale",
             "--no-sync"], check=True, capture_output=True, cwd=folder,
        )  # fmt: skip
        with log.open("wb") as output:
            # setpriv becomes the server, so the pid is the server's own.
            process = subprocess.Popen(
                [*user, found / "postgres", "-D", data, *settings], stdout=output, stderr=output, cwd=folder
            )
        url = f"postgresql://mold@/postgres?host={folder}"
        _wait(url, process, log)
        yield url
    finally:
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)  # "fast": connections are cut, the server ends cleanly
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGQUIT)
                process.wait(30)
        shutil.rmtree(folder)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}") from None
            time.sleep(0.05)


@contextlib.contextmanager
def database(server_url: str, name: str) -> Iterator[str]:
    """An empty database of a running server, dropped at the end."""
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            yield server_url.replace("/postgres?", f"/{name}?")
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
