"""The live stream: what changes, told to who may see it, while it happens (`GET /client/events`).

What transactions changed is gathered a few times a second, put into a ring, and told to each stream as server-sent
events.  Whether a caller may see a row is asked of the row's policy, with one query for a kind and a caller; of a row
that is gone, the policy is asked about the row as it was.  A client that comes back with `Last-Event-ID` is told what
it missed, or `reset` when that is not known any more: then it reads everything anew.

Nothing is gathered while nobody listens.  Of several managers, each tells the others, while they have streams, the ids
of what it changed; which rows those are they read for themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mold.api.answer import view
from mold.api.command import COMMANDS, Command
from mold.api.door import Door, Request
from mold.api.permit import TRUE, Caller, condition, gone, judged
from mold.base import ids
from mold.base.errors import Refusal, TooMany, Unauthorized, Unavailable
from mold.features.identity import signin
from mold.store import REGISTRY, Resource, Tx
from mold.store.store import Change
from mold.work import Engine, Job, notices
from mold.work.job import alive, session
from mold.work.operation import OPERATIONS
from mold.work.run import is_away

log = structlog.get_logger()
CHANNEL = "mold_changes"
TICK_SECONDS = 0.2
HEARTBEAT_SECONDS = 15.0
LOOK_SECONDS = 2.0
"""How often it is looked whether those who listen still may."""
KEEP_SECONDS = 300.0
"""How long a change is kept for clients that come back, and gathering goes on after the last stream."""
RING_MOST = 20_000
REPLAY_MOST = 5_000
PENDING_MOST = 50_000
QUEUE_MOST = 50
"""Batches that may wait for a slow client."""
SLOW_SECONDS = 10.0
MEET_SECONDS = 1.0
"""How long a new stream waits for the other managers to gather."""
STREAMS_MOST = 2_000
PER_USER_MOST = 10
NOTICE_BYTES = 7_500
"""PostgreSQL takes 8,000 in one notice."""
NOTICES_MOST = 40
"""Notices in one go; with more to tell the others are told to start anew."""
RECORDS = ("event", "alert")
"""Kinds whose new rows are told whole, as their list shows them, as events of that name."""


@dataclass(frozen=True)
class Told:
    """One change. `was`: of a removed row, what its policy judges by."""

    id: int
    op: str
    kind: str
    row: str
    names: tuple[str, ...] = ()
    was: dict[str, Any] | None = None


@dataclass(eq=False)
class Stream:
    """One client that listens. `cursor` is the id up to which it has been told everything."""

    request: Request
    caller: Caller
    cursor: int
    queue: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(QUEUE_MOST))
    closed: bool = False

    def put(self, piece: bytes | None) -> None:
        """Queue what is to be sent, None for the end; a client with too much in its queue is dropped."""
        if self.closed:
            return
        if piece is None or self.queue.full():
            self.closed = True
            while not self.queue.empty():
                self.queue.get_nowait()
            piece = None
        self.queue.put_nowait(piece)


def message(name: str, body: Any, id: int) -> bytes:
    """One server-sent event. JSON holds no line breaks."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (id, name.encode(), msgspec.json.encode(body))


@cache
def listing() -> dict[str, list[Command]]:
    """The commands that list each kind."""
    found: dict[str, list[Command]] = defaultdict(list)
    for each in COMMANDS.values():
        if each.shape == "list" and each.answers is not None and each.reads and each.answers.policy is not None:
            found[each.answers.kind].append(each)
    return dict(found)


@cache
def shown_as(kind: str, operator: bool) -> dict[str, tuple[str, ...]]:
    """What each column of a kind is called in answers; hidden ones are not there."""
    out: dict[str, tuple[str, ...]] = {}
    for name, spec in REGISTRY[kind].columns.items():
        if spec.hidden or spec.secret or (spec.admin and not operator):
            continue
        if spec.refers:
            out[name] = tuple(spec.shows or REGISTRY[spec.refers].appears or {f"{spec.refers}id": ""})
        else:
            out[name] = (spec.api or name.replace("_", ""),)
    return out


