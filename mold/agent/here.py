"""What the handlers of one agent share: its settings, its line to libvirt, and what should happen to the agent next."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from mold.agent.config import Settings
from mold.agent.virt import Virt
from mold.wire import calls as w

TRANSFERS = 4


@dataclass
class Here:
    """One agent. Handlers reach it as `work.here`; it belongs to one event loop."""

    settings: Settings
    virt: Virt
    domain_type: str = ""
    """What a probe guest really started with; empty until somebody asked `probe.domain_type`."""
    dismissed: bool = False
    """A manager said `StopAgent`: after the answer is sent the agent ends."""
    renewed: bool = False
    """The certificate changed: after the answer is sent the link is made anew."""
    background: set[asyncio.Task[None]] = field(default_factory=set)
    """Tasks that outlive their call (consoles); ended when the agent ends."""
    transfers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(TRANSFERS))
    """Images come and are copied a few at a time, so that they leave the disks to the guests."""
    locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    """Each lives as long as somebody holds it or waits for it."""
    problems: dict[str, str] = field(default_factory=dict)
    """Sentences about what does not work on this host, by subject; told with every report."""
    last_report: w.HostReport | None = None

    def lock(self, subject: str) -> asyncio.Lock:
        """The lock of one machine, image or volume: two operations may name the same thing under different keys."""
        held = self.locks.get(subject)
        if held is None:
            held = self.locks[subject] = asyncio.Lock()
        return held

    async def close(self) -> None:
        """End the background tasks and let libvirt go. Guests are left alone."""
        for task in self.background:
            task.cancel()
        if self.background:
            await asyncio.wait(self.background)
        self.virt.close()
