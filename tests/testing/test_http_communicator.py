"""One request, in the argument orders of both upstreams."""

import asyncio
from typing import Any

import pytest

from fast_channels.testing import HttpCommunicator


async def mirror(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what it was asked."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 201, "headers": [(b"x", b"y")]})
    await send({"type": "http.response.body", "body": scope["method"].encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b" " + scope["path"].encode() + b" " + body})


BOTH_ORDERS = {
    "channels, positional": lambda: HttpCommunicator(mirror, "PUT", "/a", b"b", [(b"h", b"v")]),
    "channels, options by name": lambda: HttpCommunicator(
        mirror, "put", "/a", headers=[(b"h", b"v")], body=b"b"
    ),
    "channels, all by name": lambda: HttpCommunicator(
        mirror, method="PUT", path="/a", body=b"b", headers=[(b"h", b"v")]
    ),
    "channels, path by name": lambda: HttpCommunicator(
        mirror, "PUT", path="/a", body=b"b", headers=[(b"h", b"v")]
    ),
    "fast channels": lambda: HttpCommunicator(
        mirror, "/a", method="PUT", body=b"b", headers=[(b"h", b"v")]
    ),
}


@pytest.mark.parametrize("make", BOTH_ORDERS.values(), ids=BOTH_ORDERS)
async def test_both_orders_of_arguments_make_the_same_request(make: Any):
    async with make() as client:
        assert (client.scope["method"], client.scope["path"]) == ("PUT", "/a")
        assert client.scope["headers"] == [(b"h", b"v")]
        assert await client.get_response() == {
            "status": 201,
            "headers": [(b"x", b"y")],
            "body": b"PUT /a b",
        }


async def test_the_method_is_get_and_the_body_empty_unless_said_otherwise():
    async with HttpCommunicator(mirror, "/") as client:
        assert (await client.get_response())["body"] == b"GET / "


def test_the_query_string_is_split_off_and_the_path_decoded():
    scope = HttpCommunicator(mirror, "/r%C3%A4ume/a%20b?name=%41&x").scope
    assert scope["path"] == "/räume/a b"
    assert scope["raw_path"] == b"/r%C3%A4ume/a%20b"
    assert scope["query_string"] == b"name=%41&x"


def test_a_path_that_begins_with_two_slashes_names_no_host():
    assert HttpCommunicator(mirror, "GET", "//x/y").scope["path"] == "//x/y"


async def test_a_request_that_was_sent_is_not_sent_again():
    async with HttpCommunicator(mirror, "/", method="POST", body=b"once") as client:
        await client.send_request()
        assert (await client.get_response())["body"] == b"POST / once"
        assert client.input_queue.empty()


async def test_a_request_that_was_sent_by_hand_is_not_sent_again():
    async with HttpCommunicator(mirror, "POST", "/") as client:
        await client.send_input({"type": "http.request", "body": b"by hand"})
        assert (await client.get_response())["body"] == b"POST / by hand"
        assert client.input_queue.empty()


async def test_a_body_may_be_sent_in_parts():
    async with HttpCommunicator(mirror, "POST", "/", b"one, ") as client:
        await client.send_request(more_body=True)
        client.body = b"two"
        await client.send_request()
        assert (await client.get_response())["body"] == b"POST / one, two"


async def test_an_exception_before_the_response_surfaces():
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("no such page")

    with pytest.raises(LookupError, match="no such page"):
        await HttpCommunicator(application, "/").get_response()


async def test_an_exception_after_the_response_surfaces():
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await mirror(scope, receive, send)
        raise LookupError("too late")

    with pytest.raises(LookupError, match="too late"):
        await HttpCommunicator(application, "/").get_response()


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([{"type": "http.response.body", "body": b""}], "expected http.response.start"),
        (
            [{"type": "http.response.start", "status": 200}, {"type": "websocket.close"}],
            "expected http.response.body, but the application sent {'type': 'websocket.close'}",
        ),
    ],
)
async def test_a_response_in_the_wrong_order_is_named(sent: list[Any], expected: str):
    async def application(scope: Any, receive: Any, send: Any) -> None:
        for message in sent:
            await send(message)

    with pytest.raises(AssertionError) as raised:
        await HttpCommunicator(application, "/").get_response()
    assert expected in str(raised.value)


async def test_leaving_async_with_tells_a_streaming_application_that_the_client_has_gone():
    seen: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        seen.append((await receive())["type"])

    async with HttpCommunicator(application, "/events") as client:
        await client.send_request()
        await client.receive_output()
        assert (await client.receive_output())["body"] == b"data: 1\n\n"
    assert seen == ["http.disconnect"]
    assert not client.future.cancelled()


async def test_a_response_that_does_not_come_times_out_and_may_come_later():
    allowed = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await allowed.wait()
        await mirror(scope, receive, send)

    async with HttpCommunicator(application, "/") as client:
        with pytest.raises(TimeoutError):
            await client.get_response(timeout=0.01)
        allowed.set()
        assert (await client.get_response())["status"] == 201


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("GET",), {}, "missing 1 required positional argument: 'path'"),
        ((), {}, "path"),
        (("/a", "GET"), {}, "positional argument"),
        (("GET", "/a"), {"method": "PUT"}, "multiple values for argument 'method'"),
        (("/a",), {"params": {}}, "unexpected keyword argument 'params'"),
        (("POST", "/a", "text"), {}, "body must be bytes, not 'text'"),
    ],
)
def test_wrong_arguments_are_named(arguments: Any, options: Any, message: str):
    with pytest.raises(TypeError) as raised:
        HttpCommunicator(mirror, *arguments, **options)
    assert message in str(raised.value)
