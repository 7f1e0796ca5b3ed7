"""A link over a real socket: what its users see when the broker goes, stalls and returns."""

import asyncio
import logging
from collections.abc import AsyncGenerator

import pytest

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Link
from fast_channels.layers import link as links

from .waiting import until

LOGGER = logging.getLogger("tests.link")


class Broker:
    """Answers each line, unless it is mute."""

    def __init__(self) -> None:
        self.port = 0
        self.mute = False
        self.accepted = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def connections(self) -> int:
        return len(self._writers)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await until(lambda: not self._writers)
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        try:
            while await reader.readline():
                if not self.mute:
                    writer.write(b"PONG\n")
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
            self._writers.discard(writer)


class Line(asyncio.Protocol):
    """A connection that speaks in lines."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lost: Exception | None = None
        self.heard = True
        self.answers = 0
        self.on_lost = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard = True
        self.answers += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(BackendUnavailable(f"the connection to {self.name} was lost"))

    def ping(self) -> None:
        self.heard = False
        self.transport.write(b"PING\n")

    def abort(self, cause: Exception) -> None:
        self._end(cause)
        self.transport.abort()

    async def close(self) -> None:
        self.on_lost = None
        self.abort(BackendUnavailable("closed"))

    def _end(self, cause: Exception) -> None:
        if self.lost is None:
            self.lost = cause
            if self.on_lost is not None:
                self.on_lost(cause)


class User:
    """A link, and what its hooks were told."""

    def __init__(self, broker: Broker) -> None:
        self.events: list[str] = []
        self.made = 0
        self.attempts: list[float] = []
        self.refuse: Exception | None = None
        self.link: Link[Line] = Link(
            asyncio.get_running_loop(), self._connect, logger=LOGGER, purpose="test"
        )
        self.link.prepare = self._prepare
        self.link.went = lambda cause: self.events.append(f"went: {cause}")
        self.link.came_back = lambda line, cause: self.events.append(f"{line.name}: {cause}")
        self._broker = broker

    async def _connect(self, seconds: float) -> Line:
        self.attempts.append(seconds)
        loop = asyncio.get_running_loop()
        name = f"line {self.made + 1}"
        try:
            async with asyncio.timeout(seconds):
                _, line = await loop.create_connection(
                    lambda: Line(name), "127.0.0.1", self._broker.port
                )
        except OSError as error:
            raise BackendUnavailable(f"nobody answers: {error}") from None
        self.made += 1
        return line

    async def _prepare(self, line: Line) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.events.append(f"prepare {line.name}")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: what is tested is what happens, not when."""
    monkeypatch.setattr(links, "TICK", 0.03)
    monkeypatch.setattr(links, "GRACE", 0.1)


@pytest.fixture
async def broker() -> AsyncGenerator[Broker]:
    """A broker that runs."""
    broker = Broker()
    await broker.start()
    yield broker
    await broker.stop()


@pytest.fixture
async def user(broker: Broker) -> AsyncGenerator[User]:
    """A link to the broker, not open yet; no task is left behind."""
    tasks = asyncio.all_tasks()
    user = User(broker)
    yield user
    await user.link.close()
    await until(lambda: not broker.connections)
    assert asyncio.all_tasks() <= tasks | {asyncio.current_task()}


async def test_a_connection_is_prepared_before_anybody_gets_it(user: User) -> None:
    await user.link.open()
    assert (await user.link.ready()).name == "line 1"
    assert user.events == ["prepare line 1"]


async def test_opening_does_not_try_again(broker: Broker, user: User) -> None:
    await broker.stop()
    with pytest.raises(BackendUnavailable, match="nobody answers"):
        await user.link.open()
    assert user.attempts == [links.OPENING_SECONDS]


async def test_a_connection_that_cannot_be_prepared_is_closed(broker: Broker, user: User) -> None:
    user.refuse = BackendUnavailable("no")
    with pytest.raises(BackendUnavailable, match="no"):
        await user.link.open()
    await until(lambda: broker.accepted == 1 and not broker.connections)


async def test_a_broker_that_returns_is_found_and_told_once(broker: Broker, user: User) -> None:
    await user.link.open()
    await broker.stop()
    await until(lambda: len(user.attempts) >= 3)
    await broker.start()
    await until(lambda: user.link.connection is not None)
    lost = "the connection to line 1 was lost"
    assert user.events == ["prepare line 1", f"went: {lost}", "prepare line 2", f"line 2: {lost}"]
    assert set(user.attempts[1:]) == {links.ATTEMPT_SECONDS}


async def test_in_a_long_outage_each_attempt_gets_more_time(
    broker: Broker, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "LONG_OUTAGE", 0.0)
    await user.link.open()
    await broker.stop()
    await until(lambda: len(user.attempts) >= 3)
    assert user.attempts[-1] == links.OPENING_SECONDS


