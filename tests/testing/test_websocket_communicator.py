"""One socket: its scope, its frames, and what is said when something else comes."""

import asyncio
import inspect
import json
from contextlib import suppress
from typing import Any

import pytest

from fast_channels.testing import WebsocketCommunicator


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Accepts, and sends each frame back; ``close`` and ``fail`` do what they say."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return
        if event.get("text") == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
            return
        if event.get("text") == "fail":
            raise ValueError("the application broke")
        await send({**event, "type": "websocket.send"})


def sending(*messages: Any) -> Any:
    """An application that sends these messages and waits for its client to leave."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            await send(message)
        while (await receive())["type"] != "websocket.disconnect":
            pass

    return application


ACCEPT = {"type": "websocket.accept"}
DENIAL = [
    {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x", b"y")]},
    {"type": "websocket.http.response.body", "body": b"who ", "more_body": True},
    {"type": "websocket.http.response.body", "body": b"are you?"},
]


async def test_an_accepted_socket_gives_true_and_the_subprotocol():
    async with WebsocketCommunicator(echo, "/ws", subprotocols=["v2", "v1"]) as client:
        assert await client.connect() == (True, "v2")


async def test_a_refused_socket_gives_false_and_the_close_code():
    async with WebsocketCommunicator(sending({"type": "websocket.close", "code": 4003}), "/") as c:
        assert await c.connect() == (False, 4003)
    async with WebsocketCommunicator(sending({"type": "websocket.close"}), "/") as c:
        assert await c.connect() == (False, 1000)


async def test_the_headers_of_the_acceptance_are_kept():
    async with WebsocketCommunicator(
        sending({**ACCEPT, "headers": iter([(b"set-cookie", b"a=b")])}), "/"
    ) as client:
        assert client.response_headers is None
        await client.connect()
        assert client.response_headers == [(b"set-cookie", b"a=b")]


async def test_a_refusal_with_an_http_response_gives_its_status_and_keeps_the_rest():
    extensions = {"websocket.http.response": {}}
    async with WebsocketCommunicator(sending(*DENIAL), "/", extensions=extensions) as client:
        assert client.scope["extensions"] == extensions
        assert await client.connect() == (False, 401)
        assert client.denial == {
            "status": 401,
            "headers": [(b"x", b"y")],
            "body": b"who are you?",
        }


async def test_a_refusal_with_an_http_response_that_was_not_offered_is_an_error():
    async with WebsocketCommunicator(sending(*DENIAL), "/") as client:
        assert "extensions" not in client.scope
        with pytest.raises(AssertionError, match="expected the socket to be accepted or refused"):
            await client.connect()
        assert client.denial is None


def test_the_scope_says_what_the_constructor_was_told():
    client = WebsocketCommunicator(
        echo, "/chat/a%20b/?token=x%20y", [(b"Origin", b"http://a")], iter(["v1"]), 3
    )
    assert client.scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "3"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/chat/a b/",
        "raw_path": b"/chat/a%20b/",
        "query_string": b"token=x%20y",
        "root_path": "",
        "headers": [(b"Origin", b"http://a")],
        "subprotocols": ["v1"],
        "spec_version": 3,
    }


def test_the_scope_of_a_whole_url_has_its_path():
    scope = WebsocketCommunicator(echo, "ws://localhost/chat?x=1").scope
    assert (scope["path"], scope["query_string"]) == ("/chat", b"x=1")


def test_positional_arguments_and_defaults_are_those_of_upstream():
    signature = inspect.signature(WebsocketCommunicator.__init__)
    positional = {
        name: parameter.default
        for name, parameter in signature.parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name != "self"
    }
    assert positional == {
        "application": inspect.Parameter.empty,
        "path": inspect.Parameter.empty,
        "headers": None,
        "subprotocols": None,
        "spec_version": None,
    }


@pytest.mark.parametrize("frame", ["text", "", b"\x00bytes", b""])
async def test_every_frame_goes_there_and_back(frame: str | bytes):
    async with WebsocketCommunicator(echo, "/") as client:
        await client.connect()
        if isinstance(frame, str):
            await client.send_to(text_data=frame)
        else:
            await client.send_to(bytes_data=frame)
        assert await client.receive_from() == frame


async def test_json_goes_there_and_back():
    async with WebsocketCommunicator(echo, "/") as client:
        await client.connect()
        await client.send_json_to({"a": ["ä", 1, None]})
        assert await client.receive_json_from() == {"a": ["ä", 1, None]}


@pytest.mark.parametrize("frame", [{}, {"text_data": "", "bytes_data": b""}, {"text_data": b"x"}])
async def test_a_frame_that_is_not_exactly_one_of_text_and_bytes_is_refused(frame: Any):
    client = WebsocketCommunicator(echo, "/")
    with pytest.raises(AssertionError, match="exactly one of text_data"):
        await client.send_to(**frame)


async def test_a_frame_may_carry_the_other_kind_as_none():
    frame = {"type": "websocket.send", "text": "x", "bytes": None}
    async with WebsocketCommunicator(sending(ACCEPT, frame), "/") as client:
        await client.connect()
        assert await client.receive_from() == "x"


@pytest.mark.parametrize(
    "frame", [{}, {"text": "x", "bytes": b"x"}, {"text": b"x"}, {"text": None, "bytes": None}]
)
async def test_a_malformed_frame_of_the_application_is_an_error(frame: Any):
    async with WebsocketCommunicator(
        sending(ACCEPT, {"type": "websocket.send", **frame}), "/"
    ) as c:
        await c.connect()
        with pytest.raises(AssertionError, match="either 'text' or 'bytes', but the application"):
            await c.receive_from()


async def test_an_unexpected_close_is_named_with_its_code_and_reason():
    async with WebsocketCommunicator(echo, "/") as client:
        await client.connect()
        await client.send_to("close")
        with pytest.raises(AssertionError) as raised:
            await client.receive_from()
        for part in ("expected a websocket.send", "websocket.close", "4001", "enough"):
            assert part in str(raised.value)


async def test_a_binary_frame_where_json_is_expected_is_an_error():
    async with WebsocketCommunicator(echo, "/") as client:
        await client.connect()
        await client.send_to(bytes_data=b"{}")
        with pytest.raises(AssertionError, match=r"it is binary: b'\{\}'"):
            await client.receive_json_from()


async def test_a_text_frame_that_is_no_json_is_shown():
    async with WebsocketCommunicator(echo, "/") as client:
        await client.connect()
        await client.send_to("{no json")
        with pytest.raises(json.JSONDecodeError) as raised:
            await client.receive_json_from()
        assert raised.value.__notes__ == ["the frame was '{no json'"]


async def test_a_receive_that_times_out_leaves_the_socket_open():
    async with WebsocketCommunicator(echo, "/") as client:
        await client.connect()
        with pytest.raises(TimeoutError):
            await client.receive_from(timeout=0.01)
        assert await client.receive_nothing(timeout=0.01)
        await client.send_to("still here")
        assert await client.receive_from() == "still here"
        await client.disconnect()


@pytest.mark.parametrize("call", ["receive_from", "receive_json_from", "disconnect"])
async def test_an_exception_of_the_application_surfaces_from_the_call_that_waits(call: str):
    client = WebsocketCommunicator(echo, "/")
    await client.connect()
    await client.send_to("fail")
    with pytest.raises(ValueError, match="the application broke"):
        await getattr(client, call)()


async def failing_politely(scope: Any, receive: Any, send: Any) -> None:
    """Closes with 1011 before it raises, as a consumer does; some of that takes a while."""
    try:
        if (await receive())["type"] == "websocket.connect" and scope["path"] == "/later":
            await send(ACCEPT)
            await receive()
        raise ValueError("the handler broke")
    except ValueError:
        await send({"type": "websocket.close", "code": 1011})
        for _ in range(10):
            await asyncio.sleep(0)
        raise


async def test_the_exception_behind_a_close_with_1011_surfaces_from_connect():
    with pytest.raises(ValueError, match="the handler broke"):
        await WebsocketCommunicator(failing_politely, "/now").connect()


async def test_the_exception_behind_a_close_with_1011_surfaces_from_a_receive():
    client = WebsocketCommunicator(failing_politely, "/later")
    await client.connect()
    await client.send_to("x")
    with pytest.raises(ValueError, match="the handler broke"):
        await client.receive_from()


async def test_the_close_with_1011_itself_can_be_read():
    client = WebsocketCommunicator(failing_politely, "/later")
    await client.connect()
    await client.send_to("x")
    assert await client.receive_output() == {"type": "websocket.close", "code": 1011}
    with pytest.raises(ValueError, match="the handler broke"):
        await client.wait()


async def test_a_close_with_1011_of_an_application_that_does_not_fail_is_only_a_close():
    close = {"type": "websocket.close", "code": 1011}
    async with WebsocketCommunicator(sending(close), "/") as client:
        assert await client.connect(timeout=0.01) == (False, 1011)


async def test_disconnect_tells_the_application_the_code_and_awaits_its_end():
    codes: list[int] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        codes.append((await receive())["code"])

    client = WebsocketCommunicator(application, "/")
    await client.connect()
    await client.disconnect(code=3001)
    assert codes == [3001]
    assert client.future.done()
    await client.disconnect()  # a second time does nothing


async def test_disconnect_says_when_the_application_does_not_end():
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    client = WebsocketCommunicator(application, "/")
    with pytest.raises(TimeoutError, match="had not ended"):
        await client.disconnect(timeout=0.01)
    assert client.future.cancelled()


async def test_leaving_async_with_tells_the_application_that_the_client_has_gone():
    async with WebsocketCommunicator(echo, "/") as client:
        await client.connect()
    assert client.future.done()
    assert not client.future.cancelled()


async def test_leaving_async_with_cancels_an_application_that_stays(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("fast_channels.testing.application.GRACE", 0.01)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        await asyncio.Event().wait()

    before = asyncio.all_tasks()
    async with WebsocketCommunicator(application, "/") as client:
        await client.connect()
    assert client.future.cancelled()
    assert asyncio.all_tasks() == before


async def test_leaving_async_with_by_an_exception_cancels_the_application_at_once():
    client = WebsocketCommunicator(echo, "/")

    async def use() -> None:
        async with client:
            await client.connect()
            raise KeyError("of the test")

    with pytest.raises(KeyError, match="of the test"):
        await use()
    assert client.future.cancelled()
    assert client.input_queue.empty()


async def test_a_mixin_that_connects_and_disconnects_with_async_with_works():
    """The shape of chanx's testing mixin, which must run unmodified."""

    class Mixin:
        application: Any

        def __init__(self, application: Any, path: str, headers: Any = None) -> None:
            super().__init__(application, path, headers, None, None)  # type: ignore[call-arg]

        async def receive_json_from(self, timeout: float = 1) -> Any:
            return await super().receive_json_from(timeout)  # type: ignore[misc]

        async def disconnect(self, code: int = 1000, timeout: float = 1) -> None:
            await super().disconnect(code, timeout)  # type: ignore[misc]

        async def __aenter__(self) -> Any:
            await self.connect()  # type: ignore[attr-defined]
            return self

        async def __aexit__(self, *exc: object) -> None:
            await self.disconnect()

    class Client(Mixin, WebsocketCommunicator):
        pass

    async with Client(echo, "/ws") as client:
        collected = []
        await client.send_json_to({"action": "a"})
        await client.send_json_to({"action": "b"})
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                while True:
                    collected.append(await client.receive_json_from(0.05))
        assert collected == [{"action": "a"}, {"action": "b"}]
    assert client.future.done()
