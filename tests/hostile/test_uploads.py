"""Templates by file upload, with a real agent: whole ones arrive, everything else leaves nothing behind."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from real_cloud import RealCloud

pytestmark = pytest.mark.host
EDGE = b"edge-of-the-parts"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small qcow2 image with something in it."""
    folder = tmp_path_factory.mktemp("image")
    raw, made = folder / "disk.raw", folder / "disk.qcow2"
    raw.write_bytes(os.urandom(3 << 20) + bytes(5 << 20))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, made], check=True)
    return made.read_bytes()


@pytest.fixture(autouse=True)
def as_before(real: RealCloud) -> Iterator[None]:
    """After every test the store holds what it held, and no log an exception."""
    images, templates = real.images(), real.cs.listTemplates(templatefilter="all")["count"]
    yield
    assert real.images() == images
    assert real.cs.listTemplates(templatefilter="all")["count"] == templates
    assert real.exceptions() == []


def offer(real: RealCloud, **about: Any) -> dict[str, Any]:
    """Upload parameters for a new template."""
    chosen = {
        "name": f"up-{uuid.uuid4().hex[:8]}",
        "format": "QCOW2",
        "hypervisor": "KVM",
        "zoneid": real.zone,
        **about,
    }
    told: dict[str, Any] = real.cs.getUploadParamsForTemplate(**chosen)["getuploadparams"]
    return told


def headers(told: dict[str, Any], **other: str) -> dict[str, str]:
    """The headers of an upload."""
    signed = {"x-signature": told["signature"], "x-metadata": told["metadata"], "x-expires": told["expires"]}
    return {**signed, **other}


def send(told: dict[str, Any], data: bytes, **other: str) -> httpx.Response:
    """Upload `data` as a browser or curl would."""
    return httpx.post(told["postURL"], files={"file": ("disk.qcow2", data)}, headers=headers(told, **other), timeout=60)


def multipart(data: bytes) -> bytes:
    """A form with `data` as its file, without the end."""
    head = b'Content-Disposition: form-data; name="file"; filename="x.qcow2"\r\n\r\n'
    return b"--" + EDGE + b"\r\n" + head + data


def test_a_whole_file_becomes_a_template(real: RealCloud, image: bytes) -> None:
    """The parameters have the API's five fields; the file arrives, is checked against its checksum, and is ready."""
    digest = hashlib.sha256(image).hexdigest()
    told = offer(real, checksum="{SHA-256}" + digest, passwordenabled=True, details={"a": "b"})
    assert set(told) == {"id", "postURL", "metadata", "expires", "signature"}
    before = real.template(told["id"])
    assert before is not None
    assert (before["isready"], before["status"]) == (False, "Waiting for the upload of its file")
    answer = send(told, image)
    assert answer.status_code == 200, answer.text
    assert answer.json()["uploadresponse"]["success"] is True
    ready = real.template(told["id"])
    assert ready is not None
    assert (ready["isready"], ready["size"], ready["physicalsize"]) == (True, 8 << 20, len(image))
    assert (ready["status"], ready["passwordenabled"]) == ("Download Complete", True)
    kept = real.data / "secondary" / "images" / f"{told['id']}.qcow2"
    assert kept.read_bytes() == image

    again = send(told, image)
    assert again.status_code == 431
    assert "was sent before" in again.json()["uploadresponse"]["errortext"]
    assert kept.read_bytes() == image
    real.delete(told["id"])


def test_a_file_sent_without_its_length(real: RealCloud, image: bytes) -> None:
    """A chunked request with other fields beside the file does as well."""
    told = offer(real)

    def parts() -> Iterator[bytes]:
        yield b"--" + EDGE + b'\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        yield multipart(image[:100_000])
        yield image[100_000:]
        yield b"\r\n--" + EDGE + b"--\r\n"

    kind = {"content-type": "multipart/form-data; boundary=" + EDGE.decode()}
    answer = httpx.post(told["postURL"], content=parts(), headers=headers(told, **kind), timeout=60)
    assert answer.status_code == 200, answer.text
    assert (real.data / "secondary" / "images" / f"{told['id']}.qcow2").read_bytes() == image
    real.delete(told["id"])


