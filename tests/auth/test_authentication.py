"""The examples of docs/authentication.md, served by uvicorn to real clients, friendly and not."""

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest
import websockets
from tests.waiting import until

from .conftest import PAGE, Example, Serve


async def open_socket(address: str, path: str = "/ws", **options: Any) -> Any:
    return await websockets.connect(f"ws://{address}{path}", open_timeout=10, **options)


async def until_closed(socket: Any) -> AsyncIterator[Any]:
    """What comes before the server closes the socket."""
    try:
        async for message in socket:
            yield message
    except websockets.ConnectionClosedError:
        pass


async def refusal(address: str, path: str = "/ws", **options: Any) -> tuple[int, bytes]:
    """The status and body that the handshake is answered with."""
    with pytest.raises(websockets.InvalidStatus) as refused:
        await open_socket(address, path, **options)
    response = refused.value.response
    return response.status_code, bytes(response.body or b"")


def trouble(server_log: pytest.LogCaptureFixture) -> list[str]:
    """What stands in the log as a warning or worse."""
    return [
        record.getMessage() for record in server_log.records if record.levelno >= logging.WARNING
    ]


# --- users, sessions ---------------------------------------------------------------------------


async def test_starlette_s_authentication_says_who_the_user_is(
    example: Example, serve: Serve, server_log: pytest.LogCaptureFixture
) -> None:
    address = await serve(example("Users")["app"])
    async with await open_socket(address, additional_headers={"x-api-key": "key-of-ann"}) as socket:
        assert json.loads(await socket.recv()) == {"user": "ann"}
    assert await refusal(address) == (401, b"who are you?")
    status, _ = await refusal(address, additional_headers={"x-api-key": "stolen"})
    assert status == 403
    assert trouble(server_log) == []


async def test_starlette_s_session_is_in_the_scope_of_a_socket(
    example: Example, serve: Serve, server_log: pytest.LogCaptureFixture
) -> None:
    address = await serve(example("Sessions")["app"])
    origin = "https://chat.example.com"
    async with httpx.AsyncClient() as client:
        response = await client.post(f"http://{address}/login?name=ann")
    cookie = {"cookie": f"session={response.cookies['session']}"}
    async with await open_socket(address, additional_headers=cookie, origin=origin) as socket:
        assert json.loads(await socket.recv()) == {"user": "ann"}
    assert await refusal(address, origin=origin) == (401, b"log in first")
    forged = {"cookie": cookie["cookie"][:-5] + "AAAAA"}
    assert await refusal(address, additional_headers=forged, origin=origin) == (
        401,
        b"log in first",
    )
    for elsewhere in ("https://evil.example", None):
        status, _ = await refusal(address, additional_headers=cookie, origin=elsewhere)
        assert status == 403
    assert trouble(server_log) == []


# --- tokens ------------------------------------------------------------------------------------


def token(names: dict[str, Any], **changes: Any) -> str:
    claims = {"sub": "ann", "exp": time.time() + 60, **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, names["KEY"], algorithm="HS256")


def bad_tokens(names: dict[str, Any]) -> dict[str, str]:
    good = token(names)
    return {
        "expired": token(names, exp=time.time() - 1),
        "without an end": token(names, exp=None),
        "without a name": token(names, sub=None),
        "of another key": jwt.encode(
            {"sub": "ann", "exp": time.time() + 60}, "another key, which is 32 bytes long"
        ),
        "unsigned": jwt.encode({"sub": "ann", "exp": time.time() + 60}, None, algorithm="none"),
        "changed": good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB"),
        "nonsense": "nonsense",
        "empty": "",
    }


async def test_a_token_in_the_subprotocol_says_who_the_user_is(
    example: Example, serve: Serve, server_log: pytest.LogCaptureFixture
) -> None:
    names = example("A JWT")
    address = await serve(names["app"])
    good = token(names)
    async with await open_socket(address, subprotocols=["bearer", good]) as socket:
        assert socket.subprotocol == "bearer"
        assert json.loads(await socket.recv()) == {"user": "ann"}
    refused = (401, b"token missing, expired or not ours")
    bad = [each for each in bad_tokens(names).values() if each]
    for each in bad:
        assert await refusal(address, subprotocols=["bearer", each]) == refused
    assert await refusal(address) == refused
    assert await refusal(address, subprotocols=["bearer"]) == refused
    assert trouble(server_log) == []
    assert '"WebSocket /ws" [accepted]' in server_log.text
    assert not [each for each in [good, *bad] if each in server_log.text]


