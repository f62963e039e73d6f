"""What the agent's tests share: authorities and certificates made on the spot, an agent's folder, a small real manager."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.server import Server, ServerConnection, serve

from mold.agent import config
from mold.agent.here import Here
from mold.agent.main import prepare
from mold.wire import calls as w

NOW = datetime.datetime.now(datetime.UTC)


class Authority:
    """A certificate authority."""

    def __init__(self, name: str = "Mold test CA") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            _builder(subject, subject, self.key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> str:
        return pem(self.certificate)

    def issue(self, name: str, key: ec.EllipticCurvePublicKey, *alternatives: x509.GeneralName) -> str:
        """A certificate (PEM) for a public key."""
        names = alternatives or (x509.DNSName(name),)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = _builder(subject, self.certificate.subject, key).add_extension(x509.SubjectAlternativeName(names), critical=False)
        return pem(made.sign(self.key, hashes.SHA256()))

    def sign(self, csr: str) -> str:
        """The certificate for a signing request."""
        request = x509.load_pem_x509_csr(csr.encode())
        assert request.is_signature_valid
        return self.issue(request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value, request.public_key())

    def write(self, folder: Path, stem: str, name: str, *alternatives: x509.GeneralName) -> None:
        """A fresh key and certificate as `<stem>.key` and `<stem>.crt`."""
        key = ec.generate_private_key(ec.SECP256R1())
        (folder / f"{stem}.key").write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        (folder / f"{stem}.crt").write_text(self.issue(name, key.public_key(), *alternatives))


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(hours=1))
        .not_valid_after(NOW + datetime.timedelta(days=1))
    )


def set_up(folder: Path, authority: Authority | None = None, **words: str) -> Path:
    """An agent's folder with settings (and certificates); its data folder is beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    words = {"guid": str(uuid.uuid4()), "name": "test-host", "data": str(folder / "data"), **words}
    (folder / config.FILE).write_text("".join(f"{key.replace('_', '.')}={value}\n" for key, value in words.items()))
    if authority is not None:
        authority.write(folder, "host", words["guid"])
        (folder / "ca.crt").write_text(authority.pem)
    return folder


@contextlib.asynccontextmanager
async def agent(folder: Path, **words: str) -> AsyncIterator[Here]:
    """An agent's `here`, without a link."""
    here = prepare(set_up(folder, **words))
    try:
        yield here
    finally:
        await here.close()


class Manager:
    """A manager as small as one can be: welcomes agents, keeps what they send, asks them, serves streams."""

    def __init__(self, folder: Path, authority: Authority, name: str = "mold-manager") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        authority.write(folder, "manager", name)
        (folder / "ca.crt").write_text(authority.pem)
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.crt"))
        self.tls.verify_mode = ssl.CERT_REQUIRED
        self.tls.load_cert_chain(folder / "manager.crt", folder / "manager.key")
        self.welcome = w.Welcome(manager="m1", host="h1", ping_seconds=0.2)
        self.port = 0
        self.hellos: list[w.Hello] = []
        self.reports: list[w.Report] = []
        self.progress: list[w.Progress] = []
        self.closed: list[tuple[int | None, str | None]] = []
        self.connected = asyncio.Event()
        self.streams: dict[str, asyncio.Future[ServerConnection]] = {}
        self.stream_over = asyncio.Event()
        self.connection: ServerConnection | None = None
        self._answers: dict[int, asyncio.Future[w.Reply]] = {}
        self._n = 0
        self._server: Server | None = None

    async def __aenter__(self) -> Manager:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        self._server = await serve(self._serve, "127.0.0.1", self.port, ssl=self.tls, compression=None, max_size=w.FRAME_MAX)
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def send(self, frame: object) -> None:
        assert self.connection is not None
        await self.connection.send(w.pack(frame))

    def request(self, call: w.Call, seconds: float = 10, key: str = "", epoch: int = 0) -> tuple[w.Request, asyncio.Future[w.Reply]]:
        self._n += 1
        self._answers[self._n] = asyncio.get_running_loop().create_future()
        return w.Request(n=self._n, call=call, seconds=seconds, key=key, epoch=epoch), self._answers[self._n]

    async def ask(self, call: w.Call, seconds: float = 10, key: str = "", epoch: int = 0) -> w.Reply:
        request, answer = self.request(call, seconds, key, epoch)
        await self.send(request)
        return await asyncio.wait_for(answer, seconds + 5)

    async def _serve(self, connection: ServerConnection) -> None:
        path = connection.request.path if connection.request else ""
        if path.startswith("/stream/"):
            self.streams[path.removeprefix("/stream/")].set_result(connection)
            await self.stream_over.wait()
            return
        self.connection = connection
        with contextlib.suppress(Exception):
            hello = w.for_manager(await connection.recv())
            assert isinstance(hello, w.Hello)
            self.hellos.append(hello)
            await connection.send(w.pack(self.welcome))
            self.connected.set()
            async for data in connection:
                match w.for_manager(data):
                    case w.Report() as report:
                        self.reports.append(report)
                        await connection.send(w.pack(w.Pong()))
                    case w.Progress() as progress:
                        self.progress.append(progress)
                    case w.Reply(n=n) as reply:
                        self._answers[n].set_result(reply)
        await connection.wait_closed()
        self.closed.append((connection.close_code, connection.close_reason))
