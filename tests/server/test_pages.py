"""The web console's files over HTTP: found, kept, compressed, and nothing else."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from mold.server.http import HEADERS
from mold.server.pages import Pages


class Client:
    """Asks the pages of a folder."""

    def __init__(self, folder: Path) -> None:
        self.app = Starlette(routes=[Route("/client/{path:path}", Pages(folder, HEADERS).answer)])

    def get(self, address: str, headers: dict[str, str] | None = None) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://mold") as client:
                return await client.get(address, headers=headers)

        return asyncio.run(ask())


@pytest.fixture
def client(tmp_path: Path) -> Client:
    app = tmp_path / "app"
    (app / "assets").mkdir(parents=True)
    (app / "index.html").write_text("<!doctype html><title>page</title>")
    script = "console.log(1);" * 200
    (app / "assets" / "index-abc.js").write_text(script)
    (app / "assets" / "index-abc.js.gz").write_bytes(gzip.compress(script.encode()))
    (tmp_path / "secret.txt").write_text("secret")
    (app / "link.txt").symlink_to(tmp_path / "secret.txt")
    return Client(app)


def test_every_address_is_the_page_and_is_asked_for_again(client: Client) -> None:
    for address in ("/client/", "/client/virtualmachines", "/client/virtualmachines/3f2a?tab=events"):
        said = client.get(address)
        assert said.status_code == 200 and "page" in said.text
        assert said.headers["cache-control"] == "no-cache" and said.headers["content-type"].startswith("text/html")
        again = client.get(address, headers={"If-None-Match": said.headers["etag"]})
        assert again.status_code == 304 and not again.content


def test_parts_are_kept_and_sent_compressed(client: Client) -> None:
    said = client.get("/client/assets/index-abc.js", headers={"Accept-Encoding": "gzip"})
    assert said.status_code == 200 and said.headers["content-encoding"] == "gzip" and said.text.startswith("console")
    assert said.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert said.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "accept-encoding" in said.headers["vary"].lower()
    plain = client.get("/client/assets/index-abc.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.headers["etag"] != said.headers["etag"]


def test_nothing_else_is_found(client: Client) -> None:
    for address in (
        "/client/assets/gone.js",
        "/client/assets/",
        "/client/..%2fsecret.txt",
        "/client/link.txt",
        "/client/assets/..%2f..%2f..%2fsecret.txt",
        "/client/%2e%2e/secret.txt",
    ):
        said = client.get(address)
        assert "secret" not in said.text and (said.status_code == 404 or "page" in said.text), address
    assert client.get("/client/assets/gone.js").status_code == 404


def test_the_policy_lets_no_foreign_script_in(client: Client) -> None:
    headers = client.get("/client/").headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy and "script-src 'self';" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe-eval" not in policy and "script-src 'self' 'unsafe-inline'" not in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["cross-origin-opener-policy"] == "same-origin"


def test_without_a_build_it_says_how_to_get_one(tmp_path: Path) -> None:
    client = Client(tmp_path / "none")
    assert "make gui" in client.get("/client/").text
