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
import re
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

from mold.cli.faults import NotSignedIn, Refused, TimedOut, Unreachable, Usage
from mold.cli.profiles import Connection, cache_folder, keep
from mold.cli.words import say

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Answer = dict[str, Json]

READING = re.compile(r"(get|list|query|find)\w+")
SECRET = re.compile(r"pass|secret|signature|sessionkey|apikey|token|private|userdata|credential", re.IGNORECASE)
SIGNATURE_SECONDS = 600
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
        self.connection.check()
        wanted = {"command": command, **(params or {}), "response": "json"}
        posts = not (READING.fullmatch(command) if reads is None else reads)
        link = self.connection
        if link.anonymous:
            return self._ask(command, wanted, posts=posts)
        if link.apikey:
            expires = time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(time.time() + SIGNATURE_SECONDS))
            wanted |= {"apikey": link.apikey, "signatureversion": "3", "expires": expires}
            return self._ask(command, wanted | {"signature": signature(wanted, link.secretkey)}, posts=posts)
        self._session = self._kept_session()
        if self._session is not None:
            try:
                return self._ask(command, wanted | {"sessionkey": self._session["sessionkey"]}, posts=posts)
            except NotSignedIn:
                self.forget_session()
        answer = self.sign_in()
        return self._ask(command, wanted | {"sessionkey": str(answer["sessionkey"])}, posts=posts)

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
        import http.client
        from urllib.error import HTTPError, URLError
        from urllib.request import Request

        url, text = self.connection.url, urlencode(params)
        if len(text) > QUERY_CHARACTERS and not self.connection.anonymous:
            posts = True
        in_query = self.connection.anonymous or not posts  # an integration port reads the query only
        request = Request(
            f"{url}?{text}" if in_query else url,
            data=None if not posts else (b"" if in_query else text.encode()),
            method="POST" if posts else "GET",
            headers={"Accept": "application/json", "User-Agent": "mold"},
        )
        if self._session is not None:
            request.add_header("Cookie", "; ".join(f"{name}={value}" for name, value in self._session.items()))
        if self.shows_requests:
            shown = " ".join(f"{name}={value}" for name, value in masked(params).items())
            print(f"> {request.get_method()} {url} {shown}", file=sys.stderr)
        begun = time.monotonic()
        try:
            try:
                reply = self._open().open(request, timeout=self.request_seconds)
            except HTTPError as refused:
                reply = refused  # an answer like any other: the body says why
            with reply:
                status, headers, body = int(reply.status), reply.headers, reply.read()
        except TimeoutError as problem:
            raise TimedOut(say("no.answer", url=url, seconds=self.request_seconds)) from problem
        except (OSError, URLError, http.client.HTTPException) as problem:
            raise self._unreachable(problem) from problem
        if self.shows_requests:
            print(f"< {status} {len(body)} bytes {(time.monotonic() - begun) * 1000:.0f} ms", file=sys.stderr)
        self._cookies = _cookies(headers.get_all("Set-Cookie") or [])
        return status, body

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


def _cookies(headers: list[str]) -> dict[str, str]:
    """Names and values of Set-Cookie headers, attributes left out."""
    pairs = (header.split(";", 1)[0].partition("=") for header in headers)
    return {name.strip(): value.strip() for name, found, value in pairs if found and name.strip()}
