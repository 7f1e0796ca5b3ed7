"""Cancellations, time-outs and task groups act in a handler as they do in any task."""

import asyncio
import sys

import anyio
import anyio.lowlevel
import pytest

from .noted import NOTE, Noted

pytestmark = pytest.mark.timeout(20)


@pytest.mark.parametrize("waits", ["future", "turn", "task"])
async def test_a_cancellation_before_main_wakes_reaches_the_handler_and_what_it_awaits(
    connect, tell, journal, waits
):
    class Consumer(Noted):
        async def note(self, message):
            loop = asyncio.get_running_loop()
            self.future = loop.create_future()
            # This callback comes before the one that wakes main to take the handler over.
            loop.call_soon(asyncio.current_task().cancel, "shutdown")
            try:
                if waits == "future":
                    await self.future
                elif waits == "task":
                    self.future = loop.create_task(asyncio.sleep(3600))
                    await self.future
                else:
                    await asyncio.sleep(0)
                journal("went on")
            except asyncio.CancelledError as error:
                journal(f"cancelled: {error}")
                raise

        async def disconnect(self, code):
            journal(f"disconnect, awaited was cancelled: {self.future.cancelled()}")

    client = await connect(Consumer)
    await tell(client)
    assert isinstance(await client.ended(), asyncio.CancelledError)
    assert client.task.cancelled()
    assert journal == [
        "cancelled: shutdown",
        f"disconnect, awaited was cancelled: {waits != 'turn'}",
    ]


async def test_a_handler_may_swallow_a_cancellation_before_main_wakes(connect, tell, journal):
    class Consumer(Noted):
        async def note(self, message):
            loop = asyncio.get_running_loop()
            loop.call_soon(asyncio.current_task().cancel)
            try:
                await loop.create_future()
            except asyncio.CancelledError:
                journal(f"cancelling: {asyncio.current_task().uncancel()}")
            await asyncio.sleep(0)
            journal("went on")

    client = await connect(Consumer)
    await tell(client)
    await journal.has("went on")
    assert journal == ["cancelling: 0", "went on"]
    await client.end()


async def test_a_handler_can_cancel_its_own_task(connect, tell, journal):
    class Consumer(Noted):
        async def note(self, message):
            asyncio.current_task().cancel()
            journal("not yet")
            try:
                await asyncio.sleep(0)
                journal("went on")
            except asyncio.CancelledError:
                journal("cancelled")
                raise

        async def disconnect(self, code):
            journal(f"disconnect {code}")

    client = await connect(Consumer)
    await tell(client)
    assert isinstance(await client.ended(), asyncio.CancelledError)
    assert journal == ["not yet", "cancelled", "disconnect 1001"]


async def test_a_handler_that_cancels_its_own_task_and_returns_ends_its_connection(
    connect, tell, journal
):
    class Consumer(Noted):
        async def note(self, message):
            asyncio.current_task().cancel()

        async def disconnect(self, code):
            journal(f"disconnect {code}")

    client = await connect(Consumer)
    await tell(client)
    assert isinstance(await client.ended(), asyncio.CancelledError)
    assert journal == ["disconnect 1001"]


async def test_no_handler_starts_once_its_task_was_cancelled(connect, layer, journal):
    class Consumer(Noted):
        async def note(self, message):
            journal("started")

        async def disconnect(self, code):
            journal(f"disconnect {code}")

    client = await connect(Consumer)
    # The cancellation comes in the turn in which the message does, and before it.
    asyncio.get_running_loop().call_soon(client.task.cancel)
    await layer.group_send("all", NOTE)
    assert isinstance(await client.ended(), asyncio.CancelledError)
    assert journal == ["disconnect 1001"]


async def test_an_idle_consumer_that_is_cancelled_ends(connect, layer, journal):
    class Consumer(Noted):
        async def disconnect(self, code):
            journal(f"disconnect {code}")

    client = await connect(Consumer)
    client.task.cancel()
    assert isinstance(await client.ended(), asyncio.CancelledError)
    assert journal == ["disconnect 1001"]
    assert await client.hears_close() == 1001


# --- timeouts and task groups ---------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [-1, 0, 0.001])
@pytest.mark.parametrize("timeout", [asyncio.timeout, anyio.fail_after])
async def test_a_timeout_in_a_handler_cancels_what_it_waits_for_and_nothing_else(
    connect, tell, journal, timeout, seconds
):
    class Consumer(Noted):
        async def note(self, message):
            future = asyncio.get_running_loop().create_future()
            try:
                async with _async(timeout(seconds)):
                    await future
            except TimeoutError:
                journal("timeout")
            await asyncio.sleep(0)
            task = asyncio.current_task()
            journal((future.cancelled(), task.cancelling()))

    client = await connect(Consumer)
    await tell(client)
    await journal.has((True, 0))
    assert journal == ["timeout", (True, 0)]
    await client.end()


