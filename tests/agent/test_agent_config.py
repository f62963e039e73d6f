"""The agent's settings and its identity."""

from __future__ import annotations

import asyncio
import os
import uuid
from pathlib import Path

import pytest
from agentkit import Authority, agent, set_up

from mold.agent import config, identity
from mold.agent.serve import Desk
from mold.base.errors import Invalid
from mold.wire import calls as w


def test_settings_are_read_and_a_guid_is_made_once(tmp_path: Path) -> None:
    (tmp_path / config.FILE).write_text("# who to call\nhost = 10.0.0.5, mgr.example:9250 ,[fd00::1]:1\n\nping.interval=3\nguest.label=br0")
    first = config.load(tmp_path)
    assert [str(each) for each in first.managers] == ["10.0.0.5:8250", "mgr.example:9250", "[fd00::1]:1"]
    assert (first.ping_seconds, first.uri, first.data, first.words["guest.label"]) == (3, "qemu:///system", Path("/var/lib/mold"), "br0")
    assert config.load(tmp_path).guid == first.guid == str(uuid.UUID(first.guid))
    text = (tmp_path / config.FILE).read_text()
    assert text.startswith("# who to call\n") and text.count("guid=") == 1
    assert (tmp_path / config.FILE).stat().st_mode & 0o777 == 0o600

    config.keep_managers(tmp_path, ["10.0.0.6", "10.0.0.7:8251"])
    assert [str(each) for each in config.load(tmp_path).managers] == ["10.0.0.6:8250", "10.0.0.7:8251"]
    assert (tmp_path / config.FILE).read_text().startswith("# who to call\n")
    config.keep_managers(tmp_path, [])
    assert config.load(tmp_path).managers == ()
    assert [each.name for each in tmp_path.iterdir()] == [config.FILE]


@pytest.mark.parametrize("managers", [["10.0.0.5\nguid=x"], ["a b"], [""], ["10.0.0.5:0"], ["10.0.0.5:99999"], ["x:"  "y"], ["[::1"], ["-x"]])
def test_a_list_of_managers_that_is_none_changes_nothing(tmp_path: Path, managers: list[str]) -> None:
    set_up(tmp_path, host="10.0.0.5")
    before = (tmp_path / config.FILE).read_text()
    with pytest.raises(Invalid):
        config.keep_managers(tmp_path, ["10.0.0.9", *managers])
    assert (tmp_path / config.FILE).read_text() == before


@pytest.mark.parametrize("line", ["guid=5", "domain.type=xen", "data=relative", "data=/srv/../etc", "ping.interval=soon", "ping.interval=-1", "no sign", "host=a b"])
def test_settings_that_are_wrong_are_told(tmp_path: Path, line: str) -> None:
    (tmp_path / config.FILE).write_text(line + "\n")
    with pytest.raises(Invalid, match=config.FILE if "host" not in line else "address"):
        config.load(tmp_path)


def test_no_settings_at_all(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"There is no agent\.properties"):
        config.load(tmp_path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    config.write(path, b"old", 0o600)
    with pytest.raises(TypeError):
        config.write(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["x"]


def test_certificate_is_renewed_and_changes_over_whole(tmp_path: Path) -> None:
    async def main() -> None:
        old, new = Authority("old"), Authority("new")
        set_up(tmp_path, old)
        guid = config.load(tmp_path).guid
        async with agent(tmp_path, guid=guid) as here:
            desk = Desk(here)

            async def ask(call: w.Call) -> w.Reply:
                reply = w.for_manager(await desk.answer(w.Request(n=1, call=call, seconds=5)))
                assert isinstance(reply, w.Reply)
                return reply

            before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*") if path.is_file()}
            request = (await ask(w.RenewCertificate())).facts
            csr = w.msgspec.msgpack.decode(request, type=w.SigningRequest).csr
            again = w.msgspec.msgpack.decode((await ask(w.RenewCertificate())).facts, type=w.SigningRequest).csr
            assert (tmp_path / "host.key.next").stat().st_mode & 0o777 == 0o600
            old.write(tmp_path, "stranger", "stranger")
            stranger = w.InstallCertificate(certificate=(tmp_path / "stranger.crt").read_text(), authorities=new.pem)
            assert (await ask(stranger)).error == "Conflict" and not here.renewed
            for certificate, authorities in (("garbage", new.pem), (new.sign(csr), "garbage")):
                wrong = await ask(w.InstallCertificate(certificate=certificate, authorities=authorities))
                assert wrong.error == "Invalid"
            assert {name: (tmp_path / name).read_bytes() for name in before} == before, "nothing changes before the certificate comes"

            install = w.InstallCertificate(certificate=new.sign(again), authorities=new.pem)
            for _ in range(2):
                assert not (await ask(install)).error
            assert here.renewed
            assert (tmp_path / "host.crt").read_text() == install.certificate and (tmp_path / "ca.crt").read_text() == new.pem
            assert (tmp_path / "host.key").read_bytes() != before["host.key"]
            assert not list(tmp_path.glob("*.next"))

            here.renewed = False
            both = w.InstallCertificate(certificate=install.certificate, authorities=new.pem + old.pem)
            assert not (await ask(both)).error and here.renewed
            assert (tmp_path / "ca.crt").read_text() == both.authorities

    asyncio.run(main())


@pytest.mark.parametrize("done", range(3))
def test_a_change_over_that_was_interrupted_is_finished(tmp_path: Path, done: int) -> None:
    authority = Authority()
    settings = config.load(set_up(tmp_path, authority))
    key = identity.new_key()
    certificate = authority.sign(identity.request(key, settings))
    files = [("host.key", key), ("ca.crt", authority.pem.encode()), ("host.crt", certificate.encode())]
    for number, (name, data) in enumerate(files):
        (tmp_path / (name if number < done else f"{name}.next")).write_bytes(data)
    identity.settle(settings)
    assert all((tmp_path / name).read_bytes() == data for name, data in files) and not list(tmp_path.glob("*.next"))
    identity.settle(settings)


def test_a_certificate_without_its_key_is_dropped(tmp_path: Path) -> None:
    authority = Authority()
    settings = config.load(set_up(tmp_path, authority))
    before = settings.certificate.read_text()
    (tmp_path / "host.crt.next").write_text(authority.sign(identity.request(identity.new_key(), settings)))
    identity.settle(settings)
    assert settings.certificate.read_text() == before and not list(tmp_path.glob("*.next"))