class Feed:
    """The streams of one manager."""

    def __init__(self, door: Door, engine: Engine) -> None:
        self.door, self.engine, self.store = door, engine, door.store
        self.heartbeat_seconds = HEARTBEAT_SECONDS
        self.keep_seconds = KEEP_SECONDS
        self.per_user = PER_USER_MOST
        self.streams: set[Stream] = set()
        self.wanted = False
        """Whether somebody here or elsewhere listens, or did lately; read by every writer after its commit."""
        self._ring: deque[Told] = deque()
        self._top = 0
        self._since = 0
        """The ring holds all that was told after this id."""
        self._tag = int(ids.digest(engine.session)[:8], 16) % 100
        self._pending: deque[Change] = deque()
        self._foreign: deque[Told] = deque()
        self._lost = False
        self._until = 0.0
        self._others_until = 0.0
        self._peers: frozenset[str] = frozenset()
        self._heard_before = False
        self._here: set[str] = set()
        self._met = asyncio.Event()
        self._answers: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "feed")
        self._task: asyncio.Task[None] | None = None
        self.store.listeners.append(self.changed)
        engine.on_told.append(self._progress)
        engine.channels[CHANNEL] = self._heard

    # -- gathering -------------------------------------------------------------------------------------------

    def changed(self, changes: Iterable[Change]) -> None:
        """Hear of a committed transaction; in any thread."""
        if not self.wanted:
            return
        if len(self._pending) > PENDING_MOST:
            self._lost = True
            return
        self._pending.extend(changes)

    def _progress(self, job: Job, text: str) -> None:
        if self.wanted and not job.internal:
            self._pending.append(Change("set", Job.kind, job.id, {}))

    def _number(self) -> int:
        """The next id: time, so that the gaps between ids tell nothing; its last two digits are this process's."""
        self._top = max(self._top // 100 + 1, int(time.time() * 10_000)) * 100 + self._tag
        return self._top

    def _drained(self) -> list[Told]:
        """What was changed since the last time, each row once."""
        met: dict[tuple[str, str], tuple[str, dict[str, None], dict[str, Any] | None]] = {}
        kinds = listing()
        for _ in range(len(self._pending)):
            op, kind, id, fields = self._pending.popleft()
            if kind not in kinds or (kind == "event" and op != "add"):
                continue
            before, names, _ = met.pop((kind, id), (op, {}, None))
            if op == "remove":
                met[kind, id] = (op, {}, {n: fields[n] for n in judged(kind)})
            else:
                new = {} if op == "add" else dict.fromkeys(fields)
                met[kind, id] = ("add" if before == "add" else op, names | new, None)
        return [Told(self._number(), op, k, i, tuple(names), was) for (k, i), (op, names, was) in met.items()]

    def _keep(self, told: list[Told]) -> None:
        self._ring.extend(told)
        old = int((time.time() - self.keep_seconds) * 10_000) * 100
        while self._ring and (len(self._ring) > RING_MOST or self._ring[0].id < old):
            self._since = self._ring.popleft().id

    def reset(self) -> None:
        """Something was missed: nothing can be replayed, and who listens must read everything anew."""
        self._ring.clear()
        self._since = self._number()
        for each in self.streams:
            each.cursor = self._since
            each.put(message("reset", {}, self._since))

    # -- other managers --------------------------------------------------------------------------------------

    def _heard(self, text: str) -> None:
        """Hear another manager."""
        if not text:
            if self._heard_before and self.streams:
                self.reset()
            self._heard_before = True
            return
        sender, what, rows = msgspec.json.decode(text)
        if sender == self.engine.session:
            return
        if what == "wanted":
            self._others_until = time.monotonic() + LOOK_SECONDS * 4
            self.wanted = True
            self._wake.set()
            answer = asyncio.create_task(self._tell([self._word("here")]))
            self._answers.add(answer)
            answer.add_done_callback(self._answers.discard)
        elif what == "here":
            self._here.add(sender)
            self._met.set()
        elif self.streams or time.monotonic() < self._until:
            if what == "reset":
                self.reset()
            for op, kind, row, names, was in rows:
                if kind in listing():
                    self._foreign.append(Told(0, op, kind, row, tuple(names), was))

    def _notices(self, told: list[Told]) -> list[str]:
        """Texts that tell the other managers, each short enough."""
        out: list[str] = []
        rows: list[bytes] = []
        size = 0

        def flush() -> None:
            nonlocal size
            if rows:
                body = b",".join(rows).decode()
                out.append(f'["{self.engine.session}","changes",[{body}]]')
            rows.clear()
            size = 0

        for t in told:
            row = msgspec.json.encode((t.op, t.kind, t.row, t.names, t.was))
            if size + len(row) > NOTICE_BYTES - 100:
                flush()
            if len(row) > NOTICE_BYTES - 100:
                return [self._word("reset")]
            rows.append(row)
            size += len(row) + 1
        flush()
        return out if len(out) <= NOTICES_MOST else [self._word("reset")]

    def _word(self, what: str) -> str:
        return msgspec.json.encode((self.engine.session, what, ())).decode()

    async def _tell(self, texts: list[str]) -> None:
        def go() -> None:
            with self.store.write() as tx:
                for text in texts:
                    notices.send(tx, text, CHANNEL)

        await self._in_thread(go)

    async def _in_thread(self, work: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # -- telling ---------------------------------------------------------------------------------------------

    def _lister(self, tx: Tx, kind: str, caller: Caller) -> Caller | None:
        """The caller as far as she may list rows of a kind, by any command that lists them; None when by none."""
        may = [c for c in listing()[kind] if self.door.rule(tx, caller, c) is None]
        if not may:
            return None
        if not caller.project_roles:
            return caller
        return replace(caller, projects=tuple({p for c in may for p in self.door.narrow(tx, caller, c, {}).projects}))

    def _visible(self, tx: Tx, kind: type[Resource], caller: Caller, rows: dict[str, Any]) -> set[str]:
        """Which of these rows the caller may see."""
        lister = self._lister(tx, kind.kind, caller)
        if lister is None:
            return set()
        rule = condition(kind, lister, "see")
        if rule is TRUE or not rows:
            return set(rows)
        return set(tx.execute(sa.select(kind.c.id).where(tx.any_of(kind.c.id, list(rows)), rule)).scalars())

    def _messages(self, wanted: dict[tuple[Any, int], tuple[Caller, list[Told]]]) -> dict[Any, bytes]:
        """What each listener is to be sent: by caller and cursor."""
        out: dict[Any, bytes] = {}
        with self.store.read() as tx:
            rows: dict[str, dict[str, Any]] = {}
            for _, news in wanted.values():
                for t in news:
                    if t.op != "remove":
                        rows.setdefault(t.kind, {})[t.row] = None
            for name, found in rows.items():
                rows[name] = tx.among(REGISTRY[name], list(found))
            rows["asyncjob"] = {i: j for i, j in rows.get("asyncjob", {}).items() if not j.internal}
            for key, (caller, news) in wanted.items():
                out[key] = self._for(tx, signin.within(tx, caller), news, rows)
        return out

    def _for(self, tx: Tx, caller: Caller, news: list[Told], rows: dict[str, dict[str, Any]]) -> bytes:
        """The events of one caller."""
        live: dict[str, dict[str, Any]] = defaultdict(dict)
        dead: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for t in news:
            if t.was is not None:
                dead[t.kind].append(t.was)
            elif (row := rows[t.kind].get(t.row)) is not None:
                live[t.kind][t.row] = row
        seen = {k: self._visible(tx, REGISTRY[k], caller, found) for k, found in live.items()}
        for k, ghosts in dead.items():
            lister = self._lister(tx, k, caller)
            if lister is not None:
                seen.setdefault(k, set()).update(gone(tx, REGISTRY[k], lister, ghosts))
        whole: dict[str, Any] = {}
        for k in RECORDS:
            new = {t.row for t in news if t.kind == k and t.op == "add"}
            picked = [live[k][i] for i in seen.get(k, ()) if i in live[k] and i in new]
            if picked:
                whole.update(zip((r.id for r in picked), view(REGISTRY[k]).page(tx, picked, caller), strict=True))
        out: list[bytes] = []
        for t in news:
            if t.row not in seen.get(t.kind, ()) or (t.was is None and t.row not in live[t.kind]):
                continue
            if t.kind in RECORDS and t.op == "add":
                out.append(message(t.kind, whole[t.row], t.id))
            elif t.kind == Job.kind:
                out.append(message("job", self._job(live[t.kind][t.row]), t.id))
            else:
                names = shown_as(t.kind, caller.root)
                extra = set(REGISTRY[t.kind].columns)
                changed = dict.fromkeys(a for n in t.names for a in names.get(n, () if n in extra else (n,)))
                body: dict[str, Any] = {"type": listing()[t.kind][0].key, "id": t.row, "op": t.op, "changed": list(changed)}
                row = live[t.kind].get(t.row)
                if row is not None and row.__dict__.get("state") is not None:
                    body["state"] = row.__dict__["state"]
                out.append(message("resource", body, t.id))
        return b"".join(out)

    def _job(self, job: Job) -> dict[str, Any]:
        run = self.engine.runs.get(job.number)
        made = COMMANDS.get(job.cmd)
        at = run.job.at if run is not None and job.status == 0 else job.at
        kind = OPERATIONS.get(job.operation)
        percent = 100 if job.status == 1 else max(job.percent, run.job.percent if run is not None else 0)
        body = {
            "id": job.id,
            "cmd": made.name if made else job.operation,
            "pct": percent,
            "step": at if kind is None or at in {s.name for s in kind.steps} else "",
            "status": job.status,
        }
        if run is not None and run.text and job.status == 0:
            body["text"] = run.text
        if job.instance_id:
            body["instancetype"], body["instanceid"] = job.instance_type, job.instance_id
        return body

    async def _deliver(self) -> None:
        """Tell every stream what it has not been told yet."""
        top = self._top
        wanted: dict[tuple[Any, int], tuple[Caller, list[Told]]] = {}
        whose: dict[tuple[Any, int], list[Stream]] = defaultdict(list)
        for each in self.streams:
            if each.cursor >= top or each.closed:
                continue
            who = each.caller
            places = tuple(who.project_roles.items())
            key = ((who.user_id, who.role_id, who.projects, places, who.domain_trail), each.cursor)
            if key not in wanted:
                news = [t for t in self._ring if t.id > each.cursor]
                if len(news) > REPLAY_MOST:
                    each.cursor = top
                    each.put(message("reset", {}, top))
                    continue
                wanted[key] = (each.caller, news)
            whose[key].append(each)
        if not wanted:
            return
        said = await self._in_thread(lambda: self._messages(wanted))
        for key, streams in whose.items():
            for each in streams:
                if each.cursor == key[1]:  # not reset meanwhile
                    each.cursor = top
                    if said[key]:
                        each.put(said[key])

    async def _look(self) -> None:
        """End the streams of who may not listen any more; tell other managers that somebody listens here."""

        def again() -> tuple[dict[Stream, Caller | None], frozenset[str]]:
            found: dict[Stream, Caller | None] = {}
            with self.store.read() as tx:
                for each in list(self.streams):
                    try:
                        found[each] = signin.still(tx, each.request)
                    except Unauthorized:
                        found[each] = None
            return found, self._others() if self.store.postgres else frozenset()

        found, peers = await self._in_thread(again)
        for each, caller in found.items():
            if caller is None:
                each.put(None)
            else:
                each.caller = caller
        if self._peers - peers:  # one has gone, perhaps with news that it had not told
            self.reset()
        self._peers = peers
        self._here &= peers
        if self.store.postgres and (self.streams or time.monotonic() < self._until):
            await self._tell([self._word("wanted")])

    async def run(self) -> None:
        """Gather and tell, until cancelled."""
        look = 0.0
        while True:
            if not self.wanted:
                self._wake.clear()
                self._peers = frozenset()
                self._here.clear()
                await self._wake.wait()
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            if self.streams:
                self._until = now + self.keep_seconds
            try:
                if self._lost:
                    self._lost = False
                    self._pending.clear()
                    self.reset()
                    if now < self._others_until:
                        await self._tell([self._word("reset")])
                own = self._drained()
                if own and now < self._others_until:
                    await self._tell(self._notices(own))
                others = [replace(self._foreign.popleft(), id=self._number()) for _ in range(len(self._foreign))]
                self._keep(own + others)
                await self._deliver()
                if now >= look:
                    look = now + LOOK_SECONDS
                    await self._look()
            except Exception as broken:
                if is_away(broken):
                    log.warning("database away; the live stream waits", error=str(broken)[:200])
                else:
                    log.exception("the live stream stumbled; who listens is told to start anew")
                    self.reset()
                await asyncio.sleep(1)
            self.wanted = bool(self.streams) or now < self._until or now < self._others_until
            if not self.wanted:
                self._ring.clear()
                self._pending.clear()
                self._since = self._number()

    async def start(self) -> None:
        """Be ready for streams."""
        self._since = self._number()
        self._task = asyncio.create_task(self.run())

    async def stop(self) -> None:
        """End all streams."""
        for each in list(self.streams):
            each.put(None)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await asyncio.to_thread(self._thread.shutdown)
        if self.changed in self.store.listeners:
            self.store.listeners.remove(self.changed)

    # -- one client ------------------------------------------------------------------------------------------

    async def open(self, request: Request, last: str) -> Stream:
        """A new stream. Unauthorized when the caller is not let in, TooMany when there are enough."""
        caller = await self.engine.reading(lambda tx: self.door.who(tx, request))
        count = Counter(each.caller.user_id for each in self.streams)
        if count[caller.user_id] >= self.per_user or len(self.streams) >= STREAMS_MOST:
            raise TooMany(
                f"There are {count[caller.user_id]} live streams of this user already, of {self.per_user}; close one.",
                streams=count[caller.user_id],
            )
        if self._task is None or self._task.done():
            raise Unavailable("The live stream is not available now; look again with the lists.")
        if not self.wanted:
            self._since = self._number()
        self.wanted, self._until = True, max(self._until, time.monotonic() + 5)
        self._wake.set()
        await self._meet()
        number = ids.whole(last) if last else None
        replay = number is not None and number % 100 == self._tag and self._since <= number <= self._top
        made = Stream(request, caller, number if replay and number is not None else self._top)
        hello = b"retry: 3000\n" + message("hello", {"heartbeat": self.heartbeat_seconds}, made.cursor)
        if last and not replay:
            hello += message("reset", {}, made.cursor)
        made.put(hello)
        self.streams.add(made)
        return made

    async def _meet(self) -> None:
        """Wait until the other managers gather too: from the stream's first event on, nothing is missed."""
        if not self.store.postgres:
            return
        others = await self._in_thread(self._others)
        if others <= self._here:
            return
        await self._tell([self._word("wanted")])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MEET_SECONDS):
                while not others <= self._here:
                    self._met.clear()
                    await self._met.wait()

    def _others(self) -> frozenset[str]:
        with self.store.read() as tx:
            return frozenset(tx.execute(sa.select(session.c.id).where(alive(tx))).scalars()) - {self.engine.session}


class EventStream(Response):
    """The answer that goes on until the client leaves, is too slow, or may listen no more."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed, stream: Stream, headers: dict[str, str]) -> None:
        super().__init__(
            None, headers={**headers, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}, media_type=self.media_type
        )
        self.raw_headers = [(k, v) for k, v in self.raw_headers if k != b"content-length"]
        self.feed, self.stream = feed, stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what the feed has for this stream."""
        gone = asyncio.create_task(self._gone(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while not gone.done():
                piece = await self._next(gone)
                if piece is None:
                    break
                body = {"type": "http.response.body", "body": piece, "more_body": True}
                await asyncio.wait_for(send(body), SLOW_SECONDS)
            await asyncio.wait_for(send({"type": "http.response.body", "body": b"", "more_body": False}), 1)
        except TimeoutError:
            log.info("a live stream was too slow and is ended", user=self.stream.caller.username)
        finally:
            self.feed.streams.discard(self.stream)
            gone.cancel()

    async def _next(self, gone: asyncio.Task[None]) -> bytes | None:
        """What is to be sent now, a heartbeat when nothing is; None for the end."""
        queue = self.stream.queue
        waiting = asyncio.create_task(queue.get())
        await asyncio.wait({waiting, gone}, timeout=self.feed.heartbeat_seconds, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            return None if gone.done() else b"id: %d\n: heartbeat\n\n" % self.stream.cursor
        piece = waiting.result()
        while piece is not None and not queue.empty():
            more = queue.get_nowait()
            if more is None:
                self.stream.queue.put_nowait(None)
                break
            piece += more
        return piece

    @staticmethod
    async def _gone(receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass


async def listen(feed: Feed, http: HttpRequest, request: Request, headers: dict[str, str]) -> Response:
    """Answer `GET /client/events`."""
    last = http.headers.get("last-event-id") or request.params.get("lasteventid", "")
    try:
        stream = await feed.open(request, last[:30])
    except Refusal as no:
        body = {"errorresponse": feed.door.refused(no, None)}
        more = {"Retry-After": "10"} if no.code in (429, 503) else {}
        return Response(
            msgspec.json.encode(body),
            no.code,
            {**headers, "Cache-Control": "no-store", **more},
            "application/json; charset=UTF-8",
        )
    return EventStream(feed, stream, headers)
