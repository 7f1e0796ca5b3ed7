"""The law of the communicators: waiting for an application never disturbs it."""

import asyncio
import gc
import traceback
import weakref
from contextvars import ContextVar
from typing import Any

import pytest

from fast_channels.testing import ApplicationCommunicator


async def echo(scope: Any, receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        if message["type"] == "end":
            return
        if message["type"] == "fail":
            raise ValueError("the application broke")
        await send(message)


async def idle(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.Event().wait()


class Stubborn:
    """Ignores its first cancellations, until it is allowed to end."""

    def __init__(self) -> None:
        self.allowed = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while not self.allowed.is_set():
            try:
                await self.allowed.wait()
            except asyncio.CancelledError:
                await send({"type": "refused"})


def connect(application: Any) -> ApplicationCommunicator:
    return ApplicationCommunicator(application, {"type": "test"})


async def test_what_is_sent_in_comes_out_in_order():
    async with connect(echo) as client:
        for number in range(3):
            await client.send_input({"type": "n", "number": number})
        assert [(await client.receive_output())["number"] for _ in range(3)] == [0, 1, 2]


async def test_a_receive_that_times_out_leaves_the_application_alive_and_the_next_one_works():
    async with connect(echo) as client:
        with pytest.raises(TimeoutError, match=r"sent nothing for 0\.01 s"):
            await client.receive_output(timeout=0.01)
        assert not client.future.done()
        await client.send_input({"type": "late"})
        assert await client.receive_output() == {"type": "late"}


async def test_a_cancelled_receive_leaves_the_application_alive_and_loses_nothing():
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "one"})
        waiting.cancel()  # in the moment in which it has been woken
        await echo(scope, receive, send)

    async with connect(application) as client:
        waiting = asyncio.create_task(client.receive_output(timeout=10))
        await client.send_input({"type": "begin"})
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await client.receive_output() == {"type": "one"}
        await client.send_input({"type": "two"})
        assert await client.receive_output() == {"type": "two"}


async def test_two_receives_at_once_get_one_message_each():
    async with connect(echo) as client:
        receiving = [asyncio.create_task(client.receive_output()) for _ in range(2)]
        await client.send_input({"type": "a"})
        await client.send_input({"type": "b"})
        assert sorted(m["type"] for m in await asyncio.gather(*receiving)) == ["a", "b"]


async def test_receive_nothing_is_false_as_soon_as_there_is_something_and_takes_nothing():
    async with connect(echo) as client:
        assert await client.receive_nothing(timeout=0.01)
        await client.send_input({"type": "x"})
        async with asyncio.timeout(5):
            assert not await client.receive_nothing(timeout=10)
        assert await client.receive_output() == {"type": "x"}


async def test_receive_nothing_needs_no_waiting_once_the_application_has_ended():
    async with connect(echo) as client:
        await client.send_input({"type": "end"})
        async with asyncio.timeout(5):
            assert await client.receive_nothing(timeout=10)


@pytest.mark.parametrize("call", ["receive_output", "send_input", "wait", "receive_nothing"])
async def test_an_exception_of_the_application_surfaces_with_its_own_traceback(call: str):
    client = connect(echo)
    await client.send_input({"type": "fail"})
    if call == "send_input":
        await asyncio.wait({client.future})
    arguments = [{"type": "x"}] if call == "send_input" else []
    with pytest.raises(ValueError, match="the application broke") as raised:
        async with asyncio.timeout(5):
            await getattr(client, call)(*arguments)
    frames = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert frames[-1] == "echo"


async def test_an_exception_wakes_a_receive_that_is_already_waiting():
    client = connect(echo)
    receiving = asyncio.create_task(client.receive_output(timeout=10))
    await client.send_input({"type": "fail"})
    async with asyncio.timeout(5):
        with pytest.raises(ValueError, match="the application broke"):
            await receiving


async def test_what_was_sent_before_the_exception_is_read_before_it():
    client = connect(echo)
    await client.send_input({"type": "last words"})
    await client.send_input({"type": "fail"})
    await asyncio.wait({client.future})
    assert await client.receive_output() == {"type": "last words"}
    with pytest.raises(ValueError, match="the application broke"):
        await client.receive_output()


async def test_receiving_from_an_application_that_has_ended_fails_at_once_and_says_so():
    client = connect(echo)
    await client.send_input({"type": "end"})
    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError, match="has ended"):
            await client.receive_output(timeout=10)


async def test_wait_returns_when_the_application_ends():
    client = connect(echo)
    await client.send_input({"type": "end"})
    await client.wait()
    assert client.future.done()


async def test_wait_cancels_an_application_that_does_not_end_and_says_so():
    client = connect(idle)
    with pytest.raises(TimeoutError, match=r"had not ended after 0\.01 s"):
        await client.wait(timeout=0.01)
    assert client.future.cancelled()


async def test_stop_cancels_the_application():
    client = connect(idle)
    future = client.future
    client.stop()
    await asyncio.wait({future})
    assert future.cancelled()


