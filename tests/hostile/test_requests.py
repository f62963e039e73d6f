"""Requests that are wrong as such, over real HTTP: too large, too many, badly signed, badly encoded, badly spoken."""

from __future__ import annotations

import base64
import contextlib
import hmac
import re
import socket
from urllib.parse import quote, urlsplit

import httpx
import pytest
from clouds import Running


@pytest.fixture
def http(running: Running) -> httpx.Client:
    """A plain HTTP client at the API."""
    return httpx.Client(base_url=running.endpoint, timeout=30)


def signed(running: Running, query: str) -> str:
    """The query with its signature, made over what was really sent."""
    query += f"&apikey={quote(running.about['apikey'])}&response=json"
    text = "&".join(sorted(query.split("&"), key=lambda p: p.partition("=")[0])).lower()
    mark = hmac.digest(running.about["secretkey"].encode(), text.encode(), "sha1")
    return f"{query}&signature={quote(base64.b64encode(mark).decode(), safe='')}"


def raw(running: Running, request: bytes) -> bytes:
    """What the server answers to these very bytes."""
    url = urlsplit(running.endpoint)
    out = b""
    with (
        contextlib.suppress(TimeoutError, ConnectionError),  # a half request waits for its rest; that is no answer
        socket.create_connection((url.hostname or "", url.port or 0), timeout=5) as line,
    ):
        line.sendall(request)
        while piece := line.recv(65536):
            out += piece
    return out


def test_signed_queries_are_read_as_sent(running: Running, http: httpx.Client) -> None:
    """The way these tests sign is right: a good query is answered."""
    answer = http.get("?" + signed(running, "command=listZones"))
    assert answer.json()["listzonesresponse"]["count"] == 1


@pytest.mark.parametrize(
    "spoil",
    ["", "AAAA", "%00", "not base64!", "=" * 100, "A" * 100_000, quote("é"), "nCXdp0zwfKQXAKzle0VzGEzB%2BM0%3D"],
)
def test_broken_signatures(running: Running, http: httpx.Client, spoil: str) -> None:
    """Every broken signature is the same 401."""
    query = re.sub("signature=.*", "signature=" + spoil, signed(running, "command=listZones"))
    if len(query) > 60_000:
        answer = http.post("", content=query, headers={"content-type": "application/x-www-form-urlencoded"})
    else:
        answer = http.get("?" + query)
    assert (answer.status_code, answer.json()["listzonesresponse"]["errortext"]) == (
        401,
        "unable to verify user credentials and/or request signature",
    )


@pytest.mark.parametrize(
    "expires",
    ["", "soon", "2020-01-01T00:00:00+0000", "9999-99-99T00:00:00+0000", "0001-01-01T00:00:00+2359", "²", "1" * 500],
)
def test_broken_expiry(running: Running, http: httpx.Client, expires: str) -> None:
    """An expiry that is over, or none at all, is a 401 though the signature fits."""
    query = signed(running, f"command=listZones&signatureversion=3&expires={quote(expires, safe='')}")
    assert http.get("?" + query).status_code == 401


@pytest.mark.parametrize(
    "words",
    [
        {"username": "admin", "password": "wrong"},
        {"username": "admin", "password": "x", "domainId": "²"},
        {"username": "admin", "password": "x", "domainId": "9" * 5000},
        {"username": "'; DROP TABLE user; --", "password": "\x00"},
        {"username": "\x00", "password": "\x00"},
        {"username": "a" * 100_000, "password": "b" * 100_000},
        {"username": "admin", "password": "x", "domain": "/../..//%"},
        {"username": "admin"},
        {},
    ],
)
def test_sign_in_with_nonsense(http: httpx.Client, words: dict[str, str]) -> None:
    """Signing in with nonsense is refused, never an error of the server."""
    answer = http.post("", data={"command": "login", "response": "json", **words})
    assert answer.status_code in (401, 431, 531), answer.text
    assert len(answer.json()["loginresponse"]["errortext"]) > 10


def test_a_body_that_is_too_large(http: httpx.Client) -> None:
    """More than a mebibyte is not read."""
    data = b"command=listZones&keyword=" + b"A" * (2 << 20)
    answer = http.post("", content=data, headers={"content-type": "application/x-www-form-urlencoded"})
    assert answer.status_code == 413
    assert "1048576" in answer.json()["errorresponse"]["errortext"]