@pytest.mark.parametrize("spoiled", ["x-signature", "x-metadata", "x-expires", "other template", "nothing", "path"])
def test_a_right_that_is_none(real: RealCloud, image: bytes, spoiled: str) -> None:
    """What is not signed by this installation, for this template, is refused, and the true right still holds."""
    told, other = offer(real), offer(real)
    given = headers(told)
    url = told["postURL"]
    match spoiled:
        case "other template":
            url = other["postURL"]
        case "nothing":
            given = {}
        case "path":
            url = url.rpartition("/")[0] + "/..%2F..%2Fetc%2Fpasswd"
        case "x-expires":
            given["x-expires"] = "2099-01-01T00:00:00+0000"
        case _:
            given[spoiled] = "é".encode().decode("latin-1") + given[spoiled][1:]
    answer = httpx.post(url, files={"file": ("x", image)}, headers={k: v.encode("latin-1") for k, v in given.items()})
    assert answer.status_code in (401, 404, 405, 431), answer.text
    assert send(told, image).status_code == 200
    real.delete(told["id"])
    real.delete(other["id"])


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("application/json", b"{}", "multipart/form-data"),
        ("multipart/form-data", b"", "multipart/form-data"),
        ("multipart/form-data; boundary=" + "b" * 71, b"", "multipart/form-data"),
    ],
)
def test_no_form(real: RealCloud, image: bytes, kind: str, body: bytes, text: str) -> None:
    """What is no form at all is refused at once and does not use the right up."""
    told = offer(real)
    answer = httpx.post(told["postURL"], content=body, headers=headers(told, **{"content-type": kind}))
    assert answer.status_code == 431
    assert text in answer.json()["uploadresponse"]["errortext"]
    assert send(told, image).status_code == 200
    real.delete(told["id"])


NOTE = b"--" + EDGE + b'\r\nContent-Disposition: form-data; name="note"\r\n\r\n'
END = b"\r\n--" + EDGE + b"--\r\n"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (multipart(b"no image at all") + END, "QCOW2"),
        (multipart(b"QFI\xfb" + b"\xff" * 600) + END, ""),
        (multipart(b"QFI\xfb"), "last boundary"),
        (NOTE + b"hello" + END, "no file"),
        (NOTE + b"x" * 100_000 + END, "too much in it besides the file"),
        (multipart(b"1") + b"\r\n" + multipart(b"2") + END, "several files"),
        (b"this is no form", "cannot be read"),
        (b"--" + EDGE + b"\r\n" + b"X: " + b"y" * 70_000, "cannot be read"),
        (b"", "last boundary"),
    ],
)
def test_a_form_that_is_wrong(real: RealCloud, body: bytes, text: str) -> None:
    """The template ends Failed with a sentence that names the cause, and nothing is left of the file."""
    told = offer(real)
    kind = {"content-type": "multipart/form-data; boundary=" + EDGE.decode()}
    answer = httpx.post(told["postURL"], content=body, headers=headers(told, **kind), timeout=60)
    said = answer.json()["uploadresponse"]
    assert answer.status_code == said["errorcode"] >= 400
    assert text in said["errortext"]
    failed = real.settled(told["id"])
    assert (failed["isready"], failed["status"]) == (False, said["errortext"])
    assert not [n for n in real.images() if told["id"] in n]
    real.delete(told["id"])


def test_a_wrong_checksum(real: RealCloud, image: bytes) -> None:
    """A file that is not the one announced is thrown away."""
    told = offer(real, checksum="{SHA-256}" + "0" * 64)
    answer = send(told, image)
    assert answer.status_code == 431
    assert "checksum" in answer.json()["uploadresponse"]["errortext"]
    assert not [n for n in real.images() if told["id"] in n]
    real.delete(told["id"])


