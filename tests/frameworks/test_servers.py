"""One consumer under every server and every framework, with real clients.

Each framework runs under one server and each server with one framework; marked ``long``, all pairs.
"""

import asyncio
import json

import httpx
import pytest
import websockets

from .servers import FRAMEWORKS, PATIENCE, SERVERS, inside, serving

pytestmark = [pytest.mark.timeout(90), pytest.mark.asyncio(loop_factories=["asyncio"])]

ONE_SERVER = "uvicorn, websockets-sansio"
CROWD = 1_000


def pairs():
    """All pairs; those that share neither the one server nor the one framework are long."""
    for server in SERVERS:
        for framework in FRAMEWORKS:
            long = server != ONE_SERVER and framework != "bare"
            marks = [pytest.mark.long] if long else []
            yield pytest.param((server, framework), marks=marks, id=f"{server}-{framework}")


@pytest.fixture(autouse=True)
def in_place():
    """The server's process decides for itself."""


@pytest.fixture(scope="module", params=pairs())
def process(request, tmp_path_factory):
    with serving(*request.param, tmp_path_factory.mktemp("django")) as process:
        yield process


@pytest.fixture(scope="module", params=SERVERS)
def server(request):
    return request.param


@pytest.fixture
async def held(process):
    """What the process holds; after each test that is no channel and no member of a group."""
    async with inside(process) as held:
        yield held
        await held.until(lambda now: now["stats"]["channels"] == now["stats"]["groups"] == 0)


def ended(now, code):
    """How often ``disconnect()`` was called with the code."""
    return now["ended"].get(str(code), 0)


def total(now):
    """How often ``disconnect()`` was called."""
    return sum(now["ended"].values())


async def closed(socket):
    """Wait for the end of the socket, and return the server's code and reason."""
    async with asyncio.timeout(PATIENCE):
        await socket.wait_closed()
    return socket.close_code, socket.close_reason


async def test_a_consumer_chooses_the_subprotocol_and_knows_its_path_query_and_headers(
    process, held
):
    async with process.connect(
        "/ws/lobby?token=a%20b&x=1",
        additional_headers={"x-token": "secret"},
        subprotocols=["chat.v1", "chat.v2"],
    ) as socket:
        assert socket.subprotocol == "chat.v2"
        assert json.loads(await socket.recv()) == {
            "greeting": process.framework.partition("_")[0],
            "path": "/ws/lobby",
            "query": "token=a%20b&x=1",
            "room": "lobby" if process.application.routes else None,
            "token": "secret",
        }
        headers = socket.response.headers.get_all("x-greeting")
        assert headers == (["hello"] if process.server.accept_headers else [])
    async with process.connect("/ws/lobby", subprotocols=["chat.v1"]) as socket:
        assert socket.subprotocol is None


async def test_text_and_bytes_go_there_and_back_up_to_a_megabyte(process, held):
    async with process.connect("/ws/lobby") as socket:
        await socket.recv()
        megabyte = "x" * 1_000_000
        for frame in ("grüße", b"\x00\xff", megabyte, megabyte.encode()):
            await socket.send(frame)
            assert await socket.recv() == frame
        for empty in ("", b""):
            await socket.send(empty)
        await socket.send("after them")
        answers = ["", b"", "after them"] if process.server.empty_frames else ["after them"]
        assert [await socket.recv() for _ in answers] == answers


async def test_a_message_of_the_servers_limit_passes_and_one_above_it_ends_the_socket(
    process, held
):
    largest = process.server.largest or 4_000_000
    async with process.connect("/ws/lobby", compression=None) as socket:
        await socket.recv()
        await socket.send(bytes(largest))
        assert await socket.recv() == bytes(largest)
        if process.server.largest is not None:
            await socket.send(bytes(largest + 1))
            await closed(socket)


async def test_a_message_reaches_the_group_from_a_socket_and_from_an_http_request(process, held):
    async with (
        process.connect("/ws/lobby") as one,
        process.connect("/ws/lobby") as two,
        process.connect("/ws/attic") as other,
    ):
        for socket in (one, two, other):
            await socket.recv()
        await one.send("say from a socket")
        assert [await one.recv(), await two.recv()] == ["from a socket"] * 2
        await held.announce("lobby", "from a request")
        assert [await one.recv(), await two.recv()] == ["from a request"] * 2
        await held.announce("attic", "for the attic")
        assert await other.recv() == "for the attic"


async def test_the_consumers_close_code_and_reason_reach_the_client(process, held):
    async with process.connect("/ws/lobby") as socket:
        await socket.recv()
        await socket.send("close 4001 because")
        assert await closed(socket) == (4001, "because" if process.server.reason else "")


