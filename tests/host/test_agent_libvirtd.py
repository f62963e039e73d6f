"""The agent while libvirtd is stopped, killed and started again: a libvirtd of the test's own, in a mount namespace."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "agent"))
from agentkit import agent

from mold.agent import facts, machines, pools  # noqa: F401 - they register their calls
from mold.agent.serve import Desk
from mold.wire import calls as w

pytestmark = pytest.mark.host
MIB = 1 << 20
INSIDE = """
mount --make-rprivate / &&
for pair in run:/run/libvirt lib:/var/lib/libvirt cache:/var/cache/libvirt log:/var/log/libvirt; do
  mount --bind "$1/${pair%%:*}" "${pair#*:}" || exit 1
done
exec sleep 100000
"""


class Libvirtd:
    """A libvirtd whose folders are below `folder`; guests it started live on in its namespace."""

    def __init__(self, folder: Path) -> None:
        for name in ("run", "lib", "cache", "log"):
            (folder / name).mkdir(mode=0o755)
        Path("/run/libvirt").mkdir(exist_ok=True)
        self.uri = f"qemu+unix:///system?socket={folder}/run/libvirt-sock"
        self._space = subprocess.Popen(["unshare", "--mount", "sh", "-c", INSIDE, "sh", str(folder)])
        time.sleep(0.3)
        self._folder = folder
        self._logd = self._spawn("virtlogd", "--pid-file", str(folder / "virtlogd.pid"))
        self.process = self._spawn("libvirtd", "--pid-file", str(folder / "libvirtd.pid"))

    def _spawn(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["nsenter", f"--mount=/proc/{self._space.pid}/ns/mnt", *words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    def wait(self) -> None:
        """Until it answers (its first look at QEMU takes seconds)."""
        until = time.monotonic() + 120
        while subprocess.run(["virsh", "-c", self.uri, "version"], capture_output=True, check=False).returncode:
            assert time.monotonic() < until
            time.sleep(0.2)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def start(self) -> None:
        self.process = self._spawn("libvirtd", "--pid-file", str(self._folder / "libvirtd.pid"))
        self.wait()

    def end(self) -> None:
        """End all of it, guests that a failed test left included."""
        for note in (self._folder / "run" / "qemu").glob("*.pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(note.read_text()), signal.SIGKILL)
        for process in (self.process, self._logd, self._space):
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="mold-test-", dir="/var/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def libvirtd(folder: Path) -> Iterator[Libvirtd]:
    made = Libvirtd(folder)
    try:
        made.wait()
        yield made
    finally:
        made.end()


def test_guest_and_agent_outlive_libvirtd(folder: Path, libvirtd: Libvirtd) -> None:
    async def main() -> None:
        async with agent(folder / "agent", domain_type="qemu", hypervisor_uri=libvirtd.uri) as here:
            desk = Desk(here)
            pool = w.PoolSpec(id=str(uuid.uuid4()), type="Filesystem", path=str(folder / "pool"))

            async def ask(call: w.Call, seconds: float = 60) -> w.Reply:
                reply = w.for_manager(await desk.answer(w.Request(n=1, call=call, seconds=seconds)))
                assert isinstance(reply, w.Reply)
                return reply

            async def state(name: str) -> str:
                reply = await ask(w.GetMachine(name=name))
                return reply.error or w.msgspec.msgpack.decode(reply.facts, type=w.MachineFacts).state

            assert not (await ask(w.MountPool(pool=pool))).error
            made = await ask(w.CreateVolume(pool=pool, volume=str(uuid.uuid4()), size=MIB))
            path = w.msgspec.msgpack.decode(made.facts, type=w.VolumeFacts).path
            spec = w.MachineSpec(
                id=str(uuid.uuid4()), name=f"i-2-k{uuid.uuid4().hex[:6]}-VM", cores=1, cpu_mhz=500, memory=64 * MIB, nics=[],
                disks=[w.DiskSpec(pool=pool, path=path, device=0)], vnc_password="secret",
            )  # fmt: skip
            started = await ask(w.StartMachine(machine=spec))
            assert not started.error, started.text
            try:
                reporter = facts.Reporter(here)
                first = await reporter.report()
                assert first is not None and [each.name for each in first.machines] == [spec.name]

                os.kill(libvirtd.process.pid, signal.SIGSTOP)
                began = time.monotonic()
                hung = await ask(w.GetMachine(name=spec.name), seconds=2)
                assert hung.error == "Unreachable" and time.monotonic() - began < 5
                told = await reporter.report()
                assert told is not None and told.machines == first.machines and told.at == first.at and told.problems
                os.kill(libvirtd.process.pid, signal.SIGCONT)
                assert await state(spec.name) == "Running"

                libvirtd.kill()
                assert await state(spec.name) == "Unreachable"
                libvirtd.start()
                assert await state(spec.name) == "Running", "the guest lived on, and the agent found the new libvirtd"
                heard = asyncio.Event()
                end = here.virt.listen(lambda event: heard.set() if event.name == spec.name else None)
                later = await reporter.report()
                assert later is not None and not later.problems and later.at > first.at
                reporter.close()
            finally:
                libvirtd.process.send_signal(signal.SIGCONT)
                stopped = await ask(w.StopMachine(name=spec.name, force=True))
            assert not stopped.error, stopped.text
            await asyncio.wait_for(heard.wait(), 5)
            end()

    asyncio.run(main())
