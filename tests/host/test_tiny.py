"""The tiny template, built and booted for real: QEMU in a network namespace, dnsmasq and a metadata server as router.

The server here speaks the protocol of CloudStack's virtual router; everything else is what a host would use.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

import asyncssh
import pytest

from mold.cli import tiny

pytestmark = pytest.mark.host

SERVER, GUEST, CARD = "10.1.1.1", "10.1.1.10", "52:54:00:4d:6f:01"
BOOT_SECONDS = 180.0
PASSWORD = "Sesam-öffne dich #1/2 & 'x'"
SCRIPT = """#!/bin/sh
echo "ran as $(id -un) on $(hostname)" >> /root/marks
"""

T = TypeVar("T")


def inside(namespace: str, work: Callable[[], T]) -> T:
    """Runs `work` on a thread that has moved into the network namespace; sockets it makes stay there."""

    def moved() -> T:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{namespace}") as handle:
            if libc.setns(handle.fileno(), 0x40000000) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        return work()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(moved).result()


@dataclass
class Cloud:
    """The network with its router: what the machine is told, and what it asked."""

    namespace: str
    folder: Path
    metadata: dict[str, str] = field(default_factory=dict)
    user_data: str = ""
    password: str = "saved_password"
    asked: list[str] = field(default_factory=list)
    dhcp: subprocess.Popen[bytes] | None = None

    def start_dhcp(self) -> None:
        self.dhcp = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null",
             "--no-resolv", "--no-hosts", "--port=0", "--user=root", "--pid-file=", "--interface=tap0",
             f"--dhcp-leasefile={self.folder / 'leases'}", f"--dhcp-range={GUEST},{GUEST},1h",
             f"--dhcp-host={CARD},{GUEST},from-dhcp", "--dhcp-option=option:mtu,1450"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def stop_dhcp(self) -> None:
        if self.dhcp is not None:
            self.dhcp.kill()
            self.dhcp.wait()
            self.dhcp = None


def metadata_handler(cloud: Cloud) -> type[BaseHTTPRequestHandler]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, port = self.server.server_address[:2]
            if port == 8080:
                wish = self.headers.get("DomU_Request", "")
                cloud.asked.append(wish)
                text: str | None = "bad_request"
                if wish == "send_my_password":
                    text = cloud.password
                elif wish == "saved_password":
                    cloud.password = text = "saved_password"
            elif self.path == "/latest/user-data":
                text = cloud.user_data
            else:
                text = cloud.metadata.get(self.path.removeprefix("/latest/meta-data/"))
            self.send_response(404 if text is None else 200)
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Answer


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tiny.TinyImage:
    return tiny.build(tmp_path_factory.mktemp("image") / "tiny.qcow2")


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    cloud = Cloud(f"mt{os.getpid()}", tmp_path)
    in_it = ["ip", "netns", "exec", cloud.namespace]
    servers: list[ThreadingHTTPServer] = []
    subprocess.run(["ip", "netns", "add", cloud.namespace], check=True)
    try:
        for command in (
            ["ip", "link", "set", "lo", "up"],
            ["ip", "tuntap", "add", "dev", "tap0", "mode", "tap"],
            ["ip", "addr", "add", f"{SERVER}/24", "dev", "tap0"],
            ["ip", "link", "set", "tap0", "up"],
        ):
            subprocess.run([*in_it, *command], check=True)
        handler = metadata_handler(cloud)
        for port in (80, 8080):
            server = inside(cloud.namespace, lambda port=port: ThreadingHTTPServer((SERVER, port), handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            servers.append(server)
        yield cloud
    finally:
        cloud.stop_dhcp()
        for server in servers:
            server.shutdown()
            server.server_close()
        subprocess.run(["ip", "netns", "delete", cloud.namespace], check=True)


@dataclass
class Machine:
    """A running QEMU, its control socket and what it wrote on the serial line."""

    process: subprocess.Popen[bytes]
    folder: Path
    cloud: Cloud
    started: float

    def screen(self) -> str:
        serial = self.folder / "serial"  # QEMU makes it a moment after its start
        return serial.read_text(errors="replace") if serial.exists() else ""

    def power_button(self) -> None:
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.folder / "qmp"))
            lines = control.makefile("rw")
            lines.readline()
            for command in ("qmp_capabilities", "system_powerdown"):
                lines.write(json.dumps({"execute": command}) + "\n")
                lines.flush()
                answers = (json.loads(line) for line in lines)  # events come in between
                assert "return" in next(answer for answer in answers if "event" not in answer)

    def ask_agent(self, command: str) -> object:
        """One question to the guest agent."""
        with socket.socket(socket.AF_UNIX) as port:
            port.settimeout(60)
            port.connect(str(self.folder / "agent"))
            lines = port.makefile("rw")
            lines.write(json.dumps({"execute": command}) + "\n")
            lines.flush()
            return json.loads(lines.readline())["return"]

    def run(self, command: str, **login: object) -> tuple[str, str]:
        """Waits until root's ssh answers, runs the command there; gives its output and the host key."""
        return asyncio.run(self._run(command, login))

    async def _run(self, command: str, login: dict[str, object]) -> tuple[str, str]:
        until = time.monotonic() + BOOT_SECONDS
        while True:
            assert self.process.poll() is None, self.screen()
            try:
                reach = lambda: socket.create_connection((GUEST, 22), timeout=2)
                connected = inside(self.cloud.namespace, reach)
                options: dict[str, object] = {
                    "known_hosts": None,
                    "username": "root",
                    "config": None,
                    "agent_path": None,
                    "server_host_key_algs": ["ssh-ed25519"],
                }
                async with asyncssh.connect(GUEST, sock=connected, **(options | login)) as ssh:
                    key = ssh.get_server_host_key()
                    assert key is not None
                    ended = await ssh.run(command, check=True)
                    return str(ended.stdout), key.export_public_key().decode()
            except OSError:
                assert time.monotonic() < until, self.screen()
                await asyncio.sleep(0.1)

    def wait_for(self, path: str, **login: object) -> str:
        return self.run(f"n=0; until [ -s {path} ] || [ $n = 60 ]; do sleep 1; n=$((n+1)); done; cat {path}", **login)[
            0
        ]