@pytest.mark.parametrize("timeout", [asyncio.timeout, anyio.fail_after, anyio.move_on_after])
async def test_a_timeout_that_does_not_expire_changes_nothing(connect, tell, journal, timeout):
    class Consumer(Noted):
        async def note(self, message):
            async with _async(timeout(60)):
                await asyncio.sleep(0)
            async with _async(timeout(60)):
                pass
            await asyncio.sleep(0)
            journal(asyncio.current_task().cancelling())

    client = await connect(Consumer)
    await tell(client)
    await journal.has(0)
    await client.end()


@pytest.mark.parametrize("seconds", [0, 0.001])
async def test_anyio_moves_on_in_a_handler(connect, tell, journal, seconds):
    class Consumer(Noted):
        async def note(self, message):
            with anyio.move_on_after(seconds) as scope:
                await anyio.sleep_forever()
            await anyio.lowlevel.checkpoint()
            journal((scope.cancelled_caught, asyncio.current_task().cancelling()))

    client = await connect(Consumer)
    await tell(client)
    await journal.has((True, 0))
    await client.end()


async def test_an_anyio_scope_that_its_own_handler_cancels_ends_there(connect, tell, journal):
    class Consumer(Noted):
        async def note(self, message):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anyio.lowlevel.checkpoint()
                journal("went on")
            journal(scope.cancelled_caught)
            await anyio.lowlevel.checkpoint()
            journal("after")

    client = await connect(Consumer)
    await tell(client)
    await journal.has("after")
    assert journal == [True, "after"]
    await client.end()


@pytest.mark.parametrize("kind", ["asyncio", "anyio"])
async def test_a_task_group_in_a_handler_waits_for_its_children(connect, tell, journal, kind):
    class Consumer(Noted):
        async def note(self, message):
            async def child(number):
                await asyncio.sleep(0.001 * number)
                journal(number)

            async with _task_group(kind) as start:
                start(child, 2)
                start(child, 1)
            journal("all")

    client = await connect(Consumer)
    await tell(client)
    await journal.has("all")
    assert set(journal[:-1]) == {1, 2}
    assert journal[-1] == "all"
    await client.end()


@pytest.mark.parametrize("kind", ["asyncio", "anyio"])
@pytest.mark.parametrize("late", [False, True])
async def test_a_child_that_fails_cancels_its_siblings_and_the_handler_gets_the_group(
    connect, tell, journal, kind, late
):
    class Consumer(Noted):
        async def note(self, message):
            async def fails():
                if late:
                    await asyncio.sleep(0.001)
                raise ValueError("child")

            async def sibling():
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    journal("sibling cancelled")
                    raise

            try:
                async with _task_group(kind) as start:
                    start(sibling)
                    start(fails)
                    await asyncio.sleep(3600)
            except* ValueError as group:
                journal([str(error) for error in group.exceptions])
            await asyncio.sleep(0)
            journal(asyncio.current_task().cancelling())

    client = await connect(Consumer)
    await tell(client)
    await journal.has(0)
    assert journal[-2:] == [["child"], 0]
    assert journal[:-2] in (["sibling cancelled"], [])  # a sibling that had not begun says nothing
    await client.end()


if sys.version_info >= (3, 12):  # eager tasks came with it

    async def test_a_child_that_starts_eagerly_inside_a_handler_is_its_own_task(
        connect, tell, journal
    ):
        class Consumer(Noted):
            async def note(self, message):
                async def child():
                    journal(asyncio.current_task() is task)
                    await asyncio.sleep(0)
                    journal(asyncio.current_task() is task)

                task = asyncio.current_task()
                started = asyncio.Task(child(), eager_start=True, loop=asyncio.get_running_loop())
                journal(asyncio.current_task() is task)
                await started
                journal("done")

        client = await connect(Consumer)
        await tell(client)
        await journal.has("done")
        assert journal == [False, True, False, "done"]


class _async:
    """Makes anyio's plain context managers look like asyncio's."""

    def __init__(self, manager):
        self.manager = manager

    async def __aenter__(self):
        if hasattr(self.manager, "__aenter__"):
            return await self.manager.__aenter__()
        return self.manager.__enter__()

    async def __aexit__(self, *exception):
        if hasattr(self.manager, "__aexit__"):
            return await self.manager.__aexit__(*exception)
        return self.manager.__exit__(*exception)


class _task_group:
    """A task group of asyncio or anyio; entering gives a function that starts a child."""

    def __init__(self, kind):
        self.group = asyncio.TaskGroup() if kind == "asyncio" else anyio.create_task_group()

    async def __aenter__(self):
        group = await self.group.__aenter__()
        if isinstance(group, asyncio.TaskGroup):
            return lambda function, *args: group.create_task(function(*args))
        return group.start_soon

    async def __aexit__(self, *exception):
        return await self.group.__aexit__(*exception)
