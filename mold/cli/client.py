"""One HTTP conversation with one server: signed, with a session, or anonymous.

Signed requests are version 3 (HMAC-SHA1, expiring).  A password is exchanged for
a session that is kept in the cache (mode 0600) until the server forgets it.
Proxies of the environment are used, except for this machine itself; redirects
are never followed, because they would carry the signature elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from mold.cli.faults import NotSignedIn, Refused, TimedOut, Unreachable, Usage
from mold.cli.profiles import Connection, cache_folder, keep
from mold.cli.words import say

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.request import OpenerDirector, Request

Found = TypeVar("Found")

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Answer = dict[str, Json]

READING = re.compile(r"(get|list|query|find)\w+")
SECRET = re.compile(r"pass|secret|signature|sessionkey|apikey|token|private|userdata|credential", re.IGNORECASE)
SIGNATURE_SECONDS = 600
UPLOAD_SECONDS = 600.0
"""How long the server may take after a file: it looks at it before it answers."""
QUERY_CHARACTERS = 2000  # longer questions are posted: proxies cut long addresses
NOT_OFFERED = "not available for user"  # a 401 that means the role, not the sign-in


def signing_text(params: Mapping[str, str]) -> str:
    """What is signed: sorted by name, values encoded as Java forms do with %20 for space, all lower case."""
    pairs = sorted((name, value) for name, value in params.items() if name.lower() != "signature")
    return "&".join(f"{name}={_encoded(value)}" for name, value in pairs).lower()


def _encoded(value: str) -> str:
    return quote(value, safe="-._*").replace("~", "%7E")  # quote never touches ~, Java does


def signature(params: Mapping[str, str], secret: str) -> str:
    """The base64 HMAC-SHA1 of `params`."""
    digest = hmac.new(secret.encode(), signing_text(params).encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def masked(params: Mapping[str, str]) -> dict[str, str]:
    """`params` fit to be shown: secrets replaced."""
    return {name: "***" if SECRET.search(name) else value for name, value in params.items()}


class Cloud:
    """Calls commands of one server and hands back what is inside the envelope."""

    def __init__(self, connection: Connection, *, request_seconds: float = 60, shows_requests: bool = False) -> None:
        self.connection = connection
        self.request_seconds = request_seconds
        self.shows_requests = shows_requests
        self._opener: OpenerDirector | None = None
        self._session: dict[str, str] | None = None
        self._session_file = cache_folder() / f"session-{connection.fingerprint}.json"

    def call(self, command: str, params: Mapping[str, str] | None = None, *, reads: bool | None = None) -> Answer:
        """Send `command`; `reads` says that it changes nothing (None: judged by its name).

        Raises NotSignedIn, Refused, Unreachable, TimedOut.
        """
        wanted = {"command": command, **(params or {}), "response": "json"}
        posts = not (READING.fullmatch(command) if reads is None else reads)
        return self._as_caller(wanted, lambda signed: self._ask(command, signed, posts=posts))

    def stream(self, path: str, last: str, *, seconds: float) -> HTTPResponse:
        """The server-sent events at `path` beside the API, after the event `last`; `seconds` of silence end it.

        Raises NotSignedIn, Refused, Unreachable, TimedOut; reading from it raises TimeoutError or OSError.
        """
        url = f"{self.connection.url.rpartition('/')[0]}/{path}"
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}

        def ask(signed: Mapping[str, str]) -> HTTPResponse:
            reply = self._reply(self._request(f"{url}?{urlencode(signed)}", None, headers, signed), url, seconds)
            if reply.status == 200 and reply.headers.get_content_type() == "text/event-stream":
                return reply
            with reply:
                body = reply.read()
            if reply.status == 404 or reply.status == 200:
                raise Refused(say("no.events", url=url))
            self._read("events", reply.status, body)
            raise Refused(say("no.events", url=url))

        return self._as_caller({"response": "json"}, ask)

    def send_file(self, url: str, headers: Mapping[str, str], name: str, file: IO[bytes], size: int) -> None:
        """Post a file of `size` bytes as form data, where the server said. Raises Refused, Unreachable, TimedOut."""
        mark = os.urandom(16).hex()
        quoted = name.replace("\\", "_").replace('"', "_").replace("\r", "_").replace("\n", "_")
        head = (
            f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{mark}--\r\n".encode()

        def body() -> Iterator[bytes]:
            yield head
            while piece := file.read(1 << 20):
                yield piece
            yield tail

        kind = f"multipart/form-data; boundary={mark}"
        length = str(len(head) + size + len(tail))
        request = self._request(url, body(), {**headers, "Content-Type": kind, "Content-Length": length}, headers)
        with self._reply(request, url, max(self.request_seconds, UPLOAD_SECONDS)) as reply:
            answer = reply.read()
        if reply.status >= 400:
            try:
                inner = next(iter(json.loads(answer).values()))
                text = str(inner.get("errortext") or inner)
            except (ValueError, AttributeError, StopIteration):
                text = f"HTTP {reply.status}"
            raise Refused(say("refused", command="upload", text=text), httpstatus=reply.status)

    def _as_caller(self, wanted: dict[str, str], ask: Callable[[Mapping[str, str]], Found]) -> Found:
        """Ask with the caller's credentials: signed, or with a session, made anew when the kept one is no longer good."""
        self.connection.check()
        link = self.connection
        if link.anonymous:
            return ask(wanted)
        if link.apikey:
            expires = time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(time.time() + SIGNATURE_SECONDS))
            wanted = wanted | {"apikey": link.apikey, "signatureversion": "3", "expires": expires}
            return ask(wanted | {"signature": signature(wanted, link.secretkey)})
        self._session = self._kept_session()
        if self._session is not None:
            try:
                return ask(wanted | {"sessionkey": self._session["sessionkey"]})
            except NotSignedIn:
                self.forget_session()
        answer = self.sign_in()
        return ask(wanted | {"sessionkey": str(answer["sessionkey"])})

    def sign_in(self) -> Answer:
        """Exchange user name and password for a session; the login answer. Raises NotSignedIn."""
        link = self.connection
        form = {"command": "login", "username": link.username, "password": link.password, "response": "json"}
        if link.domain:
            form["domain"] = link.domain
        self._session = None
        answer = self._ask("login", form, posts=True)
        key = answer.get("sessionkey")
        if not isinstance(key, str) or not key:
            raise NotSignedIn(say("bad.login", url=link.url, text="no session key"))
        self._session = {**self._cookies, "sessionkey": key}
        keep(self._session_file, json.dumps(self._session))
        return answer

    def forget_session(self) -> None:
        """Drop the kept session, here and on disk."""
        self._session = None
        self._session_file.unlink(missing_ok=True)

    def _kept_session(self) -> dict[str, str] | None:
        if self._session is not None:
            return self._session
        try:
            kept = json.loads(self._session_file.read_bytes())
        except (OSError, ValueError):
            return None  # no session is kept, or not a readable one: sign in
        usable = isinstance(kept, dict) and isinstance(kept.get("sessionkey"), str)
        return {str(name): str(value) for name, value in kept.items()} if usable else None

    _cookies: Mapping[str, str] = {}

    def _ask(self, command: str, params: Mapping[str, str], *, posts: bool) -> Answer:
        status, body = self._exchange(params, posts=posts)
        return self._read(command, status, body)

    def _exchange(self, params: Mapping[str, str], *, posts: bool) -> tuple[int, bytes]:
        """One request; the status and body whatever the status is."""
        url, text = self.connection.url, urlencode(params)
        if len(text) > QUERY_CHARACTERS and not self.connection.anonymous:
            posts = True
        in_query = self.connection.anonymous or not posts  # an integration port reads the query only
        data = None if not posts else (b"" if in_query else text.encode())
        request = self._request(f"{url}?{text}" if in_query else url, data, {"Accept": "application/json"}, params)
        begun = time.monotonic()
        try:
            with self._reply(request, url, self.request_seconds) as reply:
                status, headers, body = int(reply.status), reply.headers, reply.read()
        except TimeoutError as problem:
            raise TimedOut(say("no.answer", url=url, seconds=self.request_seconds)) from problem
        except OSError as problem:
            raise self._unreachable(problem) from problem
        except _http_broken() as problem:
            raise self._unreachable(problem) from problem
        if self.shows_requests:
            print(f"< {status} {len(body)} bytes {(time.monotonic() - begun) * 1000:.0f} ms", file=sys.stderr)
        self._cookies = _cookies(headers.get_all("Set-Cookie") or [])
        return status, body

    def _request(
        self, url: str, data: bytes | Iterator[bytes] | None, headers: Mapping[str, str], shown: Mapping[str, str]
    ) -> Request:
        """A request with the session's cookies; `shown` is what --debug may tell of it."""
        from urllib.request import Request

        method = "GET" if data is None else "POST"
        request = Request(url, data=data, method=method, headers={"User-Agent": "mold", **headers})
        if self._session is not None:
            request.add_header("Cookie", "; ".join(f"{name}={value}" for name, value in self._session.items()))
        if self.shows_requests:
            words = " ".join(f"{name}={value}" for name, value in masked(shown).items())
            print(f"> {method} {url.partition('?')[0]} {words}", file=sys.stderr)
        return request

    def _reply(self, request: Request, url: str, seconds: float) -> HTTPResponse:
        """The answer, whatever its status. Raises Unreachable, TimedOut."""
        from urllib.error import HTTPError, URLError

        try:
            try:
                reply: HTTPResponse = self._open().open(request, timeout=seconds)
            except HTTPError as refused:
                return refused  # type: ignore[return-value] # an answer like any other: the body says why
        except TimeoutError as problem:
            raise TimedOut(say("no.answer", url=url, seconds=seconds)) from problem
        except (OSError, URLError, _http_broken()) as problem:
            raise self._unreachable(problem) from problem
        return reply

    def _unreachable(self, problem: Exception) -> Unreachable | TimedOut:
        import ssl

        url = self.connection.url
        cause = getattr(problem, "reason", problem)
        if isinstance(cause, TimeoutError):
            return TimedOut(say("no.answer", url=url, seconds=self.request_seconds))
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Unreachable(say("bad.certificate", url=url, why=cause.verify_message.rstrip(".") + "."))
        why = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        return Unreachable(say("unreachable", url=url, why=why))

    def _open(self) -> OpenerDirector:
        if self._opener is not None:
            return self._opener
        import ssl
        from urllib import request

        class StaysHere(request.HTTPRedirectHandler):
            def redirect_request(self, *_: object) -> None:
                return None

        link = self.connection
        handlers: list[request.BaseHandler] = [StaysHere()]
        if link.url.startswith("https:"):
            try:
                context = ssl.create_default_context(cafile=link.cacert or None)
            except (OSError, ssl.SSLError) as problem:
                raise Usage(say("bad.file", path=link.cacert, why=problem)) from problem
            if link.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            handlers.append(request.HTTPSHandler(context=context))
        host = urlsplit(link.url).hostname or ""
        if host == "localhost" or host == "::1" or host.startswith("127."):
            handlers.append(request.ProxyHandler({}))
        self._opener = request.build_opener(*handlers)
        return self._opener

    def _read(self, command: str, status: int, body: bytes) -> Answer:
        """What is inside the envelope. Raises NotSignedIn or Refused when it is an error."""
        url = self.connection.url
        inner: Json = None
        try:
            outer = json.loads(body)
        except ValueError:
            outer = None
        if isinstance(outer, dict) and len(outer) == 1:
            inner = next(iter(outer.values()))
        if not isinstance(inner, dict):
            raise Refused(say("no.json", url=url, status=status), command=command, httpstatus=status)
        if status == 200 and "errorcode" not in inner:
            return inner
        code = inner.get("errorcode")
        text = str(inner.get("errortext") or inner.get("description") or f"HTTP {status}")
        facts: dict[str, str | int | list[str]] = {"command": command, "errortext": text}
        facts["errorcode"] = code if isinstance(code, int) else status
        for name in ("cserrorcode", "errorkey"):
            value = inner.get(name)
            if isinstance(value, int | str):
                facts[name] = value
        if command == "login":
            raise NotSignedIn(say("bad.login", url=url, text=text), **facts)
        if status in (401, 511) and NOT_OFFERED not in text:
            raise NotSignedIn(say("bad.credentials", url=url, text=text), **facts)
        raise Refused(say("refused", command=command, text=text), **facts)


def _http_broken() -> type[Exception]:
    import http.client

    return http.client.HTTPException


def _cookies(headers: list[str]) -> dict[str, str]:
    """Names and values of Set-Cookie headers, attributes left out."""
    pairs = (header.split(";", 1)[0].partition("=") for header in headers)
    return {name.strip(): value.strip() for name, found, value in pairs if found and name.strip()}
