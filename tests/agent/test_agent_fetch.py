"""Fetching and receiving images, from a server on this machine that behaves well, badly, and worse."""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import gzip
import hashlib
import ipaddress
import lzma
import ssl
import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from agentkit import Authority, Manager, agent, set_up
from cryptography import x509

from mold.agent import fetching, images, pools  # noqa: F401 - they register their calls
from mold.agent.config import load
from mold.agent.here import Here
from mold.agent.main import prepare
from mold.agent.serve import Desk
from mold.base import egress
from mold.base.errors import Invalid
from mold.wire import calls as w

LOOP = ["127.0.0.0/8", "::1/128"]
MIB = 1 << 20


@pytest.fixture(scope="session")
def qcow2(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("image") / "x.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "8M"], check=True)
    return path.read_bytes()


class Web:
    """An HTTP server of 40 lines: paths with ready answers; `hang` sends a little and then nothing."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.port = 0

    def put(self, path: str, body: bytes, status: str = "200 OK", length: int | None = None, extra: str = "") -> str:
        lines = f"HTTP/1.1 {status}\r\nConnection: close\r\n{extra}"
        if length is None or length >= 0:
            lines += f"Content-Length: {len(body) if length is None else length}\r\n"
        self.pages[path] = lines.encode() + b"\r\n" + body
        return f"http://127.0.0.1:{self.port}{path}"

    def redirect(self, path: str, to: str) -> str:
        return self.put(path, b"", "302 Found", extra=f"Location: {to}\r\n")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = request.split()[1]
            self.asked.append(request)
            writer.write(self.pages.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
            await writer.drain()
            if path.startswith("/hang"):
                await asyncio.sleep(30)
        writer.close()


@contextlib.asynccontextmanager
async def web(tls: ssl.SSLContext | None = None) -> AsyncIterator[Web]:
    site = Web()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=tls)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()


class Store:
    """A store of an agent, asked as a manager asks."""

    def __init__(self, here: Here, folder: Path) -> None:
        self.here = here
        self.desk = Desk(here)
        self.store = w.PoolSpec(id=str(uuid.uuid4()), type="Directory", path=str(folder / "store"))
        self.folder = folder / "store" / "images"
        self.progress: list[float] = []

    async def ask(self, call: w.Call, seconds: float = 20) -> w.Reply:
        reply = w.for_manager(await self.desk.answer(w.Request(n=1, call=call, seconds=seconds), lambda p, _: self.progress.append(p)))
        assert isinstance(reply, w.Reply)
        return reply

    async def fetch(self, url: str, form: str = "QCOW2", checksum: str = "", max_size: int = 64 * MIB, **words: object) -> w.Reply:
        image = str(words.pop("image", uuid.uuid4()))
        allow = words.pop("allow", LOOP)
        return await self.ask(
            w.FetchImage(store=self.store, image=image, url=url, format=form, checksum=checksum, max_size=max_size, allow=allow), **words
        )

    async def refused(self, url: str, error: str, text: str, **words: object) -> None:
        reply = await self.fetch(url, **words)
        assert reply.error == error and text in reply.text, (reply.error, reply.text)
        assert not self.names(), "nothing may be left of an image that is refused"

    def names(self) -> list[str]:
        return sorted(each.name for each in self.folder.iterdir())


@contextlib.asynccontextmanager
async def store(folder: Path, **words: str) -> AsyncIterator[Store]:
    async with agent(folder / "agent", **words) as here:
        made = Store(here, folder)
        assert not (await made.ask(w.MountStore(store=made.store))).error
        yield made


def facts(reply: w.Reply) -> w.ImageFacts:
    assert not reply.error, (reply.error, reply.text)
    return w.msgspec.msgpack.decode(reply.facts, type=w.ImageFacts)


def test_fetched_once_checked_and_removed(tmp_path: Path, qcow2: bytes) -> None:
    async def main() -> None:
        async with store(tmp_path) as here, web() as site:
            image = str(uuid.uuid4())
            url = site.redirect("/there", site.redirect("/over", site.put("/x.qcow2", qcow2)))
            found = facts(await here.fetch(url, image=image))
            assert found == w.ImageFacts(
                size=8 * MIB, physical=len(qcow2), format="QCOW2", checksum=f"{{SHA-256}}{hashlib.sha256(qcow2).hexdigest()}"
            )
            path = here.folder / f"{image}.qcow2"
            assert path.read_bytes() == qcow2 and path.stat().st_mode & 0o777 == 0o444
            asked = len(site.asked)
            assert facts(await here.fetch(url, image=image)) == found and len(site.asked) == asked
            assert here.progress[-1] == 100
            assert not (await here.ask(w.RemoveImage(store=here.store, image=image))).error
            assert not (await here.ask(w.RemoveImage(store=here.store, image=image))).error
            assert here.names() == []

    asyncio.run(main())


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])])
def test_compressed_images_are_unpacked(tmp_path: Path, qcow2: bytes, pack) -> None:
    async def main() -> None:
        async with store(tmp_path) as here, web() as site:
            packed, image = pack(qcow2), str(uuid.uuid4())
            sums = [f"{{MD5}}{hashlib.md5(packed).hexdigest()}", hashlib.sha512(packed).hexdigest(), f"{{sha-256}}{hashlib.sha256(packed).hexdigest()}"]
            for checksum in sums:
                found = facts(await here.fetch(site.put("/x", packed), image=image, checksum=checksum))
                assert (found.size, found.physical) == (8 * MIB, len(qcow2))
                assert (here.folder / f"{image}.qcow2").read_bytes() == qcow2
                await here.ask(w.RemoveImage(store=here.store, image=image))
            await here.refused(site.put("/short", packed[:-20]), "Invalid", "ends too early")
            await here.refused(site.put("/more", packed + b"garbage"), "Invalid", "data of the image")

    asyncio.run(main())


def test_bombs_and_lies_about_size(tmp_path: Path, qcow2: bytes) -> None:
    async def main() -> None:
        async with store(tmp_path) as here, web() as site:
            bomb = gzip.compress(bytes(80 * MIB), 6)
            await here.refused(site.put("/bomb", bomb), "Invalid", "larger than", form="RAW")
            await here.refused(site.put("/big", b"\0" * (2 * MIB), length=-1), "Invalid", "larger than", form="RAW", max_size=MIB)
            await here.refused(site.put("/says", b"", length=1 << 50), "Invalid", "are allowed", form="RAW")
            await here.refused(site.put("/space", b"", length=1 << 50), "NoCapacity", "bytes free", form="RAW", max_size=1 << 60)
            await here.refused(site.put("/cut", qcow2, length=len(qcow2) + 9), "Failed", "broke off")

    asyncio.run(main())


def test_what_is_not_what_it_claims(tmp_path: Path, qcow2: bytes) -> None:
    async def main() -> None:
        async with store(tmp_path) as here, web() as site:
            base, top = tmp_path / "base.qcow2", tmp_path / "top.qcow2"
            base.write_bytes(qcow2)
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(top)], check=True)
            await here.refused(site.put("/backing", top.read_bytes()), "Invalid", "backing file")
            await here.refused(site.put("/page", b"<html>not found</html>"), "Invalid", "not of format QCOW2")
            await here.refused(site.put("/raw", qcow2), "Invalid", "is of format QCOW2, not RAW", form="RAW")
            await here.refused(site.put("/iso", b"\0" * 65536), "Invalid", "not of format ISO", form="ISO")
            await here.refused(site.put("/cut", qcow2[:70000]), "Invalid", "where none can be")
            await here.refused(site.put("/vmdk", b"KDMV" + bytes(508)), "Unsupported", "VMDK", form="VMDK")
            await here.refused(site.put("/sum", qcow2), "Invalid", "checksum", checksum="{SHA-256}" + "0" * 64)
            await here.refused(site.put("/sum", qcow2), "Invalid", "no checksum", checksum="{SHA-256}00")
            await here.refused(site.put("/none", b"", "404 Not Found"), "Failed", "404")
            await here.refused(site.put("/empty", b""), "Invalid", "multiple of 512", form="RAW")
            good = facts(await here.fetch(site.put("/good", b"\0" * MIB), form="RAW"))
            assert (good.size, good.format) == (MIB, "RAW")

    asyncio.run(main())


def test_addresses_that_are_not_public(tmp_path: Path, qcow2: bytes) -> None:
    async def main() -> None:
        async with store(tmp_path) as here, web() as site, web() as inner:
            url = site.put("/x", qcow2)
            await here.refused(url, "Invalid", "127.0.0.1, which is not an address of the public", allow=[])
            assert site.asked == []
            secret = inner.put("/secret", qcow2).replace("127.0.0.1", "127.0.0.2")
            await here.refused(site.redirect("/r", secret), "Invalid", "127.0.0.2", allow=["127.0.0.1/32"])
            await here.refused(site.redirect("/m", "http://169.254.169.254/latest"), "Invalid", "169.254.169.254")
            await here.refused(site.redirect("/f", "file:///etc/passwd"), "Invalid", "http")
            await here.refused(site.redirect("/again", "/again"), "Failed", "more than 5 times")
            assert inner.asked == []
            await here.refused(f"http://localhost:{site.port}/x", "Invalid", "not an address of the public", allow=[])
            for bad, text in (
                ("file:///etc/passwd", "http"), ("ftp://example.com/x", "http"), ("http:///x", "http"), ("http://u:p@127.0.0.1/x", "password"),
                ("/etc/passwd", "http"), ("http://[::1/x", "URL"), ("http://" + "x" * 3000, "characters"),
            ):  # fmt: skip
                await here.refused(bad, "Invalid", text)
            await here.refused(url, "Invalid", "networks", allow=["not a network"])

    asyncio.run(main())


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("8.8.8.8", True), ("2600::1", True), ("10.1.2.3", False), ("127.0.0.1", False), ("169.254.169.254", False), ("0.0.0.0", False),
        ("224.0.0.1", False), ("255.255.255.255", False), ("100.64.0.1", False), ("192.168.0.1", False), ("::1", False), ("::", False),
        ("fe80::1", False), ("fd00::1", False), ("ff02::1", False), ("::ffff:127.0.0.1", False), ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False), ("240.0.0.1", False),
    ],
)  # fmt: skip
def test_which_addresses_may_be_reached(address: str, allowed: bool) -> None:
    assert egress.may_reach(ipaddress.ip_address(address), ()) is allowed
    assert egress.may_reach(ipaddress.ip_address(address), egress.networks(["0.0.0.0/0", "::/0"]))


def test_no_networks_but_networks() -> None:
    with pytest.raises(Invalid):
        egress.networks(["10.0.0.0/99"])


def test_name_is_resolved_once_and_the_certificate_is_of_the_name(tmp_path: Path, qcow2: bytes) -> None:
    """The connection goes to the address that was checked, and TLS still asks for the name of the URL."""
    authority = Authority()
    for name, alternative in (("good", x509.DNSName("localhost")), ("bad", x509.DNSName("elsewhere.example"))):
        authority.write(tmp_path, name, name, alternative)
    (tmp_path / "ca.crt").write_text(authority.pem)

    async def main() -> None:
        for name, is_good in (("good", True), ("bad", False)):
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
            async with store(tmp_path / name, fetch_ca=str(tmp_path / "ca.crt")) as here, web(tls) as site:
                site.put("/x", qcow2)
                url = f"https://localhost:{site.port}/x"
                if is_good:
                    assert facts(await here.fetch(url)).size == 8 * MIB
                    assert f"Host: localhost:{site.port}" in site.asked[0]
                    site.redirect("/down", f"http://localhost:{site.port}/x")
                    reply = await here.fetch(url.replace("/x", "/down"))
                    assert reply.error == "Failed" and "https to http" in reply.text
                else:
                    await here.refused(url, "Failed", "could not be asked")

    asyncio.run(main())


def test_a_name_that_means_something_else_a_moment_later(tmp_path: Path, qcow2: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        real, asked = loop.getaddrinfo, []

        async def resolve(host: str, port: object, **words: object) -> object:
            if host != "rebind.example":
                return await real(host, port, **words)
            asked.append(host)
            return await real("127.0.0.1" if len(asked) == 1 else "127.0.0.2", port, **words)

        monkeypatch.setattr(loop, "getaddrinfo", resolve)
        async with store(tmp_path) as here, web() as site:
            site.put("/x", qcow2)
            url = f"http://rebind.example:{site.port}/x"
            assert facts(await here.fetch(url, allow=["127.0.0.1/32"])).size == 8 * MIB
            assert asked == ["rebind.example"], "asked once, and connected to what was checked"
            reply = await here.fetch(url, allow=["127.0.0.1/32"])
            assert reply.error == "Invalid" and "127.0.0.2" in reply.text

    asyncio.run(main())


def test_server_on_ipv6(tmp_path: Path, qcow2: bytes) -> None:
    async def main() -> None:
        site = Web()
        try:
            server = await asyncio.start_server(site.serve, "::1", 0)
        except OSError:
            pytest.skip("no IPv6 on this machine")
        site.port = server.sockets[0].getsockname()[1]
        site.put("/x", qcow2)
        async with store(tmp_path) as here:
            assert facts(await here.fetch(f"http://[::1]:{site.port}/x")).size == 8 * MIB
            assert f"Host: [::1]:{site.port}" in site.asked[0]
        server.close()

    asyncio.run(main())


def test_silence_ends_the_fetch_and_a_cancelled_one_leaves_nothing(tmp_path: Path, qcow2: bytes) -> None:
    async def main() -> None:
        async with store(tmp_path, fetch_idle_seconds="0.3") as here, web() as site:
            await here.refused(site.put("/hang", qcow2, length=len(qcow2) + 99), "Failed", "stopped sending")
        async with store(tmp_path / "2") as here, web() as site:
            image = str(uuid.uuid4())
            task = asyncio.create_task(here.fetch(site.put("/hang", qcow2, length=len(qcow2) + 99), image=image))
            while not here.names():
                await asyncio.sleep(0.01)
            task.cancel()
            assert (await task).error == "Cancelled" and here.names() == []
            assert facts(await here.fetch(site.put("/x", qcow2), image=image)).size == 8 * MIB

    asyncio.run(main())


def test_received_over_a_stream(tmp_path: Path, qcow2: bytes) -> None:
    authority = Authority()

    async def main() -> None:
        async with Manager(tmp_path / "m", authority) as manager:
            folder = set_up(tmp_path / "a", authority)
            assert load(folder).name == "test-host"
            here = Store(prepare(folder), tmp_path)
            assert not (await here.ask(w.MountStore(store=here.store))).error
            for ticket, code, error in (("ticket-good", 1000, ""), ("ticket-away", 1001, "Failed"), ("ticket-error", 1011, "Failed")):
                manager.streams[ticket] = asyncio.get_running_loop().create_future()
                call = w.ReceiveImage(
                    store=here.store, image=str(uuid.uuid4()), format="QCOW2", max_size=64 * MIB, dial=manager.address, ticket=ticket
                )
                task = asyncio.create_task(here.ask(call))
                stream = await manager.streams[ticket]
                for at in range(0, len(qcow2), 65536):
                    await stream.send(qcow2[at : at + 65536])
                await stream.close(code)
                reply = await task
                assert reply.error == error, reply.text
                if not error:
                    assert facts(reply).size == 8 * MIB
            assert len([name for name in here.names() if name.endswith(".qcow2")]) == 1
            manager.stream_over.set()
            await here.here.close()

    asyncio.run(main())
