"""What a guest may read, and how badly it may ask."""

from __future__ import annotations

import asyncio
import base64
import socket
from pathlib import Path

import msgspec
import pytest

from mold.agent import metadata
from mold.agent.metadata import Guests, Listener, Refused, parse
from mold.wire.calls import LeaseSpec, RouterSpec, SegmentSpec

LEASE = LeaseSpec(
    mac="02:00:00:00:00:0A", ip="127.0.0.1", name="web", metadata={"instance-id": "i-1", "public-keys": "ssh-ed25519 AAAA"},
    userdata=base64.b64encode(b"#!/bin/sh\n\x00\xff").decode(), password="S3cret", password_serial="1",
)  # fmt: skip
SPEC = RouterSpec(
    id="r", number=1, serial=1, segment=SegmentSpec(method="vxlan", tag=5), mac="02:00:00:00:00:01", gateway="127.0.0.2", prefix=8,
    domain="d", dns=[], leases=[LEASE, LeaseSpec(mac="02:00:00:00:00:0b", ip="127.0.0.9", name="bare")],
)  # fmt: skip


def test_what_a_guest_reads(tmp_path: Path) -> None:
    guests = Guests(SPEC, tmp_path)
    read = {path: guests.web("127.0.0.1", path) for path in ("/", "/latest", "/latest/", "/latest/meta-data/", "/latest/meta-data")}
    assert {path: answer.body for path, answer in read.items()} == {
        "/": b"latest\n", "/latest": b"user-data\nmeta-data\n", "/latest/": b"user-data\nmeta-data\n",
        "/latest/meta-data/": b"instance-id\npublic-keys\n", "/latest/meta-data": b"instance-id\npublic-keys\n",
    }  # fmt: skip
    assert guests.web("127.0.0.1", "/latest/user-data").body == b"#!/bin/sh\n\x00\xff"
    assert guests.web("127.0.0.1", "/latest/meta-data/instance-id").body == b"i-1"
    assert guests.web("127.0.0.1", "/latest/instance-id").body == b"i-1"
    for path in ("/latest/nothing", "/instance-id", "/latest/../latest/instance-id", "//", "/latest/meta-data/../x", "/document"):
        assert guests.web("127.0.0.1", path).status == 404, path
    assert guests.web("127.0.0.9", "/latest/user-data").status == 404
    assert guests.web("127.0.0.77", "/latest/meta-data/").status == 404


def test_a_password_is_served_until_taken_and_again_when_it_changes(tmp_path: Path) -> None:
    guests = Guests(SPEC, tmp_path)
    send, saved = "send_my_password", "saved_password"
    assert guests.password("127.0.0.1", send).body == b"S3cret"
    assert guests.password("127.0.0.1", send).body == b"S3cret"
    assert guests.password("127.0.0.77", saved).body == b"bad_request"
    assert guests.password("127.0.0.1", "give").body == b"bad_request"
    assert guests.password("127.0.0.1", saved).body == b"saved_password"
    assert guests.password("127.0.0.1", send).body == b"saved_password"
    assert (tmp_path / "taken").stat().st_mode & 0o777 == 0o600
    again = Guests(SPEC, tmp_path)
    assert again.password("127.0.0.1", send).body == b"saved_password"
    changed = msgspec.structs.replace(LEASE, password="N3w", password_serial="2")
    again.follow(msgspec.structs.replace(SPEC, leases=[changed]))
    assert again.password("127.0.0.1", send).body == b"N3w"
    assert Guests(SPEC, tmp_path).password("127.0.0.9", send).body == b"saved_password"


@pytest.mark.parametrize(
    "head",
    [
        b"", b"GET", b"GET /", b"GET / HTTP/2.0", b"GET http://x/ HTTP/1.1", b"get / HTTP/1.1", b"GET / HTTP/1.1\nX: 1", b"GET /\x00 HTTP/1.1",
        b"GET / HTTP/1.1\r\nNo colon", b"GET / HTTP/1.1\r\n folded: x", b"GET / HTTP/1.1\r\nA : b", b"GET / HTTP/1.1\r\nA: 1\r\na: 2",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked", b"GET / HTTP/1.1\r\nContent-Length: 5", b"GET / HTTP/1.1\r\nA: \x00",
        b"GET / HTTP/1.1\r\n" + b"\r\n".join(b"H%d: x" % n for n in range(70)), b"GET /" + b"a" * 3000 + b" HTTP/1.1",
    ],
)  # fmt: skip
def test_malformed_requests_are_refused(head: bytes) -> None:
    with pytest.raises(Refused):
        parse(head + b"\r\n\r\n")


def test_a_good_request_is_read() -> None:
    method, path, headers = parse(b"GET /latest/user-data?x=1 HTTP/1.0\r\nDomU_Request: send_my_password\r\nHost:x\r\n\r\n")
    assert (method, path, headers) == ("GET", "/latest/user-data", {"domu_request": "send_my_password", "host": "x"})


async def _ask(port: int, data: bytes, source: str = "127.0.0.1") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    writer.write(data)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b"reset"  # the answer to a request that was not read to its end
    finally:
        writer.close()


def test_over_the_wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "HEAD_SECONDS", 0.3)

    async def go() -> None:
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        web, password = (s.getsockname()[1] for s in sockets)
        listener = Listener(Guests(SPEC, tmp_path), (1, "x"))
        await listener.open(sockets)
        good = b"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = await _ask(web, good)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\ni-1")
        assert (await _ask(web, good.replace(b"GET", b"HEAD"))).endswith(b"\r\n\r\n")
        assert b" 405 " in await _ask(web, good.replace(b"GET", b"POST"))
        assert b" 404 " in await _ask(web, good, "127.0.0.5")
        assert (await _ask(password, b"GET / HTTP/1.0\r\nDomU_Request: send_my_password\r\n\r\n")).endswith(b"S3cret")
        assert b" 408 " in await _ask(web, b"GET / HTTP/1.1\r\n")
        too_large = await _ask(web, b"GET / HTTP/1.1\r\nA: " + b"x" * 9000)
        assert b" 431 " in too_large or too_large == b"reset"
        # one guest that holds its connections does not keep others out
        held = [await asyncio.open_connection("127.0.0.1", web, local_addr=("127.0.0.9", 0)) for _ in range(metadata.PER_GUEST)]
        await asyncio.sleep(0.05)
        too_many = await _ask(web, good, "127.0.0.9")
        assert b" 503 " in too_many or too_many == b"reset"
        assert b" 200 " in await _ask(web, good)
        await asyncio.sleep(0.5)
        assert b" 404 " in await _ask(web, good.replace(b"instance-id", b"x"), "127.0.0.9")
        for _, writer in held:
            writer.close()
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            await _ask(web, good)

    asyncio.run(go())
