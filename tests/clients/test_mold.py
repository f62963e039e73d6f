"""Our own command line, as a program of its own, against a real manager."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from clouds import Running

Ran = subprocess.CompletedProcess[str]
Mold = Callable[..., Ran]


@pytest.fixture
def mold(running: Running, tmp_path: Path) -> Mold:
    """Run `mold --data-dir …` with an empty home."""

    def run(*words: str) -> Ran:
        home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"), "LC_ALL": "C.UTF-8"}
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MOLD_", "XDG_"))}
        return subprocess.run(
            [sys.executable, "-m", "mold.cli.main", "--data-dir", str(running.data), *words],
            capture_output=True,
            text=True,
            timeout=60,
            env={**environment, **home, "XDG_CACHE_HOME": str(tmp_path.parent / "cli-cache")},
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return run


PLACE = ("zoneid=zone1", "templateid=tiny-linux", "serviceofferingid=Tiny", "networkids=first-network")


def test_a_list_in_every_form(mold: Mold) -> None:
    """The same list as table, csv, names and JSON."""
    table = mold("list", "zones")
    assert table.returncode == 0, table.stderr
    heading, row = table.stdout.splitlines()
    assert heading.split()[:2] == ["NAME", "ALLOCATIONSTATE"]
    assert row.split()[:2] == ["zone1", "Enabled"]
    assert mold("list", "zones", "-o", "name").stdout == "zone1\n"
    (record,) = csv.DictReader(io.StringIO(mold("list", "zones", "-o", "csv").stdout))
    assert (record["name"], record["networktype"]) == ("zone1", "Advanced")
    answer = json.loads(mold("list", "zones", "-o", "json").stdout)
    assert answer["count"] == 1
    assert answer["zone"][0]["id"] == record["id"]
    assert mold("list", "zones", "--columns", "name,id", "--no-header").stdout.split() == ["zone1", record["id"]]


def test_a_machine_by_a_curated_verb(mold: Mold) -> None:
    """What README says: the only zone goes without saying; what would happen is told before."""
    name = f"cli-{uuid.uuid4().hex[:8]}"
    line = ("vm", "create", name, "--image", "tiny-linux", "--offering", "Tiny", "--network", "first-network")
    told = mold(*line, "--explain")
    assert told.returncode == 0 and "3 hosts can take it, 0 cannot." in told.stdout, told.stderr
    made = mold(*line, "-o", "json", "--query", "virtualmachine.[name, state]")
    assert made.returncode == 0 and json.loads(made.stdout) == [name, "Running"], made.stderr
    assert mold("vm", "list", "--filter", f"name={name}", "--columns", "state", "--no-header").stdout == "Running\n"
    assert mold("vm", "destroy", name, "--expunge").returncode == 2  # nobody to ask
    assert mold("vm", "destroy", name, "--expunge", "--yes").returncode == 0
    assert mold("vm", "show", name).returncode == 2


def test_a_machine_by_names(mold: Mold) -> None:
    """Deploy, stop, list and destroy with names instead of ids; jobs are waited for."""
    name = f"cli-{uuid.uuid4().hex[:8]}"
    made = mold("deploy", "virtualmachine", f"name={name}", *PLACE, "-o", "json")
    assert made.returncode == 0, made.stderr
    vm = json.loads(made.stdout)["virtualmachine"]
    assert (vm["name"], vm["state"]) == (name, "Running")
    stopped = mold("stop", "virtualmachine", f"id={name}", "-o", "json")
    assert stopped.returncode == 0, stopped.stderr
    assert json.loads(stopped.stdout)["virtualmachine"]["state"] == "Stopped"
    assert name in mold("list", "virtualmachines", "state=Stopped", "-o", "name").stdout.split()
    gone = mold("destroy", "virtualmachine", f"id={name}", "expunge=true", "--yes")
    assert gone.returncode == 0, gone.stderr
    assert name not in mold("list", "virtualmachines", "-o", "name").stdout.split()


def test_a_job_not_waited_for(mold: Mold) -> None:
    """--no-wait prints the job; `mold job watch` waits for it and shows what came of it."""
    name = f"cli-{uuid.uuid4().hex[:8]}"
    job = mold("deploy", "virtualmachine", f"name={name}", *PLACE, "--no-wait")
    assert job.returncode == 0, job.stderr
    assert str(uuid.UUID(job.stdout.strip())) == job.stdout.strip()
    watched = mold("job", "watch", job.stdout.strip(), "-o", "json")
    assert watched.returncode == 0, watched.stderr
    assert json.loads(watched.stdout)["virtualmachine"]["name"] == name
    jobs = mold("job", "list", "--columns", "cmd,jobstatus,jobid", "--no-header").stdout.splitlines()
    assert ["deployVirtualMachine", "done", job.stdout.strip()] in [line.split() for line in jobs]
    assert mold("destroy", "virtualmachine", f"id={name}", "expunge=true", "--yes").returncode == 0


def test_api_as_it_is(mold: Mold) -> None:
    """`mold api` sends a command by its name."""
    assert json.loads(mold("api", "listCapabilities", "-o", "json").stdout)["capability"]["cloudstackversion"]
    assert mold("api", "listZones", "-o", "name").stdout == "zone1\n"


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("list", "nothing"), 2, "There is no command 'list nothing'"),
        (("deploy", "virtualmachine", "zoneid=zone1"), 2, "serviceofferingid"),
        (("deploy", "virtualmachine", "name=x", *PLACE[:2], "serviceofferingid=nope"), 2, "Nothing is called 'nope'"),
        (("deploy", "virtualmachine", "name=no_label", *PLACE), 4, "at most 63 letters"),
        (("api", "listZones", "id=00000000-0000-0000-0000-000000000000"), 4, "entity does not exist"),
        (("--url", "http://127.0.0.1:9/client/api", "list", "zones"), 4, "127.0.0.1:9"),
    ],
)
def test_faults_have_a_code_and_a_sentence(mold: Mold, words: tuple[str, ...], code: int, text: str) -> None:
    """Wrong calls end with 2, refusals with 4; the sentence is on stderr and nothing on stdout."""
    ran = mold(*words)
    assert (ran.returncode, ran.stdout) == (code, ""), ran.stderr
    assert text in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_failed_job(mold: Mold) -> None:
    """A job that fails ends with 5 and the job's own sentence; too little time ends with 6."""
    size = ("cpunumber=64", "cpuspeed=100", "memory=4194304")
    assert mold("create", "serviceoffering", "name=Huge", "displaytext=x", *size).returncode == 0
    ran = mold("deploy", "virtualmachine", "name=huge", *PLACE[:2], "serviceofferingid=Huge", PLACE[3])
    assert ran.returncode == 5
    assert "emory" in ran.stderr
    assert mold("delete", "serviceoffering", "id=Huge", "--yes").returncode == 0


