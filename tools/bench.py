"""How fast and how small this Mold is, on this machine, in one run: `make bench`, or parts with --only.

Every line stands beside something measured in the same run: the raw driver, a bare handler, an empty database.
Ratios can be trusted; absolute rates drift with the machine and its other work.  PostgreSQL runs privately with
fsync and synchronous_commit on, as in the product; SQLite as the product opens it.  Only loopback is used.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
import private_postgres  # noqa: E402 - found by the line above

PORT = int(os.environ.get("MOLD_BENCH_PORT", "19500"))
WAIT_SECONDS = 120


class Bench:
    """One run: its folder, its databases, the rows of its table."""

    def __init__(self, quick: bool, folder: Path, postgres: str | None, kinds: list[str]) -> None:
        self.quick = quick
        self.kinds = kinds
        self.folder = folder
        self.postgres = postgres
        self.machines = 10_000 if quick else 200_000
        self.clouds: dict[str, tuple[str, Path, dict[str, Any]]] = {}
        self.keep = contextlib.ExitStack()
        self.number = 0

    def empty(self, kind: str) -> tuple[str, Path]:
        """A new database's URL and a data folder."""
        self.number += 1
        data = self.folder / str(self.number)
        data.mkdir()
        if kind == "SQLite":
            return f"sqlite:///{data / 'mold.db'}", data
        assert self.postgres is not None
        return self.keep.enter_context(private_postgres.database(self.postgres, f"bench_{self.number}")), data

    def full(self, kind: str) -> tuple[str, Path, dict[str, Any]]:
        """A cloud with all the machines, made once per database."""
        if kind not in self.clouds:
            url, data = self.empty(kind)
            say(f"filling {kind} with {self.machines:,} machines")
            here = inside(
                "prepare", url, data, {"tenants": self.machines // 100, "hosts": self.machines // 50, "machines": self.machines}
            )  # fmt: skip
            self.clouds[kind] = (url, data, here)
        return self.clouds[kind]


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"  … {text}", file=sys.stderr, flush=True)


def row(what: str, kind: str, value: str, beside: str = "") -> None:
    """Print one line of the table."""
    print(f"{what:<42} {kind:<11} {value:<44} {beside}", flush=True)


def ms(seconds: float) -> str:
    """Milliseconds, for people."""
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"


def inside(name: str, url: str, data: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Take a measure in a process of its own."""
    done = subprocess.run(
        [sys.executable, HERE / "bench_inside.py", name, url, data],
        input=json.dumps(options).encode(), stdout=subprocess.PIPE, check=False, timeout=900,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"bench: {name} failed")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@contextlib.contextmanager
def running(argv: list[Any], **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended, by its own pid, with the block."""
    process = subprocess.Popen([str(a) for a in argv], **more)
    try:
        yield process
    finally:
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def answers(port: int, process: subprocess.Popen[bytes]) -> float:
    """Seconds until a manager answers its first request."""
    began = time.perf_counter()
    while time.perf_counter() - began < WAIT_SECONDS:
        if process.poll() is not None:
            raise SystemExit("bench: the manager ended; its messages are above")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/?command=listCapabilities&response=json", timeout=5):
                return time.perf_counter() - began
        except OSError:
            time.sleep(0.01)
    raise SystemExit("bench: the manager did not answer")


@contextlib.contextmanager
def manager(url: str, data: Path) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """The real management server on the bench's ports, and how long it took to answer."""
    argv = [sys.executable, "-m", "mold.server.main", "--data-dir", data, "--database", url, "--port", PORT,
            "--agent-port", PORT + 1, "--integration-port", PORT + 2]  # fmt: skip
    environment = {**os.environ, "MOLD_ADMIN_PASSWORD": "bench", "MOLD_LOG": "ERROR"}
    with running(argv, env=environment) as process:
        yield process, answers(PORT + 2, process)


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"bench: process {pid} is gone")


# -- the lines -------------------------------------------------------------------------------------------------------


def start(bench: Bench) -> None:
    """Process start to first answer, with an empty database (tables are made) and with all the machines."""
    for kind in bench.kinds:
        url, data = bench.empty(kind)
        times: dict[str, list[float]] = {"first start, empty": [], f"start, {bench.machines:,} machines": []}
        with manager(url, data) as (_, seconds):
            times["first start, empty"].append(seconds)
        url, data, _ = bench.full(kind)
        for _ in range(1 if bench.quick else 3):
            with manager(url, data) as (_, seconds):
                times[f"start, {bench.machines:,} machines"].append(seconds)
        for what, found in times.items():
            row(what, kind, f"{statistics.median(found):.2f} s", "goal ≤ 5 s")