async def test_what_a_consumer_raises_closes_with_1011_and_is_logged_once(process, held):
    async with process.connect("/ws/lobby") as socket:
        await socket.recv()
        await socket.send("fail marker-receive")
        code, _ = await closed(socket)
    await held.until(lambda now: "RuntimeError: marker-receive" in process.output)
    async with process.connect("/ws/lobby") as socket:  # what comes after it in the log
        await socket.recv()
        await socket.send("fail marker-after")
    await held.until(lambda now: "RuntimeError: marker-after" in process.output)
    again = process.application.closes_again
    assert code in ({1011, 4500} if again else {1011})
    assert process.output.count("RuntimeError: marker-receive") in ({1, 2} if again else {1})


async def test_the_clients_close_code_reaches_disconnect(process, held):
    code = process.server.client_code or 4123
    before = ended(await held.now(), code)
    async with process.connect("/ws/lobby") as socket:
        await socket.recv()
        await socket.close(4123, "bye")
    await held.until(lambda now: ended(now, code) == before + 1)


@pytest.mark.parametrize("begin", ["close", "deny", "fail"])
async def test_a_refused_socket_gets_an_http_answer(process, held, begin):
    with pytest.raises(websockets.InvalidStatus) as refused:
        await process.connect(f"/ws/lobby?begin={begin}")
    response = refused.value.response
    denied = begin == "deny" and process.server.denial
    status = 401 if denied else 403
    if begin == "fail":
        status = process.application.failed or process.server.failed
    assert response.status_code == status
    if denied:
        assert (bytes(response.body), response.headers["x-reason"]) == (b"who are you?", "nobody")


@pytest.mark.parametrize("how", ["reset", "half-close"])
async def test_a_client_that_vanishes_ends_its_consumer(process, held, how):
    before = total(await held.now())
    await process.vanish("/ws/lobby", how)
    await held.until(lambda now: total(now) == before + 1)


async def test_a_thousand_dropped_connections_leave_nothing(process, held):
    ends = total(await held.now())
    await process.vanish("/ws/lobby")  # what a first connection makes, the next ones use
    before = await held.until(lambda now: total(now) == ends + 1)
    for _ in range(0, CROWD, 100):
        async with asyncio.TaskGroup() as clients:
            for _ in range(100):
                clients.create_task(process.vanish("/ws/lobby"))
    after = await held.until(
        lambda now: total(now) == ends + 1 + CROWD and now["tasks"] <= before["tasks"]
    )
    for what in ("channels", "groups", "unread"):
        assert after["stats"][what] == 0


async def test_a_client_that_does_not_read_keeps_nobody_waiting(process, held):
    before = (await held.now())["stats"]["overflowed"]
    async with (
        process.connect("/ws/lobby", compression=None) as fast,
        process.connect("/ws/lobby", compression=None, max_queue=1) as slow,
    ):
        await fast.recv()
        await slow.recv()
        for _ in range(60):  # of half a megabyte: what sockets buffer, and 20 more for the mailbox
            now = await held.announce("lobby", "x", 500_000)
            assert len(await fast.recv()) == 500_000
            if now["stats"]["overflowed"] > before:
                break
        assert (now["stats"]["overflowed"] > before) == process.server.waits
        await fast.send("still here")
        assert await fast.recv() == "still here"
        slow.transport.abort()
    if process.server.waits:
        await held.until(lambda now: ended(now, 1013) == 1)


async def test_a_stream_of_events_flows_and_ends_with_its_client(server, tmp_path):
    with serving(server, "bare", tmp_path) as process:
        async with (
            inside(process) as held,
            httpx.AsyncClient(base_url=f"http://{process.address}", timeout=PATIENCE) as http,
        ):
            async with http.stream("GET", "/events/lobby") as response:
                assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
                lines = response.aiter_lines()
                read = [await anext(lines) for _ in range(6)]
                assert read == [":", "", "event: begin", "id: 7", "data: ready", ""]
                assert (await held.announce("lobby", "hello"))["stats"]["channels"] == 1
                assert [await anext(lines), await anext(lines)] == ["data: hello", ""]
            await held.until(lambda now: now["stats"]["channels"] == 0)


async def outstayed(stopped, *sockets):
    """The server serves its clients past its own time limit of one second; then they leave."""
    await asyncio.wait([stopped], timeout=2)
    for socket in sockets:
        await (await socket.ping())
    assert not stopped.done()
    for socket in sockets:
        await socket.close()


async def test_a_server_that_is_told_to_stop_ends_its_sockets_and_itself(server, tmp_path):
    with serving(server, "bare", tmp_path) as process:
        async with process.connect("/ws/one") as one, process.connect("/ws/two") as two:
            for socket in (one, two):
                await socket.recv()
            stopped = asyncio.create_task(asyncio.to_thread(process.stop))
            if process.server.outstays:
                await outstayed(stopped, one, two)
                await stopped
                return
            codes = [(await closed(socket))[0] for socket in (one, two)]
            await stopped
    assert codes == [process.server.stop] * 2
    ends = sorted(line for line in process.output if " disconnect " in line)
    told = [f"/ws/{name} disconnect {process.server.stop_code}" for name in ("one", "two")]
    assert ends == told if process.server.stop_tells else set(ends) <= set(told)
    assert ("lifespan over" in process.output) == process.server.lifespan