def test_not_signed_in(mold: Mold, running: Running, tmp_path: Path) -> None:
    """Wrong keys end with 3."""
    folder = tmp_path / "other"
    folder.mkdir()
    kept = folder / "quickstart.json"
    kept.touch(0o600)
    kept.write_text(json.dumps({**running.about, "secretkey": "wrong"}))
    ran = mold("--data-dir", str(folder), "list", "zones")
    assert ran.returncode == 3, ran.stderr


def test_the_live_stream(mold: Mold, running: Running, tmp_path: Path) -> None:
    """`mold events -f` tells of what happens elsewhere while it happens; Ctrl-C ends it."""
    line = [sys.executable, "-m", "mold.cli.main", "--data-dir", str(running.data), "events", "-f", "-o", "json"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MOLD_", "XDG_"))}
    stream = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**environment, "HOME": str(tmp_path)}
    )
    try:
        assert stream.stdout is not None and stream.stderr is not None
        name = f"cli-{uuid.uuid4().hex[:8]}"
        told: list[dict[str, object]] = []
        reader = threading.Thread(target=lambda: told.extend(json.loads(row) for row in stream.stdout or ()))
        reader.start()
        until = time.monotonic() + 30
        while time.monotonic() < until and stream.poll() is None and not told:  # until the stream stands
            assert mold("key", "create", name, "-o", "name").returncode == 0
            assert mold("key", "delete", name, "--yes").returncode == 0
        if stream.poll() is not None:
            said = stream.stderr.read()
            assert stream.returncode == 4 and "no live stream" in said, said
            pytest.skip("this server has no live stream")
        assert mold("vm", "stop", "first").returncode == 0
        while time.monotonic() < until and not [row for row in told if row.get("state") == "Stopped"]:  # what is told is as it is then
            time.sleep(0.05)
        assert mold("vm", "start", "first").returncode == 0
        while time.monotonic() < until and not [row for row in told if row.get("cmd") == "startVirtualMachine" and row.get("status") == 1]:  # fmt: skip
            time.sleep(0.1)
        machine = [row["state"] for row in told if row.get("type") == "virtualmachine" and "state" in row]
        assert "Stopped" in machine and machine[-1] == "Running"
    finally:
        stream.send_signal(signal.SIGINT)
        stream.wait(10)
        reader.join(10)
        if stream.stderr is not None:
            stream.stderr.close()
    assert stream.returncode == 130
