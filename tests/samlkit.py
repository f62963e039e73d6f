"""A real identity provider for tests: pysaml2's IdP behind a real HTTP server, with its own keys; and ways to forge what it says."""

from __future__ import annotations

import base64
import datetime
import re
import shutil
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

SHA256 = ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "http://www.w3.org/2001/04/xmlenc#sha256")
OTHER = "https://other.invalid"
"""Another service provider of the same identity provider."""
SHA1 = ("http://www.w3.org/2000/09/xmldsig#rsa-sha1", "http://www.w3.org/2000/09/xmldsig#sha1")


def key_pair(folder: Path, name: str) -> tuple[str, str]:
    """Paths of a new key and its certificate."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2)).sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    paths = folder / f"{name}.key", folder / f"{name}.crt"
    paths[0].write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    )
    paths[1].write_bytes(made.public_bytes(pem))
    return str(paths[0]), str(paths[1])


class Provider:
    """An identity provider. `sp` is what it believes of the service provider: set it to that one's metadata."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key, self.certificate = key_pair(folder, "idp")
        self.other_key, self.other_certificate = key_pair(folder, "stranger")
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}"
        self.id = f"{self.url}/metadata"
        self.sp = ""
        self.without_certificate = False
        self.requests: list[str] = []
        self.back = ""
        """Where browsers are sent back to, with POST."""
        self.forged: dict[str, Any] = {}
        """What is wrong with the answers that browsers take back: more for `answer`."""
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()

    def server(self, key: str | None = None, certificate: str | None = None, sp: str | None = None) -> Any:
        """pysaml2's own IdP."""
        import saml2
        from saml2.config import IdPConfig
        from saml2.server import Server

        config = IdPConfig()
        metadata = self.sp if sp is None else sp
        config.load(
            {
                "entityid": self.id,
                "xmlsec_binary": shutil.which("xmlsec1"),
                "key_file": key or self.key,
                "cert_file": certificate or self.certificate,
                "metadata": {"inline": [metadata, metadata.replace('entityID="mold"', f'entityID="{OTHER}"')]}
                if metadata
                else {},
                "organization": {"name": "The tests", "display_name": "The tests' provider", "url": self.url},
                "service": {
                    "idp": {
                        "endpoints": {
                            "single_sign_on_service": [(f"{self.url}/sso", saml2.BINDING_HTTP_REDIRECT)],
                            "single_logout_service": [(f"{self.url}/slo", saml2.BINDING_HTTP_REDIRECT)],
                        },
                        "want_authn_requests_signed": True,
                        "sign_assertion": True,
                    }
                },
            }
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Server(config=config)

    def metadata(self) -> str:
        """What it says of itself."""
        from saml2.metadata import entity_descriptor

        text = str(entity_descriptor(self.server(sp="").config))
        if self.without_certificate:
            text = re.sub(r"<(\w+:)?KeyDescriptor.*?</(\w+:)?KeyDescriptor>", "", text, flags=re.S)
        return text

    def answer(
        self, location: str, username: str, *, attribute: str = "uid", key: str | None = None,
        certificate: str | None = None, algorithms: tuple[str, str] = SHA256, sign: bool = True,
        audience: str | None = None, destination: str | None = None,
        in_response_to: str | None = None,
    ) -> str:  # fmt: skip
        """What somebody brings back who has signed in here, having come with this redirect: a SAMLResponse (base64)."""
        import saml2

        server = self.server(key, certificate)
        query = parse_qs(urlsplit(location).query)
        request = server.parse_authn_request(
            query["SAMLRequest"][0], saml2.BINDING_HTTP_REDIRECT, relay_state=query.get("RelayState", [None])[0],
            sigalg=query["SigAlg"][0], signature=query["Signature"][0],
        ).message  # fmt: skip
        self.requests.append(str(request))
        made = server.create_authn_response(
            {attribute: [username]},
            in_response_to or request.id,
            destination or request.assertion_consumer_service_url,
            sp_entity_id=audience or request.issuer.text,
            userid=username,
            authn={"class_ref": "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport", "authn_auth": self.id},
            sign_assertion=sign,
            sign_response=False,
            sign_alg=algorithms[0],
            digest_alg=algorithms[1],
            session_not_on_or_after=None,
        )
        return base64.b64encode(str(made).encode()).decode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/sso?"):
                    page = "<h1>The tests' provider</h1><form method=post><label>Name <input name=name autofocus></label><button>Sign in</button></form>"
                    self.say(page.encode(), "text/html")
                elif self.path.startswith("/slo?"):
                    self.say(b"<h1>Signed out of the tests' provider</h1>", "text/html")
                else:
                    self.say(provider.metadata().encode(), "application/samlmetadata+xml")

            def do_POST(self) -> None:
                """Somebody gave a name on the page of /sso: the browser takes the answer to where it came from."""
                given = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                response = provider.answer(f"{provider.url}{self.path}", given["name"][0], **provider.forged)
                form = f'<form method=post action="{escape(provider.back)}"><input type=hidden name=SAMLResponse value="{response}"></form>'
                self.say(f"<body onload=document.forms[0].submit()>{form}".encode(), "text/html")

            def say(self, body: bytes, kind: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@contextmanager
def running(folder: Path) -> Iterator[Provider]:
    """A provider that answers on a free port."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Provider(folder)
    try:
        yield made
    finally:
        made.httpd.shutdown()
        made.httpd.server_close()