def test_too_many_fields(http: httpx.Client) -> None:
    """More than 5000 fields of a form are refused with a sentence."""
    data = "command=listZones&response=json&" + "&".join(f"k{i}=v" for i in range(6000))
    answer = http.post("", content=data, headers={"content-type": "application/x-www-form-urlencoded"})
    assert answer.status_code == 413
    assert "5000" in answer.json()["errorresponse"]["errortext"]


def test_a_line_that_is_too_long(running: Running) -> None:
    """A request line without end is refused, or the connection ends; the server goes on."""
    answer = raw(running, b"GET /client/api?command=" + b"A" * 300_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer == b"" or re.match(rb"HTTP/1.1 4\d\d", answer), answer[:100]


@pytest.mark.parametrize(
    "query",
    [
        b"command=listZones&keyword=%ff%fe%c3%28",
        b"command=listZones&keyword=%zz%",
        b"command=%00",
        b"command=list%0aZones",
        b"command=listZones&command=listHosts",
        b"&&&&=&=x&%=&command",
        b"command=" + b"x" * 5000,
        b"command=listZones&response=" + b"x" * 5000,
        b"command=listZones&page=1&page=2&details[0].a=1&details[0].a=2",
        b"command=listzones",
        b"command=<script>alert(1)</script>",
        b"command=__class__",
        b"",
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_odd_queries(running: Running, method: bytes, query: bytes) -> None:
    """Odd encodings and names get the API's error, in a body that says what it is."""
    body = query if method == b"POST" else b""
    path = b"/client/api" + (b"?" + query if method == b"GET" else b"")
    head = b"Host: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: "
    answer = raw(running, method + b" " + path + b" HTTP/1.1\r\n" + head + str(len(body)).encode() + b"\r\n\r\n" + body)
    status = int(answer.split()[1])
    assert status in (400, 401, 431, 432), answer[:300]
    assert b"errortext" in answer
    assert b"<script>" not in answer.partition(b"\r\n\r\n")[2]
    assert b"X-Description" not in answer or b"\n" not in answer.split(b"X-Description: ")[1].split(b"\r\n")[0]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"DELETE /client/api?command=listZones HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /client/../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /client/console/..%2f..%2f..%2fetc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST /client/upload/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"POST /client/api HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: -5\r\n\r\n",
        b"POST /client/api HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /client/console/websockify HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_odd_http(running: Running, request_bytes: bytes) -> None:
    """What is no good HTTP gets a 4xx or nothing, no file of this machine, and the server goes on."""
    answer = raw(running, request_bytes)
    assert b"root:" not in answer
    assert answer == b"" or re.match(rb"HTTP/1.1 [34]\d\d", answer), answer[:200]
    assert httpx.get(running.endpoint + "?command=listZones").status_code == 401


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "<script>alert(1)</script>"),
        ("name", "' OR 1=1 --"),
        ("name", "../../etc"),
        ("displaytext", 'quo"tes\\ and\nlines'),
        ("displaytext", "]]><x>&amp;"),
        ("name", "한국어 🙂 \u202e"),
    ],
)
def test_odd_names_come_back_as_they_were(running: Running, http: httpx.Client, name: str, value: str) -> None:
    """Names are data: stored and shown as they are, escaped in XML, and found again."""
    words = {"name": "plain", "displaytext": "plain", name: value}
    query = "&".join(f"{k}={quote(v, safe='')}" for k, v in words.items())
    made = http.get("?" + signed(running, f"command=createDiskOffering&disksize=1&{query}"))
    assert made.status_code == 200, made.text
    offering = made.json()["creatediskofferingresponse"]["diskoffering"]
    assert offering[name] == value
    found = http.get("?" + signed(running, f"command=listDiskOfferings&id={offering['id']}")).json()
    assert found["listdiskofferingsresponse"]["diskoffering"][0][name] == value
    xml = http.get(
        "?" + signed(running, f"command=listDiskOfferings&id={offering['id']}").replace("response=json", "x=y")
    )
    assert xml.status_code == 401  # the signature covers the form of the answer too
    gone = http.get("?" + signed(running, f"command=deleteDiskOffering&id={offering['id']}"))
    assert gone.status_code == 200