@contextmanager
def booted(disk: Path, cloud: Cloud, folder: Path) -> Iterator[Machine]:
    folder.mkdir()
    started = time.monotonic()
    process = subprocess.Popen(
        ["ip", "netns", "exec", cloud.namespace, "qemu-system-x86_64", "-accel", "tcg", "-m", "256",
         "-nodefaults", "-display", "none", "-vga", "std", "-serial", f"file:{folder / 'serial'}",
         "-qmp", f"unix:{folder / 'qmp'},server=on,wait=off", "-drive", f"file={disk},if=virtio",
         "-netdev", "tap,id=net,ifname=tap0,script=no,downscript=no",
         "-device", f"virtio-net-pci,netdev=net,mac={CARD}", "-device", "virtio-serial",
         "-chardev", f"socket,id=agent,path={folder / 'agent'},server=on,wait=off",
         "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"],
    )  # fmt: skip
    try:
        yield Machine(process, folder, cloud, started)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def overlay(image: Path, disk: Path) -> Path:
    """A disk of its own on top of the template, as a machine gets one."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, disk], check=True)
    return disk


def test_the_same_packages_give_the_same_bytes(image: tiny.TinyImage, tmp_path: Path) -> None:
    again = tiny.build(tmp_path / "again.qcow2", work=tmp_path / "work")
    assert again.path.read_bytes() == image.path.read_bytes()
    assert again.checksum == image.checksum
    shown = subprocess.run(["qemu-img", "info", "--output=json", image.path], capture_output=True, check=True).stdout
    assert json.loads(shown)["virtual-size"] == tiny.DISK_BYTES
    assert image.size == image.path.stat().st_size < 32 << 20


def test_a_machine_is_what_its_metadata_says(image: tiny.TinyImage, cloud: Cloud, tmp_path: Path) -> None:
    keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(3)]
    public = [key.export_public_key().decode().strip() for key in keys]
    cloud.metadata = {
        "instance-id": "first", "local-hostname": "web-1", "public-keys": f"{public[0]}\n{public[1]}",
        "availability-zone": "zone one",
    }  # fmt: skip
    cloud.user_data, cloud.password = SCRIPT, PASSWORD
    disk = overlay(image.path, tmp_path / "disk.qcow2")
    first, second = {"client_keys": [keys[0]]}, {"client_keys": [keys[1]]}

    cloud.start_dhcp()
    with booted(disk, cloud, tmp_path / "boot1") as machine:
        named, host_key = machine.run("hostname", **first)
        print(f"ssh answered {time.monotonic() - machine.started:.1f} s after QEMU's start")
        assert named == "web-1\n"
        assert machine.run("cat /proc/sys/net/ipv4/ip_forward /sys/class/net/eth0/mtu", **second)[0] == "0\n1450\n"
        assert machine.wait_for("/root/marks", **first) == "ran as root on web-1\n"
        assert machine.wait_for("/run/mold/metadata.eth0/availability-zone", **first) == "zone one"

        # a client that wants another kind of host key gets one
        rsa_key = machine.run("true", server_host_key_algs=["rsa-sha2-256"], **first)[1]
        assert rsa_key.startswith("ssh-rsa ")

        # the password opens the door, a wrong one and a foreign key do not
        assert cloud.asked == ["send_my_password", "saved_password"]
        assert machine.run("id -un", password=PASSWORD, client_keys=None)[0] == "root\n"
        for wrong in ({"password": "guess", "client_keys": None}, {"client_keys": [keys[2]]}):
            with pytest.raises(asyncssh.PermissionDenied):
                machine.run("true", **wrong)

        assert machine.ask_agent("guest-get-host-name") == {"host-name": "web-1"}
        assert "Mold tiny Linux" in machine.screen()
        assert GUEST in machine.screen()

        pressed = time.monotonic()
        machine.power_button()
        assert machine.process.wait(120) == 0
        print(f"off {time.monotonic() - pressed:.1f} s after the power button")

    # The second boot: the router comes late, the key pair was replaced by the cloud, nothing is made anew.
    cloud.stop_dhcp()
    cloud.metadata["public-keys"] = public[1]
    with booted(disk, cloud, tmp_path / "boot2") as machine:
        until = time.monotonic() + BOOT_SECONDS
        while "still asking by DHCP" not in machine.screen():
            assert time.monotonic() < until, machine.screen()
            time.sleep(0.2)
        cloud.start_dhcp()
        marks, same_key = machine.run("cat /root/marks", **second)
        assert same_key == host_key
        assert marks == "ran as root on web-1\n"
        with pytest.raises(asyncssh.PermissionDenied):
            machine.run("true", **first)
        machine.run("sync", **second)

    # A copy of the disk is another machine: it has its own host key and runs its own script.
    copy = tmp_path / "copy.qcow2"
    shutil.copy(disk, copy)
    cloud.metadata |= {"instance-id": "second", "local-hostname": "web-2"}
    with booted(copy, cloud, tmp_path / "boot3") as machine:
        named, other_key = machine.run("hostname", **second)
        assert named == "web-2\n"
        assert other_key != host_key
        assert machine.run("sleep 3; tail -n 1 /root/marks", **second)[0] == "ran as root on web-2\n"
        assert machine.run("cat /root/.ssh/authorized_keys", **second)[0].splitlines() == [public[1]]


def test_without_keys_and_password_nobody_gets_in(image: tiny.TinyImage, cloud: Cloud, tmp_path: Path) -> None:
    cloud.start_dhcp()  # there is an address but no metadata: the server answers 404
    with booted(overlay(image.path, tmp_path / "disk.qcow2"), cloud, tmp_path / "boot") as machine:
        with pytest.raises(asyncssh.PermissionDenied):
            machine.run("true", password="", client_keys=None)
        assert "from-dhcp" in machine.screen()