async def test_stop_raises_what_the_application_failed_with_unless_told_not_to():
    client = connect(echo)
    client.stop()  # not started: nothing to do
    await client.send_input({"type": "fail"})
    await asyncio.wait({client.future})
    client.stop(exceptions=False)
    with pytest.raises(ValueError, match="the application broke"):
        client.stop()


async def test_leaving_async_with_cancels_and_awaits_the_application():
    before = asyncio.all_tasks()
    cleaned_up = False

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal cleaned_up
        try:
            await receive()
        finally:
            await asyncio.sleep(0)
            cleaned_up = True

    async with connect(application) as client:
        assert await client.receive_nothing(timeout=0)
    assert cleaned_up
    assert asyncio.all_tasks() == before


async def test_leaving_async_with_raises_what_the_application_failed_with():
    async def use() -> None:
        async with connect(echo) as client:
            await client.send_input({"type": "fail"})
            await asyncio.wait({client.future})

    with pytest.raises(ValueError, match="the application broke"):
        await use()


async def test_leaving_async_with_raises_what_the_application_fails_with_when_cancelled():
    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await receive()
        finally:
            raise ValueError("clean-up broke")

    async def use() -> None:
        async with connect(application) as client:
            await client.receive_nothing(timeout=0)

    with pytest.raises(ValueError, match="clean-up broke"):
        await use()


async def test_an_exception_that_a_call_has_raised_already_is_not_raised_again_on_leaving():
    async with connect(echo) as client:
        await client.send_input({"type": "fail"})
        with pytest.raises(ValueError, match="the application broke"):
            await client.receive_output()


async def test_leaving_async_with_keeps_the_exception_that_is_propagating_and_notes_the_other():
    async def use() -> None:
        async with connect(echo) as client:
            await client.send_input({"type": "fail"})
            await asyncio.wait({client.future})
            raise KeyError("of the test")

    with pytest.raises(KeyError) as raised:
        await use()
    assert "ValueError('the application broke')" in raised.value.__notes__[0]


async def test_leaving_async_with_without_having_used_it_starts_nothing():
    async with connect(echo) as client:
        pass
    assert client.future is not None
    assert not client.future.done()
    client.stop()


async def test_an_application_that_ignores_its_cancellation_is_reported(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("fast_channels.testing.application.GRACE", 0.01)
    application = Stubborn()
    client = connect(application)
    assert await client.receive_nothing(timeout=0)
    with pytest.raises(RuntimeError, match=r"still runs 0\.01 s after it was cancelled"):
        await client.wait(timeout=0)
    application.allowed.set()
    await asyncio.wait({client.future})


async def test_a_forgotten_communicator_cancels_its_application():
    client = connect(echo)
    await client.send_input({"type": "x"})
    await client.receive_output()
    future, gone = client.future, weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
    await asyncio.wait({future}, timeout=5)
    assert future.cancelled()


def test_a_communicator_may_be_made_before_the_loop_and_dropped_after_it():
    client = connect(echo)

    async def use() -> Any:
        await client.send_input({"type": "x"})
        return await client.receive_output()

    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(use()) == {"type": "x"}
    loop.close()
    client.__del__()  # as at its collection, where an error would be printed


async def test_the_application_starts_with_an_empty_context():
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    variable.set("of the test")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": variable.get()})

    async with connect(application) as client:
        assert await client.receive_output() == {"type": "unset"}


async def test_the_attributes_are_those_of_upstream():
    scope = {"type": "test"}
    client = ApplicationCommunicator(echo, scope)
    assert client.application is echo
    assert client.scope is scope
    client.input_queue.put_nowait({"type": "put by hand"})
    assert isinstance(client.future, asyncio.Task)
    await client.receive_nothing(timeout=0.01)
    assert client.output_queue.get_nowait() == {"type": "put by hand"}
    client.stop()


async def test_an_application_may_be_a_class_whose_instances_are_awaited():
    class Endpoint:  # the shape of Starlette's endpoints
        def __init__(self, scope: Any, receive: Any, send: Any) -> None:
            self.arguments = scope, receive, send

        def __await__(self):
            return echo(*self.arguments).__await__()

    async with connect(Endpoint) as client:
        await client.send_input({"type": "x"})
        assert await client.receive_output() == {"type": "x"}


async def test_an_application_may_be_an_instance_of_a_consumer():
    class Chat:
        __call__ = staticmethod(echo)

        @classmethod
        def as_asgi(cls) -> None: ...

    async with connect(Chat()) as client:
        await client.send_input({"type": "x"})
        assert await client.receive_output() == {"type": "x"}


def test_a_consumer_class_is_refused_with_what_to_pass_instead():
    class Chat:
        @classmethod
        def as_asgi(cls) -> None: ...

    with pytest.raises(TypeError, match=r"pass Chat\.as_asgi\(\)"):
        connect(Chat)


def test_what_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="must be callable, and 'chat' is not"):
        connect("chat")
