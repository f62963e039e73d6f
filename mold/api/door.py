"""The door: one request in, one answer out. HTTP and the integration port both come through here.

The door reads the request, lets the caller in, runs the command in one transaction and turns what comes
out, answer or refusal, into the API's format.  It is one of the three places that catch everything.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from mold.api import events, proxies, throttle
from mold.api.answer import as_json, as_xml, show
from mold.api.command import COMMANDS, Asked, Command, Ctx
from mold.api.outcome import outcomes
from mold.api.permit import Caller
from mold.api.read import arguments
from mold.base import clock, ids
from mold.base.errors import (
    BadRequest,
    Conflict,
    Failed,
    Invalid,
    Refusal,
    TooMany,
    Unauthorized,
    Unavailable,
    UnknownCommand,
)
from mold.store import Resource, Store, Tx
from mold.store.settings import setting
from mold.work import Engine, Job, error_of

log = structlog.get_logger()
VERSION = "4.23.0.0"
TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,60}/[A-Za-z0-9!#$&^_.+-]{1,60}(; ?[a-z]{1,20}=[A-Za-z0-9_.-]{1,40})?")
SLOW_SECONDS = 1.0
POST_AHEAD_SECONDS = 15 * 60
"""How far ahead the expiry of a signature may lie where `enforce.post.requests.and.timestamps` is on."""
WITH_VERSION = setting(
    "expose.cloudstack.version.api.xml.response", True, "Whether answers in XML carry the version of the API."
)
JSON_TYPE = setting(
    "json.content.type",
    "application/json; charset=UTF-8",
    "Content type of answers in JSON.",
    check=lambda text: None if TYPE.fullmatch(text) else "it is no content type, as application/json; charset=UTF-8.",
)
ENCODE = setting("encode.api.response", False, "Whether texts in answers are written as in URLs (%20 for a space).")
FRANK = setting("expose.errors.to.user", False, "Whether everybody is told the details of failures, not root admins alone.")
STRICT = setting(
    "enforce.post.requests.and.timestamps",
    False,
    "Whether what changes something must be sent by POST, and signed requests must end within 15 minutes.",
)


@dataclass
class Request:
    """One request as the door takes it. `params` keeps the spelling of the names (signatures need it)."""

    params: dict[str, str]
    post: bool = False
    peer: str = ""
    """The other end of the connection."""
    address: str = ""
    """The caller's, which is another when a proxy that is believed says so; see `mold.api.proxies`."""
    base_url: str = ""
    integration: bool = False
    cookies: dict[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """By their names in lower case; what proxies say of the caller is among them."""
    foreign: str = ""
    """The origin of the page that made the browser ask, when that is not this server's own page."""

    @property
    def secure(self) -> bool:
        """Whether it came encrypted."""
        return self.base_url.startswith("https://")

    def given(self, name: str) -> str:
        """The parameter of this name, however it is spelled; empty when it is not there."""
        return next((v for k, v in self.params.items() if k.lower() == name.lower()), "")


@dataclass
class Answer:
    """One answer. `cookies` are (name, value, attributes) to set; `plain` True sends the body as text."""

    status: int
    body: bytes
    kind: str
    cookies: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Entry:
    """What a command that works on the request itself (login, logout) gets and may set.

    With `redirect` the answer sends the browser there and has no body.
    """

    request: Request
    cookies: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    caller: Caller | None = None
    etag: str = ""
    redirect: str = ""
    kind: str = "text/plain; charset=UTF-8"
    """What a body is that the command gives as text."""


Authenticator = Callable[[Tx, Request], Caller | None]
Rule = Callable[[Tx, Caller, Command], Refusal | None]
"""Why a caller may not call a command, or None."""
Narrow = Callable[[Tx, Caller, Command, dict[str, str]], Caller]
"""The caller as far as she goes with this command; may refuse."""
Guard = Callable[[Tx, Command, dict[str, Any]], None]
"""Refuses what must not be done to the rows that a request names."""


class Door:
    """Dispatches requests. `authenticators` are asked in turn who the caller is."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        *,
        authenticators: list[Authenticator],
        system: Callable[[Tx], Caller],
        rule: Rule,
        narrow: Narrow,
        guard: Guard,
    ) -> None:
        self.store = store
        self.engine = engine
        self.authenticators = authenticators
        self.system = system
        self.rule = rule
        self.narrow = narrow
        self.guard = guard
        self.lower = {n.lower(): n for n, c in COMMANDS.items() if c.open}
        self.observe: Callable[[str, int, float], None] | None = None
        self._big = asyncio.Semaphore(4)
        self.manner = Manner()

    async def answer(self, request: Request) -> Answer:
        """Answer one request. Never raises."""
        began = time.monotonic()
        name = request.params.get("command", "")
        made = COMMANDS.get(name) or COMMANDS.get(self.lower.get(name.lower(), ""))
        envelope = made.envelope if made else "errorresponse"
        entry = Entry(request)
        form = request.params.get("response", "").lower()
        try:
            if not request.params:
                raise BadRequest("no command specified")
            if made is None:
                if not name:
                    envelope = "null"
                    raise (
                        UnknownCommand("no command specified")
                        if request.integration
                        else BadRequest("no command specified")
                    )
                raise await self._unknown(name, request)
            body = await self._run(made, request, entry)
            status = 200
        except Refusal as no:
            status = no.code
            envelope = no.envelope or envelope
            body = no.text if no.plain else self.refused(no, entry.caller)
            if no.inner:
                log.info("refused", command=name[:100], text=no.text, inner=no.inner)
        except IntegrityError as broken:
            no2 = Conflict("Another request changed the same things at the same moment; read again and retry.")
            log.info("constraint broken at commit", command=name[:100], error=str(broken.orig)[:300])
            status, body = no2.code, self.refused(no2, entry.caller)
        except OperationalError as broken:
            log.warning("database away", command=name[:100], error=str(broken.orig)[:300])
            away = Unavailable("The database does not answer; the request changed nothing. Try again shortly.")
            status, body = 503, {**self.refused(away, None), "errorcode": 503, "errortext": away.text}
        except DBAPIError as broken:
            log.exception("database refused a statement", command=name[:100], error=str(broken.orig)[:500])
            bad = Invalid("A value cannot be stored; check the parameters.")
            status, body = bad.code, self.refused(bad, entry.caller)
        except Exception:
            log.exception("command failed", command=name[:100])
            broken2 = Failed(Failed.public)
            status, body = broken2.code, self.refused(broken2, None)
        if status != 200 and made is not None and made.error_envelope and envelope == made.envelope:
            envelope = made.error_envelope
        seconds = time.monotonic() - began
        if self.observe is not None:
            self.observe(made.name if made else "unknown", status, seconds)
        if seconds > SLOW_SECONDS and made is not None and not made.waits:
            log.warning("slow command", command=name, seconds=round(seconds, 3))
        log.info(
            "request", command=made.name if made else name[:100], status=status, ms=round(seconds * 1000, 2),
            address=request.address, caller=self._called(entry), **({"post": True} if request.post else {}),
        )  # fmt: skip
        headers = self._headers(status, body)
        if entry.redirect and status == 200:
            return Answer(302, b"", "text/plain; charset=UTF-8", entry.cookies, {**headers, "Location": entry.redirect})
        if isinstance(body, str):
            kind = entry.kind if status == 200 else "text/plain; charset=UTF-8"
            return Answer(status, body.encode(), kind, entry.cookies, headers)
        if entry.etag and status == 200:
            headers["ETag"] = f'W/"{entry.etag}-{"json" if form == "json" else "xml"}"'
            if headers["ETag"] in request.headers.get("if-none-match", ""):
                return Answer(304, b"", "", entry.cookies, headers)
        if self.manner.encode:
            body = _encoded(body)
        if form == "json":
            return Answer(status, as_json(envelope, body), self.manner.json_type, entry.cookies, headers)
        version = None if request.integration or not self.manner.versioned else VERSION
        return Answer(status, as_xml(envelope, body, version), "text/xml; charset=UTF-8", entry.cookies, headers)

    def _called(self, entry: Entry) -> str | None:
        """Who asked, for the log; never what proves it."""
        if entry.caller is None:
            return None
        return entry.caller.username or entry.caller.account

    def _headers(self, status: int, body: Any) -> dict[str, str]:
        """Headers of a refusal: its text for clients that read no bodies, and when to come again."""
        if status == 200 or not isinstance(body, dict) or "errortext" not in body:
            return {}
        out = {"X-Description": _header(body["errortext"])}
        if status == TooMany.code:
            out["Retry-After"] = str(-(-body.get("errorparams", {}).get("retryafter", 1000) // 1000))
        return out

    def refused(self, no: Refusal, caller: Caller | None) -> dict[str, Any]:
        """The body of a refusal."""
        text = no.text
        facts = no.facts
        if no.hidden and not self.manner.frank and (caller is None or not (caller.root or caller.internal)):
            text, facts = no.public if "public" not in no.facts else str(no.facts["public"]), {}
        body: dict[str, Any] = {"uuidList": [], "errorcode": no.code}
        if no.cs:
            body["cserrorcode"] = no.cs
        body["errortext"] = text
        body["errorkey"] = no.key
        shown = {k: v for k, v in facts.items() if k != "public"}
        if shown:
            body["errorparams"] = shown
        return body

    def _enter(self, tx: Tx, made: Command, request: Request, entry: Entry) -> Caller:
        """Let the caller in: who it is, from where, not too often, and in the way that is asked for."""
        self.manner = _manner(tx)
        if request.headers:
            request.address = proxies.address(tx, request.peer, request.headers)
        caller = self.who(tx, request)
        if entry.caller is None:  # not again when the transaction is tried again
            entry.caller = caller
            throttle.admit(tx, caller)
        if not caller.internal and STRICT.get(tx):
            _strict(made, request, caller)
        return caller

    async def _run(self, made: Command, request: Request, entry: Entry) -> Any:
        if made.open:
            if request.headers:
                request.address = await self.engine.reading(
                    lambda tx: proxies.address(tx, request.peer, request.headers)
                )
            function: Any = made.function
            return await function(self, entry)
        work = self.engine.reading if made.reads else self.engine.writing
        state: dict[str, Any] = {}

        def admitted(tx: Tx) -> tuple[Ctx, dict[str, Any]]:
            caller = self._enter(tx, made, request, entry)
            state["caller"] = caller
            no = self.rule(tx, caller, made)
            if no is not None:
                raise no
            caller = self.narrow(tx, caller, made, request.params)
            found, given = arguments(made, request.params, tx, caller)
            self.guard(tx, made, found)
            asked = Asked(request.base_url, request.address, request.post, caller.session)
            may: Callable[[Command], bool] = lambda other: self.rule(tx, caller, other) is None  # noqa: E731
            return Ctx(caller, tx, made, self.engine, asked, given, may), found

        def question(tx: Tx) -> Awaitable[Any]:
            assert made.asks is not None
            ctx, found = admitted(tx)
            return made.asks(ctx, **found)

        def go(tx: Tx) -> Any:
            ctx, found = admitted(tx)
            caller = ctx.caller
            ctx.heard = state.get("heard")
            custom = {k.lower(): v for k, v in request.params.items()}.get("customjobid")
            if made.job and custom:
                if not ids.UUID.match(custom):
                    raise Invalid("customjobid must be a uuid.", parameter="customjobid")
                ctx.custom_job_id = custom.lower()
            out = made.function(ctx, **found)
            state["ctx"], entry.etag = ctx, ctx.etag
            if made.reads:
                return out
            self._note(ctx, out, found)
            if made.job:
                return self._accepted(ctx, out)
            if made.waits and ctx.job is not None:
                return None
            return self.shape(tx, made, out, caller)

        try:
            if made.asks is not None:
                state["heard"] = await (await self.engine.reading(question))
            if made.shape == "list":
                async with self._big:
                    body = await work(go)
            else:
                body = await work(go)
        except Refusal as no:
            caller = entry.caller
            if no.hidden and caller is not None and (caller.root or caller.internal):
                raise _Frank(no) from no
            raise
        ctx: Ctx | None = state.get("ctx")
        caller = entry.caller
        assert caller is not None
        if made.waits and not made.job and ctx is not None and ctx.job is not None:
            job = await self.engine.finished(ctx.job.id, made.wait_seconds)
            if job.status == 2:
                ended = error_of(job)
                raise _Frank(ended) if ended.hidden and caller.root else ended
            if job.status == 0:
                raise Failed(
                    f"{made.name} is still under way as job {job.id}; look at it with queryAsyncJobResult.",
                    jobid=job.id,
                )
            body = await self.engine.reading(lambda tx: outcomes(tx, [job], caller)[job.id])
            if made.shape == "list" or made.answers is None:
                return self._reshape(made, body)
        return body

    def _reshape(self, made: Command, body: dict[str, Any]) -> dict[str, Any]:
        if made.shape == "list":
            (key, value), *_ = body.items()
            return {"count": 1, key: [value]}
        return body

    def who(self, tx: Tx, request: Request) -> Caller:
        """Who asks; Unauthorized if nobody."""
        if request.integration:
            return self.system(tx)
        for each in self.authenticators:
            caller = each(tx, request)
            if caller is not None:
                return caller
        raise Unauthorized("unable to verify user credentials and/or request signature", inner="no credentials")

    async def _unknown(self, name: str, request: Request) -> Refusal:
        """The refusal of an unknown command: only who has a session, or the integration port, is told that it is unknown."""
        if not request.integration:
            if not request.cookies.get("JSESSIONID"):
                return Unauthorized(
                    f"The given command '{name[:100]}' either does not exist, is not available for user."
                )
            await self.engine.reading(lambda tx: self.who(tx, request))
        return UnknownCommand(f"Unknown API command: {name[:100]}", command=name[:100])

    def shape(self, tx: Tx, made: Command, out: Any, caller: Caller) -> Any:
        """What a synchronous command answers."""
        if made.shape == "flat" or (isinstance(out, dict) and made.answers is None and made.shape == "object"):
            return out
        if made.shape == "success":
            body: dict[str, Any] = {"success": True}
            if isinstance(out, str):
                body["displaytext"] = out
            return body
        if made.shape == "list":
            rows = out if isinstance(out, list) else [out]
            return {"count": len(rows), made.key: [r if isinstance(r, dict) else show(tx, r, caller) for r in rows]}
        return {made.key: show(tx, out, caller) if not isinstance(out, dict) else out}

    def _accepted(self, ctx: Ctx, out: Any) -> dict[str, Any]:
        if ctx.job is None:
            raise RuntimeError(f"{ctx.command.name} is asynchronous but started no operation")
        body: dict[str, Any] = dict(out) if isinstance(out, dict) else {}
        if ctx.command.creates:
            body["id"] = out.id
        body["jobid"] = ctx.job.id
        return body

    def _note(self, ctx: Ctx, out: Any, given: dict[str, Any]) -> None:
        """Record the event of a command: about what it returns, or about the thing that its `id` names."""
        made, caller = ctx.command, ctx.caller
        if not made.event:
            return
        about = (out, given.get("id"))
        target: Any = next((each for each in about if isinstance(each, Resource)), None)
        text = made.doc.rstrip(".") + (f": {target.__dict__.get('name') or target.id}" if target is not None else "")
        if ctx.told is not None:
            text, target = ctx.told
        job = ctx.job
        whose: dict[str, Any] = {
            "account_id": caller.account_id,
            "domain_id": caller.domain_id,
            "user_id": caller.user_id or None,
            "username": caller.username or None,
        }
        if target is not None and getattr(target, "account_id", None):
            whose.update(
                account_id=target.account_id, domain_id=target.domain_id, project_id=getattr(target, "project_id", None)
            )
        events.record(
            ctx.tx,
            made.event,
            text,
            resource=target,
            resource_kind=job.instance_type if job is not None and target is None else None,
            resource_id=job.instance_id if job is not None and target is None else None,
            state="Scheduled" if job is not None else "Completed",
            id=job.event_id if job is not None else None,
            **whose,
        )


@dataclass(frozen=True)
class Manner:
    """How answers are written, as the settings said when somebody was last let in."""

    versioned: bool = True
    json_type: str = JSON_TYPE.default
    encode: bool = False
    frank: bool = False


@lru_cache(16)
def _manners(versioned: bool, json_type: str, encode: bool, frank: bool) -> Manner:
    return Manner(versioned, json_type, encode, frank)


def _manner(tx: Tx) -> Manner:
    return _manners(WITH_VERSION.get(tx), JSON_TYPE.get(tx), ENCODE.get(tx), FRANK.get(tx))


def _encoded(body: Any) -> Any:
    """All texts of an answer as in URLs."""
    if isinstance(body, str):
        return quote(body, safe="")
    if isinstance(body, dict):
        return {k: _encoded(v) for k, v in body.items()}
    return [_encoded(v) for v in body] if isinstance(body, list | tuple) else body


def _strict(made: Command, request: Request, caller: Caller) -> None:
    """What is changed is sent by POST, and a signature ends soon."""
    if not made.reads and not request.post:
        raise BadRequest(f"State changing command {made.name} needs to be sent using POST request")
    if caller.session is not None:
        return
    low = {k.lower(): v for k, v in request.params.items() if k.lower() in ("signatureversion", "expires")}
    try:
        ends = clock.parse(low.get("expires", ""))
    except ValueError:
        ends = 0.0
    if low.get("signatureversion") != "3" or ends > time.time() + POST_AHEAD_SECONDS:
        raise Unauthorized(
            "unable to verify user credentials and/or request signature",
            inner="signatures must be of version 3 and end within 15 minutes (enforce.post.requests.and.timestamps)",
        )


class _Frank(Refusal):
    """A hidden refusal, shown in full because the caller is a root admin."""

    def __init__(self, no: Refusal) -> None:
        super().__init__(no.text, inner=no.inner, **no.facts)
        self.code = no.code  # type: ignore[misc]
        self.cs = no.cs  # type: ignore[misc]
        self.hidden = False  # type: ignore[misc]
        self.envelope = no.envelope  # type: ignore[misc]
        self._key = no.key

    @property
    def key(self) -> str:
        return self._key


def _header(text: str) -> str:
    """The text as an HTTP header may hold it: control characters would make the server drop the connection."""
    plain = "".join(c if c.isprintable() else " " for c in text[:500])
    return plain.encode("latin-1", "replace").decode("latin-1")


def begin_event(tx: Tx, job: Job, op: Any) -> None:
    """Record that a job with an event is begun; installed as the engine's `on_begin`."""
    if job.event and job.event_id:
        events.follow(tx, job.event_id, f"Starting job {job.cmd}", state="Started")


def finish_event(tx: Tx, job: Job, op: Any) -> None:
    """Record the end of a job that began with an event; installed as the engine's `on_finish`."""
    if not job.event or job.account_id is None:
        return
    failed = job.status == 2
    text = f"Successfully completed {job.cmd}"
    if failed:
        no = error_of(job)  # whose it is reads the event: what is for operators only is not in it
        text = f"Error while {job.cmd}: {(no.facts.get('public') or no.public) if no.hidden else no.text}"
    level = "ERROR" if failed else "INFO"
    about: dict[str, Any] = {"resource_kind": job.instance_type, "resource_id": job.instance_id}
    if job.event_id and events.follow(tx, job.event_id, text, state="Completed", level=level, **about):
        return
    events.record(
        tx,
        job.event,
        text,
        account_id=job.account_id,
        domain_id=job.domain_id or "",
        user_id=job.user_id,
        level=level,
        parent=job.event_id,
        **about,
    )


__all__ = ["VERSION", "Answer", "Door", "Entry", "Request", "begin_event", "finish_event"]