async def test_who_needs_a_connection_waits_for_it_in_bounded_time(
    broker: Broker, user: User
) -> None:
    await user.link.open()
    await broker.stop()
    await until(lambda: user.link.connection is None)
    with pytest.raises(BackendUnavailable, match=r"; nothing was sent$"):
        await user.link.ready(0.1)
    waiting = asyncio.create_task(user.link.ready(60))
    await asyncio.sleep(0)
    await broker.start()
    assert await waiting is user.link.connection


async def test_a_waiter_may_be_cancelled(broker: Broker, user: User) -> None:
    await user.link.open()
    await broker.stop()
    waiting = asyncio.create_task(user.link.ready(60))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await broker.start()
    await user.link.ready(60)


async def test_a_silent_connection_is_replaced_by_one_that_answers(
    broker: Broker, user: User
) -> None:
    await user.link.open()
    broker.mute = True
    await until(lambda: "line 2: line 1 gave no sign of life" in user.events)
    assert "went: line 1 gave no sign of life" in user.events
    await until(lambda: broker.connections == 1)


async def test_an_idle_connection_that_answers_is_kept(broker: Broker, user: User) -> None:
    await user.link.open()
    line = user.link.connection
    assert line is not None
    await until(lambda: line.answers == 3)
    assert user.link.connection is line
    assert broker.accepted == 1


async def test_a_silent_broker_that_takes_nobody_is_given_up(broker: Broker, user: User) -> None:
    await user.link.open()
    broker.mute = True
    user.refuse = BackendUnavailable("frozen")
    await until(lambda: user.link.connection is None)
    assert "went: line 1 gave no sign of life for 0.2 s" in user.events
    user.refuse = None
    await user.link.ready(60)


async def test_a_broker_that_stalls_costs_no_connection(broker: Broker, user: User) -> None:
    await user.link.open()
    first = user.link.connection
    assert first is not None
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def prepare(_: Line) -> None:
        entered.set()
        await go_on.wait()

    user.link.prepare = prepare
    broker.mute = True
    await entered.wait()
    broker.mute = False
    first.ping()
    await until(lambda: first.heard)
    go_on.set()
    await until(lambda: broker.accepted == 2 and broker.connections == 1)
    assert user.link.connection is first


async def test_a_connection_that_is_left_stays_until_another_is_there(
    broker: Broker, user: User
) -> None:
    await user.link.open()
    first = user.link.connection
    retired = []

    async def retire(line: Line) -> None:
        retired.append((line.name, line.lost))
        await line.close()

    user.link.retire = retire
    user.link.leave(BackendUnavailable("it will shut down"))
    assert user.link.connection is first
    await until(lambda: retired)
    assert retired == [("line 1", None)]
    assert user.events[1:] == [
        "prepare line 2",
        "went: it will shut down",
        "line 2: it will shut down",
    ]


async def test_a_connection_that_is_to_be_left_at_once_is_left(user: User) -> None:
    await user.link.open()

    def came_back(line: Line, _: Exception) -> None:
        if line.name == "line 2":
            user.link.leave(BackendUnavailable("it will shut down, too"))

    user.link.came_back = came_back
    user.link.renew(BackendUnavailable("deaf"))
    await until(lambda: user.link.connection is not None and user.link.connection.name == "line 3")


async def test_a_renewed_connection_is_another(user: User) -> None:
    await user.link.open()
    user.link.renew(BackendUnavailable("deaf"))
    assert (await user.link.ready()).name == "line 2"
    assert user.events[-1] == "line 2: deaf"


async def test_a_link_that_starts_connects_by_itself(broker: Broker, user: User) -> None:
    await broker.stop()
    user.link.start()
    user.link.start()
    await until(lambda: len(user.attempts) >= 2)
    await broker.start()
    await user.link.ready(60)
    assert broker.accepted == 1


async def test_closing_tells_who_waits(broker: Broker, user: User) -> None:
    await user.link.open()
    await broker.stop()
    await until(lambda: user.link.connection is None)
    waiting = asyncio.create_task(user.link.ready(60))
    await asyncio.sleep(0)
    await user.link.close()
    with pytest.raises(BackendUnavailable, match="closed"):
        await waiting
    with pytest.raises(BackendUnavailable, match="closed"):
        await user.link.ready()


async def test_a_long_outage_is_not_told_at_each_attempt(
    broker: Broker, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    await user.link.open()
    await broker.stop()
    await until(lambda: len(user.attempts) >= 4)
    await broker.start()
    await user.link.ready(60)
    lost, back = (record.getMessage() for record in caplog.records)
    assert lost == "the connection to line 1 was lost (test); connecting again"
    assert back.startswith("line 2 (test) is back after")
