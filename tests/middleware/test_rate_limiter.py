"""RateLimiter closes a socket whose client sends too much, and no other."""

from typing import Any

import pytest

from fast_channels import AsyncWebsocketConsumer
from fast_channels.middleware import RateLimiter
from fast_channels.testing import ApplicationCommunicator, WebsocketCommunicator


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Echo(AsyncWebsocketConsumer):
    codes: list[int] = []  # noqa: RUF012  each test makes a list of its own

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data)

    async def disconnect(self, code: int) -> None:
        self.codes.append(code)


async def echoes(socket: WebsocketCommunicator, count: int) -> None:
    for n in range(count):
        await socket.send_to(str(n))
        assert await socket.receive_from() == str(n)


async def test_as_many_as_allowed_pass_at_once_and_one_more_closes_with_1008() -> None:
    codes: list[int] = []
    limited = RateLimiter(Echo.as_asgi(codes=codes), 5, per=10, clock=Clock())
    async with WebsocketCommunicator(limited, "/") as socket:
        await socket.connect()
        await echoes(socket, 5)
        await socket.send_to("one too many")
        assert await socket.receive_output() == {
            "type": "websocket.close",
            "code": 1008,
            "reason": "too many messages",
        }
        await socket.wait()
    assert codes == [1008]


async def test_the_allowance_grows_evenly_and_never_above_its_size() -> None:
    clock = Clock()
    limited = RateLimiter(Echo.as_asgi(), 4, per=2, clock=clock)
    async with WebsocketCommunicator(limited, "/") as socket:
        await socket.connect()
        await echoes(socket, 4)
        for _ in range(20):
            clock.now += 0.5
            await echoes(socket, 1)
        clock.now += 3600
        await echoes(socket, 4)
        await socket.send_to("one too many")
        assert (await socket.receive_output())["code"] == 1008


async def test_each_socket_has_an_allowance_of_its_own() -> None:
    limited = RateLimiter(Echo.as_asgi(), 2, clock=Clock())
    async with (
        WebsocketCommunicator(limited, "/") as a,
        WebsocketCommunicator(limited, "/") as b,
    ):
        await a.connect()
        await b.connect()
        await echoes(a, 2)
        await echoes(b, 2)


async def test_an_application_that_goes_on_gets_nothing_and_sends_nothing() -> None:
    seen: list[str] = []
    clock = Clock()

    async def stubborn(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(3):
            seen.append((await receive())["type"])
            await send({"type": "websocket.send", "text": "x"})
            clock.now += 3600 * (len(seen) - 1)  # after the close a frame might pass again

    async with WebsocketCommunicator(RateLimiter(stubborn, 1, clock=clock), "/") as socket:
        await socket.connect()
        for _ in range(5):
            await socket.send_to("x")
        await socket.disconnect(1008)
        sent = [(await socket.receive_output())["type"] for _ in range(2)]
        assert await socket.receive_nothing(timeout=0)
    assert sent == ["websocket.send", "websocket.close"]
    assert seen == ["websocket.receive", "websocket.disconnect", "websocket.disconnect"]


async def test_what_comes_after_the_application_s_own_close_is_not_closed_again() -> None:
    class Closes(Echo):
        async def receive(self, *_: Any, **__: Any) -> None:
            await self.close(4000)

    async with WebsocketCommunicator(
        RateLimiter(Closes.as_asgi(), 1, clock=Clock()), "/"
    ) as socket:
        await socket.connect()
        for _ in range(3):
            await socket.send_to("x")
        assert (await socket.receive_output())["code"] == 4000
        assert await socket.receive_nothing(timeout=0.01)


async def test_other_connections_are_passed_on() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(3):
            await send(await receive())

    limited = RateLimiter(application, 1, clock=Clock())
    async with ApplicationCommunicator(limited, {"type": "http"}) as client:
        for _ in range(3):
            await client.send_input({"type": "websocket.receive"})
            assert await client.receive_output() == {"type": "websocket.receive"}


@pytest.mark.parametrize(("messages", "per"), [(0, 1.0), (-1, 1.0), (1, 0.0), (1, -1.0)])
def test_a_limit_that_nothing_passes_is_refused(messages: int, per: float) -> None:
    with pytest.raises(ValueError, match="messages must be at least 1 and per more than 0 seconds"):
        RateLimiter(Echo.as_asgi(), messages, per)
