"""The desk: fencing, order within a key, deadlines, cancelling, refusals."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

from mold.agent.serve import AT_ONCE, KEYS_KEPT, Desk, Work, wait_out
from mold.agent.virt import Threads
from mold.base.errors import InUse
from mold.wire import calls as w

Serve = Callable[[w.GetMachine, Work], Awaitable[w.Facts]]


def desk(function: Serve) -> Desk:
    return Desk(handlers={w.GetMachine: function})


def ask(n: int, name: str = "a", key: str = "", epoch: int = 0, seconds: float = 5) -> w.Request:
    return w.Request(n=n, call=w.GetMachine(name=name), seconds=seconds, key=key, epoch=epoch)


async def told(answer: Awaitable[bytes]) -> w.Reply:
    reply = w.for_manager(await answer)
    assert isinstance(reply, w.Reply)
    return reply


async def running(call: w.GetMachine, _work: Work) -> w.Facts:
    return w.MachineFacts(name=call.name, state="Running")


def test_answers_and_refuses_in_words() -> None:
    async def main() -> None:
        good = await told(desk(running).answer(ask(7)))
        assert (good.n, good.error) == (7, "")
        assert w.facts_of(w.GetMachine(name="a"), good.facts) == w.MachineFacts(name="a", state="Running")

        async def refuse(_call: w.GetMachine, _work: Work) -> w.Facts:
            raise InUse("It is used.", volumes=["v"])

        no = await told(desk(refuse).answer(ask(1)))
        assert (no.error, no.text, no.params) == ("InUse", "It is used.", {"volumes": ["v"]})

        async def broken(_call: w.GetMachine, _work: Work) -> w.Facts:
            raise KeyError("oops")

        failed = await told(desk(broken).answer(ask(1)))
        assert failed.error == "Failed" and "oops" in failed.text
        unknown = await told(desk(running).answer(w.Request(n=1, call=w.GetFacts(), seconds=1)))
        assert unknown.error == "Unsupported" and "GetFacts" in unknown.text

    asyncio.run(main())


def test_deadline_is_unreachable_but_a_handlers_own_timeout_is_a_failure() -> None:
    async def main() -> None:
        async def slow(_call: w.GetMachine, _work: Work) -> w.Facts:
            await asyncio.sleep(60)
            raise AssertionError

        began = time.monotonic()
        late = await told(desk(slow).answer(ask(1, seconds=0.05)))
        assert late.error == "Unreachable" and time.monotonic() - began < 2

        async def own(_call: w.GetMachine, _work: Work) -> w.Facts:
            raise TimeoutError("mine")

        assert (await told(desk(own).answer(ask(1)))).error == "Failed"

    asyncio.run(main())


def test_older_epoch_is_fenced_and_newer_wins() -> None:
    async def main() -> None:
        here = desk(running)
        assert (await told(here.answer(ask(1, key="k", epoch=2)))).error == ""
        fenced = await told(here.answer(ask(2, key="k", epoch=1)))
        assert fenced.error == "Fenced" and fenced.params == {"epoch": 2}
        assert (await told(here.answer(ask(3, key="k", epoch=2)))).error == ""
        assert (await told(here.answer(ask(4, key="other", epoch=1)))).error == ""
        for number in range(KEYS_KEPT + 5):
            here._remember(f"key {number}", 1)
        assert len(here._epochs) <= KEYS_KEPT

    asyncio.run(main())


def test_newer_call_of_a_key_cancels_the_older_and_waits_for_its_end() -> None:
    async def main() -> None:
        story: list[str] = []

        async def serve(call: w.GetMachine, _work: Work) -> w.Facts:
            story.append(f"{call.name} begins")
            try:
                await asyncio.sleep(60 if call.name != "last" else 0)
            finally:
                await asyncio.sleep(0.05)
                story.append(f"{call.name} ends")
            return w.MachineFacts(name=call.name, state="Running")

        here = desk(serve)
        first = asyncio.create_task(told(here.answer(ask(1, "first", key="k", epoch=1))))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(told(here.answer(ask(2, "second", key="k", epoch=1))))
        await asyncio.sleep(0.01)
        last = await told(here.answer(ask(3, "last", key="k", epoch=2)))
        assert last.error == ""
        assert (await first).error == "Cancelled" and (await second).error == "Cancelled"
        assert story == ["first begins", "first ends", "last begins", "last ends"]
        assert here._turns == {}

    asyncio.run(main())


def test_work_that_cannot_be_cancelled_is_waited_out_before_the_next_call_of_the_key() -> None:
    async def main() -> None:
        threads = Threads(2, "test")
        release = threading.Event()
        story: list[str] = []

        def block() -> None:
            release.wait(10)
            story.append("thread ends")

        async def serve(call: w.GetMachine, work: Work) -> w.Facts:
            if call.name == "stuck":
                await work.thread(threads.submit(block), 60)
            story.append(call.name)
            return w.MachineFacts(name=call.name, state="Running")

        here = desk(serve)
        late = await told(here.answer(ask(1, "stuck", key="k", seconds=0.05)))
        assert late.error == "Unreachable", "the deadline is kept although the thread hangs"
        impatient = await told(here.answer(ask(2, "impatient", key="k", seconds=0.05)))
        assert impatient.error == "Unreachable" and story == []
        assert (await told(here.answer(ask(3, "other", key="other key")))).error == ""
        patient = asyncio.create_task(told(here.answer(ask(4, "undo", key="k"))))
        await asyncio.sleep(0.05)
        assert story == ["other"]
        release.set()
        assert (await patient).error == ""
        assert story == ["other", "thread ends", "undo"]
        await asyncio.sleep(0.01)
        assert here._turns == {}
        threads.close()

    asyncio.run(main())


def test_cancelling_the_answer_cancels_the_call() -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def slow(_call: w.GetMachine, _work: Work) -> w.Facts:
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()
            raise AssertionError

        here = desk(slow)
        for key in ("", "k"):
            ended.clear()
            task = asyncio.create_task(told(here.answer(ask(1, key=key))))
            await asyncio.sleep(0.01)
            task.cancel()
            assert (await task).error == "Cancelled"
            assert ended.is_set()
        at_once = asyncio.create_task(here.answer(ask(1, key="k")))
        await asyncio.sleep(0)
        at_once.cancel()
        assert (await told(at_once)).error == "Cancelled"

    asyncio.run(main())


def test_only_so_many_at_once_and_progress_is_rationed() -> None:
    async def main() -> None:
        inside = most = 0

        async def serve(call: w.GetMachine, work: Work) -> w.Facts:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            for percent in range(100):
                work.progress(percent)
            work.progress(100, "done")
            await asyncio.sleep(0.01)
            inside -= 1
            return w.MachineFacts(name=call.name, state="Running")

        here = desk(serve)
        said: list[tuple[float, str]] = []
        replies = await asyncio.gather(*(told(here.answer(ask(n), lambda p, t: said.append((p, t)))) for n in range(3 * AT_ONCE)))
        assert {reply.error for reply in replies} == {""} and most == AT_ONCE
        assert len(said) == 2 * 3 * AT_ONCE and (100, "done") in said

    asyncio.run(main())


def test_wait_out_finishes_what_it_began() -> None:
    async def main() -> None:
        done = False

        async def short() -> None:
            nonlocal done
            await asyncio.sleep(0.05)
            done = True

        task = asyncio.create_task(wait_out(short()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() and done

    asyncio.run(main())
