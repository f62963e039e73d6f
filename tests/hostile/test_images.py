"""Hostile images and image servers, with a real agent: the template says what is wrong, and nothing is left on the store."""

from __future__ import annotations

import http.server
import os
import re
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from real_cloud import RealCloud

pytestmark = pytest.mark.host


class Shelf(http.server.BaseHTTPRequestHandler):
    """Serves what the test put on it, well or badly."""

    files: dict[str, bytes] = {}

    def do_GET(self) -> None:
        """One file, or one of the ways in which a server misbehaves."""
        name = self.path.strip("/")
        if name == "redirect-private":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.2:1/secret")
            self.end_headers()
            return
        if name == "redirect-file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            return
        if name == "loop":
            self.send_response(302)
            self.send_header("Location", "/loop")
            self.end_headers()
            return
        if name == "short":
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"QFI\xfb" + bytes(1000))
            return
        if name == "huge":
            self.send_response(200)
            self.send_header("Content-Length", str(1 << 60))
            self.end_headers()
            return
        if name not in self.files:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.files[name])))
        self.end_headers()
        self.wfile.write(self.files[name])

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def shelf() -> Iterator[str]:
    """The address of an image server on loopback, which the cloud's settings allow."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shelf)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def as_before(real: RealCloud) -> Iterator[None]:
    """After every test the storages hold what they held, and no log an exception."""
    before = real.images(), real.on_primary()
    yield
    assert (real.images(), real.on_primary()) == before
    assert real.exceptions() == []


def qcow2(folder: Path, *options: str) -> bytes:
    """An image as qemu-img makes it."""
    path = folder / f"{uuid.uuid4()}.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, path, "8M"], check=True)
    return path.read_bytes()


def patched(data: bytes, offset: int, form: str, value: int) -> bytes:
    """The image with one number in its header changed."""
    out = bytearray(data)
    struct.pack_into(form, out, offset, value)
    return bytes(out)


def backed(folder: Path) -> bytes:
    """An image that stands on a file of the host."""
    return qcow2(folder, "-u", "-b", "/etc/passwd", "-F", "raw")


def outside(folder: Path) -> bytes:
    """An image whose data lies in another file."""
    return qcow2(folder, "-o", f"data_file={folder / 'data.raw'},data_file_raw=on")


IMAGES: dict[str, Callable[[Path], bytes]] = {
    "backing file": backed,
    "data file": outside,
    "absurd size": lambda f: patched(qcow2(f), 24, ">Q", 1 << 62),
    "no size": lambda f: patched(qcow2(f), 24, ">Q", 0),
    "many snapshots": lambda f: patched(qcow2(f), 60, ">I", 0xFFFFFFFF),
    "snapshots outside": lambda f: patched(patched(qcow2(f), 60, ">I", 1), 64, ">Q", 1 << 60),
    "tables outside": lambda f: patched(qcow2(f), 40, ">Q", 1 << 60),
    "tables too large": lambda f: patched(qcow2(f), 36, ">I", 0xFFFFFFFF),
    "odd clusters": lambda f: patched(qcow2(f), 20, ">I", 63),
    "unknown features": lambda f: patched(qcow2(f), 72, ">Q", 1 << 63),
    "version 9": lambda f: patched(qcow2(f), 4, ">I", 9),
    "encrypted": lambda f: patched(qcow2(f), 32, ">I", 1),
    "cut off": lambda f: qcow2(f)[:60],
    "empty": lambda f: b"",
    "a page": lambda f: b"<html><body>404 not found</body></html>" * 30,
    "a vmdk": lambda f: b'# Disk DescriptorFile\nversion=1\nRW 63 FLAT "/etc/passwd" 0\n' * 20,
    "random": lambda f: os.urandom(200_000),
}


def register(real: RealCloud, url: str, **about: Any) -> dict[str, Any]:
    """A template of this URL once it is ready or has failed."""
    chosen = {
        "name": f"bad-{uuid.uuid4().hex[:8]}",
        "format": "QCOW2",
        "hypervisor": "KVM",
        "zoneid": real.zone,
        **about,
    }
    (made,) = real.cs.registerTemplate(url=url, **chosen)["template"]
    return real.settled(made["id"], 90)


def refused(real: RealCloud, template: dict[str, Any]) -> str:
    """The sentence of a template that failed, which is then deleted."""
    assert template["isready"] is False
    assert not [n for n in real.images() if template["id"] in n]
    real.delete(template["id"])
    assert len(template["status"]) > 20
    assert template["status"].endswith(".")
    return str(template["status"])


@pytest.mark.parametrize("kind", IMAGES)
def test_hostile_files(real: RealCloud, shelf: str, tmp_path: Path, kind: str) -> None:
    """No file that refers to others, or claims what cannot be, becomes a template."""
    Shelf.files["bad.qcow2"] = IMAGES[kind](tmp_path)
    refused(real, register(real, f"{shelf}/bad.qcow2"))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://127.0.0.1:1/x.qcow2", ""),
        ("http://images.invalid/x.qcow2", "images.invalid"),
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254"),
        ("http://10.0.0.1/x", "10.0.0.1"),
        ("http://[::1]/x", "::1"),
        ("http://0x7f000002/x", ""),
        ("http://localhost.:1/x", ""),
        ("{shelf}/nothing", "404"),
        ("{shelf}/redirect-private", "127.0.0.2"),
        ("{shelf}/redirect-file", "http:// and https://"),
        ("{shelf}/loop", "redirect"),
        ("{shelf}/short", ""),
        ("{shelf}/huge", str(1 << 60)),
    ],
)
def test_hostile_servers(real: RealCloud, shelf: str, url: str, text: str) -> None:
    """Unreachable, private, redirecting, lying: the template says which."""
    assert text in refused(real, register(real, url.format(shelf=shelf)))


def test_a_wrong_checksum(real: RealCloud, shelf: str, tmp_path: Path) -> None:
    """A file that is not the one announced is thrown away."""
    Shelf.files["good.qcow2"] = qcow2(tmp_path)
    said = refused(real, register(real, f"{shelf}/good.qcow2", checksum="{SHA-256}" + "0" * 64))
    assert "checksum" in said


@pytest.fixture
def small(real: RealCloud) -> Iterator[Path]:
    """A file system of 200 MiB, mounted below the cloud's data folder."""
    folder = real.data / f"small-{uuid.uuid4().hex[:6]}"
    folder.mkdir(mode=0o711)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=0711", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
    folder.rmdir()