async def test_a_token_in_the_query_says_who_the_user_is(
    example: Example, serve: Serve, server_log: pytest.LogCaptureFixture
) -> None:
    names = example("A JWT")
    _, _, rest = PAGE.partition("uvicorn writes the query of every socket into its log.")
    block = re.search(r"^```python\n(.*?)^```$", rest, re.MULTILINE | re.DOTALL)
    assert block is not None
    loggers = [logging.getLogger(name) for name in ("uvicorn.error", "uvicorn.access")]
    filters = [list(each.filters) for each in loggers]
    exec(compile(block[1], "filter", "exec"), {"__name__": "example"})
    try:
        address = await serve(names["app"])
        good = token(names)
        async with await open_socket(address, f"/ws?room=1&token={good}") as socket:
            assert json.loads(await socket.recv()) == {"user": "ann"}
        refused = (401, b"token missing, expired or not ours")
        bad = bad_tokens(names)
        for each in bad.values():
            assert await refusal(address, f"/ws?token={each}") == refused
        assert await refusal(address, "/ws") == refused
        assert await refusal(address, f"/ws?token={good}&token={good}") == refused
        told = server_log.text
        assert '"WebSocket /ws?room=1&token=***" [accepted]' in told
        assert not [each for each in [good, *bad.values()] if each and each in told]
        assert trouble(server_log) == []
    finally:
        for each, before in zip(loggers, filters, strict=True):
            each.filters[:] = before


async def test_a_token_does_not_reach_the_consumer_s_scope(example: Example, serve: Serve) -> None:
    names = example("A JWT")
    scopes: list[Any] = []

    async def keeps(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await names["Chat"].as_asgi()(scope, receive, send)

    address = await serve(names["JWTMiddleware"](keeps, names["KEY"]))
    good = token(names)
    for path, subprotocols in (("/ws", ["bearer", good, "x"]), (f"/ws?a=1&token={good}", None)):
        async with await open_socket(address, path, subprotocols=subprotocols):
            pass
    assert [scope["claims"]["sub"] for scope in scopes] == ["ann", "ann"]
    assert [scope["subprotocols"] for scope in scopes] == [["bearer", "x"], []]
    assert scopes[1]["query_string"] == b"a=1"
    assert good not in repr(scopes)


# --- FastAPI's dependencies ---------------------------------------------------------------------

KEY_OF_ANN = {"x-api-key": "key-of-ann"}


async def test_a_dependency_guards_the_socket_that_a_consumer_serves(
    example: Example, serve: Serve, server_log: pytest.LogCaptureFixture
) -> None:
    address = await serve(example("FastAPI's")["app"])
    async with await open_socket(address, "/ws/lobby", additional_headers=KEY_OF_ANN) as socket:
        assert json.loads(await socket.recv()) == {"room": "lobby", "user": "ann"}
        await socket.send('"hello"')
        assert json.loads(await socket.recv()) == "hello"
        await socket.send("no json")
        await socket.wait_closed()
        assert socket.close_code == 1007
    for headers in ({}, {"x-api-key": "stolen"}):
        status, _ = await refusal(address, "/ws/lobby", additional_headers=headers)
        assert status == 403
    assert trouble(server_log) == []


async def test_a_client_that_vanishes_behind_a_dependency_leaves_no_traceback(
    example: Example, serve: Serve, server_log: pytest.LogCaptureFixture
) -> None:
    names = example("FastAPI's")
    ended: list[Any] = []

    async def flood(self: Any, content: Any) -> None:
        for _ in range(1_000):
            await self.send_json("x" * 1_000)
            await asyncio.sleep(0)

    async def disconnect(self: Any, code: int) -> None:
        ended.append(code)

    names["Chat"].receive_json = flood
    names["Chat"].disconnect = disconnect
    address = await serve(names["app"])
    socket = await open_socket(address, "/ws/lobby", additional_headers=KEY_OF_ANN)
    await socket.send("1")
    await socket.recv()
    socket.transport.abort()
    await until(lambda: ended)
    assert trouble(server_log) == []


# --- limits, subprotocols, malformed handshakes --------------------------------------------------


@pytest.fixture(params=["websockets-sansio", "wsproto"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_socket_that_sends_too_much_is_closed_with_1008(
    example: Example, serve: Serve, server_log: pytest.LogCaptureFixture, protocol: str
) -> None:
    address = await serve(example("How much")["app"], ws=protocol)
    async with await open_socket(address) as socket, await open_socket(address) as other:
        for n in range(100):  # the limit is met while most of them are on their way
            await socket.send(str(n))
        answers = [json.loads(answer) async for answer in until_closed(socket)]
        assert answers == list(range(len(answers)))
        assert 20 <= len(answers) < 100  # 20, and one more for each half second that this took
        assert (socket.close_code, socket.close_reason) == (1008, "too many messages")
        await other.send("1")
        assert await other.recv() == "1"
    assert trouble(server_log) == []


async def test_a_subprotocol_that_nobody_speaks_is_refused(
    example: Example, serve: Serve, server_log: pytest.LogCaptureFixture, protocol: str
) -> None:
    address = await serve(example("Subprotocols")["app"], ws=protocol)
    async with await open_socket(address, subprotocols=["mqtt", "chat.v1", "chat.v2"]) as socket:
        assert socket.subprotocol == "chat.v1"
    for offered in (["mqtt"], None):
        assert await refusal(address, subprotocols=offered) == (
            400,
            b"speak one of chat.v2, chat.v1",
        )
    assert trouble(server_log) == []
