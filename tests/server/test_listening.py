"""How long and how much a manager listens before a request is whole."""

from __future__ import annotations

import asyncio
import contextlib
import time
from urllib.parse import urlsplit

import httpx
import pytest
from cloud import Cloud

from mold.server import http


def test_a_head_without_an_end_is_not_listened_to(fresh_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    place = urlsplit(fresh_cloud.serve())

    async def send(first: bytes, rest: bytes, times: int) -> bytes:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.write(first)
        with contextlib.suppress(ConnectionError):
            for _ in range(times):
                writer.write(rest)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(reader.read(), 30)
        return b""

    for first, rest in ((b"GET /client/api?", b"a=b&" * 4096), (b"GET / HTTP/1.1\r\nX: ", b"a" * 16384)):
        answer = asyncio.run(send(first, rest, 200))
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400"), answer[:80]
    monkeypatch.setattr(http, "HEAD_SECONDS", 0.5)
    began = time.monotonic()
    assert asyncio.run(send(b"GET /client/api?command=", b"", 0)) == b""
    assert asyncio.run(send(b"", b"", 0)) == b"", "nor is somebody who says nothing"
    assert time.monotonic() - began < 10
    assert httpx.get(f"http://{place.netloc}/client/api?command=listZones").status_code == 401