def test_a_full_disk(real: RealCloud, small: Path) -> None:
    """A deploy onto a primary storage without room says what is free and what is needed; nothing is left."""
    cs = real.cs
    host = cs.listHosts()["host"][0]
    place = {"zoneid": real.zone, "podid": host["podid"], "clusterid": host["clusterid"]}
    pool = cs.createStoragePool(
        name="small", url=f"sharedmountpoint://localhost{small}", scope="CLUSTER", tags="small", **place
    )["storagepool"]
    offering = cs.createServiceOffering(
        name="on-small", displaytext="x", cpunumber=1, cpuspeed=100, memory=64, tags="small"
    )["serviceoffering"]
    wanted = next(
        o for o in cs.listNetworkOfferings(state="Enabled")["networkoffering"] if o["guestiptype"] == "Isolated"
    )
    network = cs.createNetwork(name="full", displaytext="full", zoneid=real.zone, networkofferingid=wanted["id"])[
        "network"
    ]
    template = next(t for t in cs.listTemplates(templatefilter="self")["template"] if t["name"] == "tiny-linux")
    volumes = set(os.listdir(small / "volumes"))
    filler = small / "filler"
    filler.write_bytes(bytes(190 << 20))
    job = cs.deployVirtualMachine(
        name="full",
        zoneid=real.zone,
        templateid=template["id"],
        serviceofferingid=offering["id"],
        networkids=network["id"],
    )
    while (told := cs.queryAsyncJobResult(jobid=job["jobid"]))["jobstatus"] == 0:
        time.sleep(0.2)
    assert told["jobstatus"] == 2
    said = told["jobresult"]
    assert said["errorcode"] == 533
    assert re.search(r"has \d+ bytes free, and \d+ are needed", said["errortext"]), said
    assert "virtualmachine" not in cs.listVirtualMachines(name="full")
    assert [set(os.listdir(small / kind)) for kind in ("volumes", "images")] == [volumes, set()]
    filler.unlink()
    cs.deleteNetwork(id=network["id"], fetch_result=True)
    assert not [n for n in os.listdir("/run/netns") if n.endswith("-" + real.about["instance"])]
    cs.deleteServiceOffering(id=offering["id"])
    cs.deleteStoragePool(id=pool["id"])