def reads(bench: Bench) -> None:
    """Small reads over HTTP by concurrent clients, beside a bare Starlette handler in the same server setup."""
    from bench_cloud import Tenant
    from bench_inside import signed

    clients = 16
    seconds = 0.6 if bench.quick else 1.5
    for kind in bench.kinds:
        url, data, here = bench.full(kind)
        who = Tenant(**here["tenants"][0])

        def path(port: int, params: dict[str, str]) -> str:
            from urllib.parse import urlencode

            return f"{port} {'/client/api' if port == PORT else '/'}?{urlencode(params)}"

        one = {"command": "listVirtualMachines", "response": "json"}
        cases = {
            "bare handler": [f"{PORT + 3} /"],
            "listCapabilities, signed": [path(PORT, signed({"command": "listCapabilities"}, who))],
            "listZones, signed": [path(PORT, signed({"command": "listZones"}, who))],
            "one machine, signed": [path(PORT, signed({**one, "id": vm}, who)) for vm in here["machines"]],
            "listCapabilities, integration": [path(PORT + 2, {"command": "listCapabilities", "response": "json"})],
            "one machine, integration": [path(PORT + 2, {**one, "id": vm}) for vm in here["machines"]],
        }
        found: dict[str, list[dict[str, float]]] = {}
        with (
            manager(url, data),
            running([sys.executable, HERE / "bench_load.py", "reference", PORT + 3], stdin=subprocess.PIPE),
        ):
            time.sleep(1)
            for turn in range(2 if bench.quick else 4):
                for name, lines in cases.items():
                    done = subprocess.run(
                        [sys.executable, HERE / "bench_load.py", "http", str(clients), str(seconds if turn else 0.3)],
                        input="\n".join(lines).encode(), stdout=subprocess.PIPE, check=True, timeout=60,
                    )  # fmt: skip
                    if turn:  # the first warms up
                        found.setdefault(name, []).append(json.loads(done.stdout))
        bare = statistics.median(f["rate"] for f in found["bare handler"])
        for name, rounds in found.items():
            rate, p50, p99 = (statistics.median(f[k] for f in rounds) for k in ("rate", "p50", "p99"))
            wrong = sum(int(f["wrong"]) for f in rounds)
            beside = f"bare handler × {bare / rate:.2f}; goal ≥ 1,500/s" if name != "bare handler" else ""
            row(
                f"{name}, {clients} clients", kind, f"{rate:,.0f}/s, p50 {ms(p50)}, p99 {ms(p99)}",
                beside + (f"; {wrong} REFUSED" if wrong else ""),
            )  # fmt: skip


def pages(bench: Bench) -> None:
    """Pages of machines, through the door, beside the raw driver with the same joins and the same JSON."""
    for kind in bench.kinds:
        url, data, here = bench.full(kind)
        rounds = 7 if bench.quick else 25
        told = inside("pages", url, data, {"here": here, "machines": bench.machines, "rounds": rounds})
        for name, each in told.items():
            row(
                name, kind, f"{ms(each['door'])}, p99 {ms(each['p99'])}, {each['statements']} statements",
                f"raw {ms(each['raw'])} × {each['door'] / each['raw']:.2f}; goal ≤ 2 × raw,"
                f" p99 ≤ {40 if '100' in name.split() else 150} ms"
                + (f"; DIFFERS: {each['same']}" if each["same"] else ""),
            )  # fmt: skip


def singles(bench: Bench) -> None:
    """Single signed reads, and a deploy up to its job id, one at a time."""
    for kind in bench.kinds:
        url, data, here = bench.full(kind)
        told = inside("singles", url, data, {"here": here, "rounds": 50 if bench.quick else 200})
        for name, each in told.items():
            row(
                name, kind, f"{ms(each['p50'])}, p99 {ms(each['p99'])}, {each['statements']} statements",
                f"CPU {ms(each['manager'])}, PostgreSQL {ms(each['postgres'])}; goal ≤ {20 if 'accepted' in name else 5} ms",
            )  # fmt: skip


def wire(bench: Bench) -> None:
    """What a signature costs beside the same command without one, and XML beside JSON."""
    for kind in bench.kinds:
        url, data, here = bench.full(kind)
        told = inside("wire", url, data, {"here": here, "rounds": 20 if bench.quick else 60})
        row(
            "a signed command that does nothing", kind, f"{told['signed'] * 1000:.2f} ms",
            f"unsigned {told['unsigned'] * 1000:.2f} ms: {(told['signed'] - told['unsigned']) * 1000:.2f} ms more; goal ≤ 1 ms"
            f" (signature alone {told['verify'] * 1000:.3f} ms)",
        )  # fmt: skip
        row(
            "500 machines in XML", kind, f"{ms(told['xml'])}, {told['xml bytes'] // 1024} KiB",
            f"JSON {ms(told['json'])}, {told['json bytes'] // 1024} KiB: × {told['xml'] / told['json']:.2f}",
        )  # fmt: skip


