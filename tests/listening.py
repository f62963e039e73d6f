"""A client of the live stream, as a browser's EventSource is one, written from the standard."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass
class Heard:
    """One event."""

    id: str
    name: str
    body: Any
    at: float


class Listener:
    """Reads a stream in a thread of its own until it ends or is closed."""

    def __init__(
        self, url: str, params: dict[str, str], *, cookies: dict[str, str] | None = None, last: str | None = None
    ) -> None:
        self.heard: list[Heard] = []
        self.comments = 0
        self.last = last or ""
        self.ended = threading.Event()
        self._new = threading.Condition()
        headers = {"Accept": "text/event-stream"}
        if cookies:
            headers["Cookie"] = "; ".join(f"{k}={v}" for k, v in cookies.items())
        if last is not None:
            headers["Last-Event-ID"] = last
        self._client = httpx.Client(timeout=httpx.Timeout(10, read=60))
        self._stream = self._client.stream("GET", url + "/client/events", params=params, headers=headers)
        self.answer = self._stream.__enter__()
        self.status = self.answer.status_code
        if self.status != 200:
            self.answer.read()
            self.ended.set()
            return
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def _read(self) -> None:
        name, data, id = "message", "", ""
        try:
            for line in self.answer.iter_lines():
                if line.startswith(":"):
                    self.comments += 1
                elif line:
                    field, _, value = line.partition(": ")
                    if field == "event":
                        name = value
                    elif field == "data":
                        data += value
                    elif field == "id":
                        id = value
                else:
                    with self._new:
                        self.last = id or self.last
                        if data:
                            self.heard.append(Heard(id, name, json.loads(data), time.monotonic()))
                        self._new.notify_all()
                    name, data, id = "message", "", ""
        except (httpx.HTTPError, httpx.StreamError):
            pass
        finally:
            self.ended.set()
            with self._new:
                self._new.notify_all()

    def until(self, fits: Callable[[Heard], bool], seconds: float = 5) -> Heard:
        """The first event that fits, waited for."""
        end = time.monotonic() + seconds
        with self._new:
            while True:
                for each in self.heard:
                    if fits(each):
                        return each
                left = end - time.monotonic()
                assert left > 0 and not self.ended.is_set(), f"not heard; heard were {self.heard}"
                self._new.wait(left)

    def of(self, row: str, seconds: float = 5, op: str | None = None) -> Heard:
        """The first event about a row."""
        return self.until(
            lambda h: h.name == "resource" and h.body["id"] == row and op in (None, h.body["op"]), seconds
        )

    def about(self, row: str) -> list[Heard]:
        """What has been heard about a row."""
        return [h for h in self.heard if isinstance(h.body, dict) and h.body.get("id") == row]

    def close(self) -> None:
        """Hang up."""
        if not self.ended.is_set():
            with contextlib.suppress(OSError):
                self.answer.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            self.ended.wait(5)
        self._client.close()
