"""Clauses: opening, closing, event loops and threads."""

import asyncio
import logging
import traceback
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import contextmanager

from fast_channels.exceptions import BackendUnavailable
from fast_channels.testing.conformance.cancelling import cancelled_everywhere
from fast_channels.testing.conformance.clause import clause, clause_unless
from fast_channels.testing.conformance.holdings import Holdings
from fast_channels.testing.conformance.process import Process
from fast_channels.testing.conformance.suite import BackendSuite, no_secret


class LifeClauses(BackendSuite):
    """Law 5, and what ``Inbox`` promises."""

    @clause
    async def test_the_inbox_is_called_on_the_opening_loop_and_never_inside_publish(self) -> None:
        """Usual cause: the driver calls back in a thread of its own (use
        ``call_soon_threadsafe``), or the backend delivers to itself while it publishes."""
        process = await self.process()
        await process.subscribe(self.topic())
        for payload in self.numbered(20):
            await process.publish(self.topic(), payload)
        await process.expect(self.topic(), 20)
        assert not process.wrong, process.wrong

    @clause
    async def test_closing_leaves_no_task_thread_or_socket(self) -> None:
        """Usual cause: close cancels a task without awaiting it, or closes a connection without
        waiting until it is closed; or a pool has connections that nobody closes."""
        before = Holdings.now()
        async with self.opened() as process:
            await process.subscribe(self.topic())
            await process.publish(self.topic(), *self.numbered(10))
            await process.expect(self.topic(), 10)
            await process.close()
            before.refuse_more()

    @clause
    async def test_what_a_broker_tells_of_itself_is_text_and_numbers(self) -> None:
        """``describe``, where the backend has it, tells no password, and may be cancelled. Usual
        cause: the driver's reply is passed on as it is, or the URL."""
        process = await self.process()
        told = await process.soon(process.backend.describe(), "describe")
        before = Holdings.now()  # it may keep connections for the next time
        wrong = {
            name: value for name, value in told.items() if type(value) not in (str, int, float)
        }
        assert not wrong, f"{sorted(wrong)} are neither text nor numbers"
        refuse_secret(self.secret, [str(told)])

        async def check(_: bool) -> None:
            before.refuse_more()

        await cancelled_everywhere(process.backend.describe, check, self.patience)
        await process.subscribe(self.topic())
        await process.publish(self.topic(), b"after")
        await process.expect(self.topic(), 1)

    @clause
    async def test_closing_again_does_nothing(self) -> None:
        """Law 5. Usual cause: close uses what it has set to None, or closes a closed pool."""
        before = Holdings.now()
        process = await self.process()
        await process.subscribe(self.topic())
        await process.close()
        await process.close()
        await asyncio.gather(process.close(), process.close())
        before.refuse_more()

    @clause
    async def test_concurrent_closes_all_wait_until_it_is_closed(self) -> None:
        """Law 5. Usual cause: the second close sees a flag and returns at once, while the first
        still closes connections."""
        for _ in range(5):
            before = Holdings.now()
            process = await self.process()
            await process.subscribe(self.topic())

            async def close(process: Process = process, before: Holdings = before) -> None:
                await process.close()
                later = Holdings.now()
                assert later.sockets <= before.sockets, "close returned before it was closed"

            await asyncio.gather(close(), close(), close())

    @clause
    async def test_a_backend_that_was_never_opened_can_be_closed(self) -> None:
        """Law 5. Usual cause: close uses what only open makes."""
        before = Holdings.now()
        process = Process(self.build(), self.patience)
        await process.close()
        await process.close()
        before.refuse_more()

    @clause
    async def test_a_half_opened_backend_can_be_closed(self) -> None:
        """Law 5: whenever open is cancelled, close leaves nothing. Usual cause: open stores a
        connection or task after an await, where a cancellation loses it."""
        before = Holdings.now()
        opened: list[Process] = []

        async def open_one() -> None:
            opened.append(Process(self.build(), self.patience))
            await opened[-1].soon(opened[-1].backend.open(opened[-1]), "open")

        async def check(_: bool) -> None:
            while opened:
                await opened.pop().close()
            before.refuse_more()

        await cancelled_everywhere(open_one, check, self.patience)

    @clause
    async def test_a_cancelled_close_can_be_repeated(self) -> None:
        """Law 5. Usual cause: a flag says closed before everything is, and the second close
        returns at once; close in ``finally`` blocks, and mark each part when it is closed."""
        before = Holdings.now()
        processes: list[Process] = []

        async def open_and_close() -> None:
            process = Process(self.build(), self.patience)
            processes.append(process)
            try:
                await process.backend.open(process)
                await process.subscribe(self.topic())
            finally:
                await process.backend.close()

        async def check(_: bool) -> None:
            while processes:
                await processes.pop().close()
            before.refuse_more()

        await cancelled_everywhere(open_and_close, check, self.patience)

    @clause
    async def test_calls_under_way_end_when_the_backend_is_closed(self) -> None:
        """Law 5: with success or ``BackendUnavailable``. Usual cause: close ends the task that
        would have answered, and the callers wait for ever."""
        process = await self.process()
        await process.subscribe(self.topic())
        calls = [process.subscribe(self.topic(f"late-{n}")) for n in range(5)]
        calls += [process.publish(self.topic(), payload) for payload in self.numbered(5)]
        calls += [process.unsubscribe(self.topic(f"late-{n}")) for n in range(5)]
        tasks = [asyncio.create_task(call) for call in calls]
        await asyncio.sleep(0)
        await process.close()
        await process.soon(asyncio.wait(tasks), "the calls under way")
        failures = [error for task in tasks if (error := task.exception()) is not None]
        strange = [error for error in failures if not isinstance(error, BackendUnavailable)]
        assert not strange, f"BackendUnavailable is what calls end with; got {strange!r}"

    @clause
    async def test_nothing_is_delivered_after_close(self) -> None:
        """Usual cause: what the driver had received is still delivered by a scheduled callback."""
        here, there = await self.process(), await self.process()
        for number in range(10):
            async with self.opened() as closing:
                await closing.subscribe(self.topic())
                await there.subscribe(self.topic())
                await here.publish(self.topic(), *self.numbered(20))
                await closing.close()
                came = len(closing.received)
                await here.publish(self.topic(), b"after")
                await there.expect(self.topic(), 21 * (number + 1))
                assert len(closing.received) == came
        await asyncio.sleep(self.quiet)

    @clause
    async def test_closing_one_backend_leaves_others_alone(self) -> None:
        """Usual cause: backends share a connection, a pool or a broker object, and who closes
        first closes it for all."""
        here, there = await self.process(), await self.process()
        await there.subscribe(self.topic())
        async with self.opened() as closing:
            await closing.subscribe(self.topic())
            await closing.publish(self.topic(), b"one")
            await there.expect(self.topic())
        await here.publish(self.topic(), b"two")
        assert await there.expect(self.topic(), 2) == [b"one", b"two"]
        await there.subscribe(self.topic("new"))
        await here.publish(self.topic("new"), b"three")
        assert await there.expect(self.topic("new")) == [b"three"]

    @clause
    async def test_backends_in_two_loops_reach_each_other(self) -> None:
        """One in this event loop, one in another thread. Usual cause: a lock, an event or a
        connection in a module or class attribute, bound to the loop that used it first."""
        here = await self.process()
        await here.subscribe(self.topic("here"))
        ready: Future[None] = Future()

        async def there() -> list[bytes]:
            try:
                async with self.opened() as process:
                    await process.subscribe(self.topic("there"))
                    ready.set_result(None)
                    came = await process.expect(self.topic("there"), 10)
                    await process.publish(self.topic("here"), *self.numbered(10))
                    return came
            except BaseException as error:
                if not ready.done():
                    ready.set_exception(error)
                raise

        working = asyncio.create_task(self.elsewhere(there))
        try:
            await here.soon(asyncio.wrap_future(ready), "subscribing in the other thread")
            await here.publish(self.topic("there"), *self.numbered(10))
            assert await here.soon(working, "the other thread") == self.numbered(10)
            assert await here.expect(self.topic("here"), 10) == self.numbered(10)
        finally:
            await asyncio.wait([working])

    @clause
    async def test_backends_work_in_one_loop_after_another(self) -> None:
        """Usual cause: as above; the first loop is closed when the second one begins."""

        async def echo() -> list[bytes]:
            async with self.opened() as process:
                await process.subscribe(self.topic())
                await process.publish(self.topic(), b"echo")
                return await process.expect(self.topic())

        for _ in range(3):
            assert await self.elsewhere(echo) == [b"echo"]

    @clause_unless(no_secret)
    async def test_no_password_is_shown(self) -> None:
        """Neither by logs at any level nor by the backend's repr. Usual cause: the URL is logged
        as it was given, or is an attribute of a dataclass with the default repr."""
        with shown_in_logs() as shown:
            async with self.opened() as process:
                await process.subscribe(self.topic())
                await process.publish(self.topic(), b"echo")
                await process.expect(self.topic())
                shown += [repr(process.backend), str(process.backend)]
        refuse_secret(self.secret, shown)


@contextmanager
def shown_in_logs() -> Generator[list[str]]:
    """Return a list to which every log record is added, as text with its traceback."""
    shown: list[str] = []
    handler = _Collecting(shown)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield shown
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


def as_printed(error: BaseException) -> str:
    """Return the error as a traceback prints it, with what it was raised from."""
    return "".join(traceback.format_exception(error))


def refuse_secret(secret: str | None, shown: list[str]) -> None:
    """Fail if the secret is in a text; the failure does not repeat it."""
    places = [text.replace(secret, "<the secret>") for text in shown if secret and secret in text]
    assert not places, f"the secret is shown: {places}"


class _Collecting(logging.Handler):
    def __init__(self, shown: list[str]) -> None:
        super().__init__()
        self._shown = shown

    def emit(self, record: logging.LogRecord) -> None:
        self._shown.append(self.format(record))