def test_a_file_larger_than_allowed(real: RealCloud, image: bytes) -> None:
    """A request that announces too much is refused before a byte is read; the right still holds."""
    told = offer(real)
    url = urlsplit(told["postURL"])
    connection = http.client.HTTPConnection(url.netloc, timeout=30)
    kind = {"content-type": "multipart/form-data; boundary=" + EDGE.decode(), "content-length": str(60 << 30)}
    connection.request("POST", url.path, headers=headers(told, **kind))
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    assert answer.status == 431
    assert "max.template.iso.size" in body
    assert send(told, image).status_code == 200
    real.delete(told["id"])


def begin(told: dict[str, Any], data: bytes) -> http.client.HTTPConnection:
    """An upload that is under way: half the file is sent, the rest is not."""
    url = urlsplit(told["postURL"])
    connection = http.client.HTTPConnection(url.netloc, timeout=60)
    connection.putrequest("POST", url.path)
    length = len(multipart(data)) + len(END)
    kind = {"content-type": "multipart/form-data; boundary=" + EDGE.decode(), "content-length": str(length)}
    for name, value in headers(told, **kind).items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(multipart(data[: len(data) // 2]))
    return connection


def under_way(real: RealCloud, id: str) -> None:
    """Wait until the host has something of the image."""
    until = time.monotonic() + 20
    while not [n for n in real.images() if id in n]:
        assert time.monotonic() < until, "nothing arrived"
        time.sleep(0.05)


def test_a_client_that_leaves(real: RealCloud, image: bytes) -> None:
    """When the connection ends in the middle the template fails, and the half file is gone."""
    told = offer(real)
    connection = begin(told, image)
    under_way(real, told["id"])
    connection.close()
    failed = real.settled(told["id"])
    assert failed["status"] == "The upload broke off: the connection ended before the file was whole."
    assert not [n for n in real.images() if told["id"] in n]
    real.delete(told["id"])


def test_only_one_of_two_at_once(real: RealCloud, image: bytes) -> None:
    """The right is good once, also when it is used twice at the same moment."""
    told = offer(real)
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(send(told, image).status_code)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 431, 431, 431]
    assert (real.data / "secondary" / "images" / f"{told['id']}.qcow2").read_bytes() == image
    real.delete(told["id"])


def test_the_manager_is_killed(real: RealCloud, image: bytes) -> None:
    """A manager killed in the middle: the next one finds the template without its file, says so, and cleans up."""
    told = offer(real)
    connection = begin(told, image)
    under_way(real, told["id"])
    os.kill(real.child("mold.server.main"), signal.SIGKILL)
    connection.close()
    real.wait_for_manager()
    failed = real.settled(told["id"])
    assert "the management server that received the file ended" in failed["status"]
    assert not [n for n in real.images() if told["id"] in n]
    real.delete(told["id"])


def test_the_agent_is_killed(real: RealCloud, image: bytes) -> None:
    """An agent killed in the middle: the upload fails, and what it had written goes when it is back."""
    told = offer(real)
    connection = begin(told, image)
    under_way(real, told["id"])
    os.kill(real.child("mold.agent"), signal.SIGKILL)
    failed = real.settled(told["id"])
    assert failed["isready"] is False
    assert failed["status"]
    connection.close()
    real.wait_for_manager()
    assert not [n for n in real.images() if told["id"] in n]
    real.delete(told["id"])


def test_deleted_before_its_file_came(real: RealCloud, image: bytes) -> None:
    """A template deleted before the upload takes the right with it."""
    told = offer(real)
    real.delete(told["id"])
    answer = send(told, image)
    assert answer.status_code == 401, answer.text


def test_memory_does_not_grow_with_the_file(real: RealCloud, tmp_path: Path) -> None:
    """A manager keeps a few pieces of a file, whatever its size."""
    told = offer(real, format="RAW")
    status = Path(f"/proc/{real.child('mold.server.main')}/status")

    def peak() -> int:
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024

    before = peak()
    large = tmp_path / "large.raw"
    with large.open("wb") as file:
        file.truncate(256 << 20)
    with large.open("rb") as file:
        files = {"file": ("large.raw", file)}
        answer = httpx.post(told["postURL"], files=files, headers=headers(told), timeout=120)
    assert answer.status_code == 200, answer.text
    assert peak() - before < 64 << 20
    real.delete(told["id"])


# -- in parts ------------------------------------------------------------------------------------------------------------


def part(told: dict[str, Any], data: bytes, offset: int, length: int, **other: str) -> httpx.Response:
    """Send a part of a file."""
    words = {"upload-offset": str(offset), "upload-length": str(length), "content-type": "application/offset+octet-stream"}
    return httpx.patch(told["postURL"], content=data, headers=headers(told, **{**words, **other}), timeout=60)


def there(told: dict[str, Any]) -> int:
    """How much of it the cloud says is there, once nothing is on its way."""
    until = time.monotonic() + 30
    while (answer := httpx.head(told["postURL"], headers=headers(told))).status_code == 423:
        assert time.monotonic() < until, "the part does not end"
        time.sleep(0.1)
    assert answer.status_code == 200, answer
    return int(answer.headers["upload-offset"])


def begin_part(told: dict[str, Any], data: bytes, offset: int = 0) -> http.client.HTTPConnection:
    """A part that is under way: half of what is announced is sent, the rest is not."""
    url = urlsplit(told["postURL"])
    connection = http.client.HTTPConnection(url.netloc, timeout=60)
    connection.putrequest("PATCH", url.path)
    words = {"upload-offset": str(offset), "upload-length": str(len(data)), "content-length": str(len(data) - offset),
             "content-type": "application/offset+octet-stream"}  # fmt: skip
    for name, value in headers(told, **words).items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(data[offset : offset + (len(data) - offset) // 2])
    return connection


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_in_parts(real: RealCloud, image: bytes, packed: bool) -> None:
    """Parts are put together where they belong; one that begins elsewhere learns where to go on."""
    data = gzip.compress(image, 1) if packed else image
    told = offer(real, checksum="{SHA-256}" + hashlib.sha256(data).hexdigest())
    third = len(data) // 3
    assert there(told) == 0
    first = part(told, data[:third], 0, len(data))
    assert first.status_code == 200, first.text
    assert first.json()["uploadresponse"]["success"] is False
    assert first.headers["upload-offset"] == str(third)
    waiting = real.template(told["id"])
    assert waiting is not None
    assert waiting["isready"] is False and "go on with the upload" in waiting["status"]
    for wrong in (0, third - 1, third + 1):
        answer = part(told, data[wrong:], wrong, len(data))
        assert (answer.status_code, answer.headers["upload-offset"]) == (409, str(third)), answer.text
    assert "send the same file" in part(told, b"x", third, len(data) + 1).json()["uploadresponse"]["errortext"]
    assert there(told) == third
    assert part(told, data[third : 2 * third], third, len(data)).json()["uploadresponse"]["success"] is False
    last = part(told, data[2 * third :], 2 * third, len(data))
    assert last.status_code == 200 and last.json()["uploadresponse"]["success"] is True, last.text
    assert (real.data / "secondary" / "images" / f"{told['id']}.qcow2").read_bytes() == image
    assert [n for n in real.images() if told["id"] in n and n.endswith("part")] == []
    assert httpx.head(told["postURL"], headers=headers(told)).status_code == 431
    real.delete(told["id"])


@pytest.mark.parametrize("killed", ["", "mold.server.main", "mold.agent"])
def test_a_part_that_breaks_off(real: RealCloud, image: bytes, killed: str) -> None:
    """Whoever ends in the middle, the client, the manager or the agent: the file can be finished from where it stands."""
    told = offer(real)
    assert part(told, image[:100_000], 0, len(image)).status_code == 200
    connection = begin_part(told, image, 100_000)
    time.sleep(1)
    if killed:
        os.kill(real.child(killed), signal.SIGKILL)
    connection.close()
    real.wait_for_manager()
    offset = there(told)
    assert 100_000 <= offset < len(image)
    if not killed:
        assert offset > 1_000_000, "what came before the client left is kept"
    until = time.monotonic() + 30
    while (answer := part(told, image[offset:], offset, len(image))).status_code != 200:
        assert time.monotonic() < until, answer.text  # until the agent is back
        offset = there(told)
        time.sleep(0.5)
    assert answer.json()["uploadresponse"]["success"] is True, answer.text
    assert (real.data / "secondary" / "images" / f"{told['id']}.qcow2").read_bytes() == image
    real.delete(told["id"])


def test_parts_that_are_refused(real: RealCloud, image: bytes) -> None:
    """Without the right, of the wrong kind, too long: nothing is taken, and the true ones still go."""
    told = offer(real)
    assert part(told, image, 0, len(image), **{"x-signature": "no"}).status_code == 401
    assert httpx.head(told["postURL"]).status_code == 401
    assert "Content-Type" in part(told, image, 0, len(image), **{"content-type": "text/plain"}).text
    for offset, length in (("", "9"), ("-1", "9"), ("9", "9"), ("0", ""), ("0", "0"), ("0", "1e3")):
        answer = part(told, b"x", 0, 9, **{"upload-offset": offset, "upload-length": length})
        assert answer.status_code == 431, (offset, length)
    assert "beyond" in part(told, image, 0, len(image) - 1).text

    def endless() -> Iterator[bytes]:
        for at in range(0, len(image), 65536):
            yield image[at : at + 65536]

    words = {"upload-offset": "0", "upload-length": "1000000", "content-type": "application/offset+octet-stream"}
    answer = httpx.patch(told["postURL"], content=endless(), headers=headers(told, **words), timeout=60)
    assert answer.status_code == 431 and "beyond" in answer.text
    connection = begin_part(told, image)
    time.sleep(0.5)
    assert httpx.head(told["postURL"], headers=headers(told)).status_code == 423
    assert part(told, image, 0, len(image)).status_code == 423
    connection.close()
    assert there(told) > 0
    other = offer(real)
    assert "max.template.iso.size" in part(other, b"x", 0, 60 << 30).text
    for each in (told, other):
        real.delete(each["id"])


def test_parts_of_what_is_no_image(real: RealCloud) -> None:
    """A whole file that fails its checks is thrown away, and the template says why."""
    told = offer(real)
    assert part(told, b"no image", 0, 16).status_code == 200
    answer = part(told, b" at all ", 8, 16)
    assert answer.status_code == 431 and "QCOW2" in answer.text
    assert real.settled(told["id"])["isready"] is False
    assert not [n for n in real.images() if told["id"] in n]
    real.delete(told["id"])


def test_parts_are_removed_with_the_template(real: RealCloud, image: bytes) -> None:
    """A file that was begun goes with its template, and so does the right to go on."""
    told = offer(real)
    assert part(told, image[:200_000], 0, len(image)).status_code == 200
    assert [n for n in real.images() if told["id"] in n]
    real.delete(told["id"])
    assert not [n for n in real.images() if told["id"] in n]
    assert part(told, image[200_000:], 200_000, len(image)).status_code == 401


def test_parts_given_up_for_a_whole_file(real: RealCloud, image: bytes) -> None:
    """Who began in parts may still send the file at once, as existing clients do; nothing of the parts stays."""
    told = offer(real)
    assert part(told, image[:200_000], 0, len(image)).status_code == 200
    assert send(told, image).status_code == 200
    assert [n for n in real.images() if told["id"] in n and n.endswith("part")] == []
    real.delete(told["id"])