def deploys(bench: Bench) -> None:
    """Machines deployed on simulated hosts by fifty tenants at once, and placement alone."""
    for kind in bench.kinds:
        url, data = bench.empty(kind)
        options = {"tenants": 20 if bench.quick else 50, "hosts": [100, 10_000], "rounds": 1 if bench.quick else 3,
                   "deploys": 100 if bench.quick else 500, "clients": 16, "decisions": 50 if bench.quick else 300}  # fmt: skip
        told = inside("deploys", url, data, options)
        row("statements of a deploy", kind, f"{told['statements']['all']} (BEGIN and COMMIT not counted)")
        for hosts in options["hosts"]:
            each = told[str(hosts)]
            of = f"{hosts:,} hosts"
            row(
                f"deploys, 16 at once, {of}",
                kind,
                f"{each['rate']:.0f}/s; CPU each {ms(each['cpu'])}, PostgreSQL {ms(each['postgres'])}",
                "goal ≥ 150/s; fsync on",
            )
            row(f"  accepted, 16 at once, {of}", kind, "p50 {}, p99 {}".format(*map(ms, each["accepted"])))
            row(f"  running, 16 at once, {of}", kind, "p50 {}, p99 {}".format(*map(ms, each["complete"])))
            row(
                f"  one alone, {of}",
                kind,
                "accepted {}, running {}".format(*map(ms, each["alone"])),
                "goal accepted ≤ 20 ms",
            )
            row(
                f"  placement alone, {of}",
                kind,
                "p50 {}, p99 {}".format(*map(ms, each["placement"])),
                "goal p99 ≤ 10 ms",
            )


def agents(bench: Bench) -> None:
    """Agents over mutual TLS: what each costs the manager in memory, and how long all need to come back."""
    kind = bench.kinds[0]
    for count in (500,) if bench.quick else (500, 2000):
        url, data = bench.empty(kind)
        inside("certificates", url, data, {"agents": count})
        with contextlib.ExitStack() as stack:
            serving = contextlib.ExitStack()
            stack.callback(serving.close)
            process, _ = serving.enter_context(manager(url, data))
            time.sleep(1)
            before = memory(process.pid)
            crowd = stack.enter_context(
                running([sys.executable, HERE / "bench_load.py", "agents", count, PORT + 1, data / "agents"],
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )  # fmt: skip
            first = heard(crowd)
            time.sleep(3)
            each = (memory(process.pid) - before) / count
            serving.close()
            serving = contextlib.ExitStack()
            stack.callback(serving.close)
            process, starting = serving.enter_context(manager(url, data))
            answering = time.perf_counter()
            heard(crowd)
            storm = time.perf_counter() - answering
        row(f"{count:,} agents connected", kind, f"{each / 1024:.0f} KiB each, all in after {first:.1f} s")
        row(f"{count:,} agents, manager restarted", kind, f"all back {storm:.1f} s after its first answer",
            f"start {starting:.1f} s; goal ≤ 60 s for 10,000")  # fmt: skip


def heard(crowd: subprocess.Popen[bytes]) -> float:
    """Wait until all agents are in; how long they took."""
    assert crowd.stdout is not None
    ready, _, _ = select.select([crowd.stdout], [], [], WAIT_SECONDS)
    if not ready:
        raise SystemExit("bench: not all agents came in")
    return float(json.loads(crowd.stdout.readline())["all"])


LINES: dict[str, Callable[[Bench], None]] = {
    "start": start,
    "reads": reads,
    "pages": pages,
    "singles": singles,
    "wire": wire,
    "deploys": deploys,
    "agents": agents,
}


def describe(bench: Bench) -> None:
    """Print what this was measured on."""
    import sqlite3

    processor = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
        platform.machine(),
    )  # fmt: skip
    total = int(Path("/proc/meminfo").read_text().split()[1]) / 1024**2
    load = " ".join(f"{n:.2f}" for n in os.getloadavg())
    print(f"{os.cpu_count()} cores ({processor}), {total:.0f} GiB, load {load}, Linux {platform.release()}")
    postgres = "none"
    if (programs := private_postgres.programs()) is not None and bench.postgres:
        postgres = subprocess.run(
            [programs / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout
    print(
        f"Python {platform.python_version()}, {postgres.strip()} (fsync on, on the same machine), SQLite {sqlite3.sqlite_version}"
    )
    print(f"{bench.machines:,} machines; medians of rounds in turns\n")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument(
        "--quick", action="store_true", help="smaller, on one database, about a minute; for a look, not for a record"
    )
    parser.add_argument("--only", choices=list(LINES), action="append", help="only this (may be repeated)")
    parser.add_argument("--database", choices=["postgres", "sqlite"], help="only on this database")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="mold-bench-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        url = None
        if given.database != "sqlite" and private_postgres.programs() is not None:
            url = stack.enter_context(private_postgres.server(private_postgres.DURABLE))
        kinds = [*(["PostgreSQL"] if url else []), *(["SQLite"] if given.database != "postgres" else [])]
        bench = Bench(given.quick, folder, url, kinds[:1] if given.quick else kinds)
        stack.enter_context(bench.keep)
        describe(bench)
        for name in given.only or LINES:
            LINES[name](bench)
    print(f"\n{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
