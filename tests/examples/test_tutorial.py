"""Each step of the tutorial does what its page says, served as the page says."""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from tests.redis.servers import Server
from tests.redis.servers import running as running_redis
from websockets.sync.client import ClientConnection, connect

from .served import PATIENCE, TUTORIAL, running, served

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A Redis that all steps share, for the keys of one are not those of another."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


class Client:
    """A page: JSON out and in."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def say(self, content: Any) -> None:
        self.socket.send(json.dumps(content))

    def hears(self) -> Any:
        return json.loads(self.socket.recv(timeout=PATIENCE))

    def hears_of(self, kind: str) -> Any:
        """Return the next frame of that kind of the protocol."""
        while (frame := self.hears())["channels"] != kind:
            pass
        return frame


@contextmanager
def client(address: str, room: str) -> Generator[Client]:
    with connect(f"ws://{address}/ws/{room}", open_timeout=PATIENCE) as socket:
        yield Client(socket)


@contextmanager
def events(address: str, last: str | None = None) -> Generator[Iterator[dict[str, str]]]:
    """The stream of events of a dashboard, field by field."""
    headers = {} if last is None else {"Last-Event-ID": last}

    def parsed(lines: Iterator[str]) -> Iterator[dict[str, str]]:
        event: dict[str, str] = {}
        for line in lines:
            if line and not line.startswith(":"):
                field, _, value = line.partition(": ")
                event[field] = value
            elif event and not line:
                if "data" in event:
                    yield event
                event = {}

    with httpx.stream(
        "GET", f"http://{address}/events", headers=headers, timeout=PATIENCE
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        yield parsed(response.iter_lines())


def measure(address: str, name: str, value: float) -> None:
    answer = httpx.post(
        f"http://{address}/readings", json={"name": name, "value": value}, timeout=PATIENCE
    )
    assert answer.status_code == 204


def values(stream: Iterator[dict[str, str]], count: int) -> list[float]:
    return [json.loads(next(stream)["data"])["value"] for _ in range(count)]


def test_chat1_answers() -> None:
    with served("chat1") as address, client(address, "lobby") as page:
        page.say({"text": "hello"})
        assert page.hears() == {"text": "You said: hello"}


def test_chat2_is_heard_in_the_room_and_nowhere_else() -> None:
    with (
        served("chat2") as address,
        client(address, "lobby") as ann,
        client(address, "lobby") as bob,
        client(address, "kitchen") as cleo,
    ):
        ann.say({"text": "hello"})
        assert ann.hears() == bob.hears() == {"text": "hello"}
        cleo.say({"text": "it is quiet here"})
        assert cleo.hears() == {"text": "it is quiet here"}


def test_chat3_is_one_chat_in_two_processes(redis: Server) -> None:
    with (
        served("chat3", redis.url) as here,
        served("chat3", redis.url) as there,
        client(here, "lobby") as ann,
        client(there, "lobby") as bob,
    ):
        ann.say({"text": "hello"})
        assert bob.hears() == {"text": "hello"}
        bob.say({"text": "good morning"})
        assert [ann.hears()["text"] for _ in range(2)] == ["hello", "good morning"]


def test_chat4_brings_what_was_said_while_a_client_was_away(redis: Server) -> None:
    def subscribe(page: Client, since: str | None) -> Any:
        page.say({"channels": "subscribe", "group": "room", "since": since})
        return page.hears_of("subscribed")

    with served("chat4", redis.url) as address:
        with client(address, "lobby") as ann:
            position = subscribe(ann, "last:50")["position"]
        with client(address, "lobby") as bob:
            subscribe(bob, None)
            for _ in range(2):  # the page was not sure that the first one had gone out
                bob.say({"id": "1", "text": "where are you?"})
            bob.say({"id": "2", "text": "never mind"})
            assert bob.hears()["data"]["text"] == "where are you?"
            assert bob.hears()["data"]["text"] == "never mind"
    with served("chat4", redis.url) as address, client(address, "lobby") as ann:
        answer = subscribe(ann, position or "last:50")
        assert answer["recovered"]
        assert [ann.hears()["data"]["text"] for _ in range(2)] == ["where are you?", "never mind"]


def test_chat5_shows_who_is_there(redis: Server) -> None:
    def join(page: Client, name: str) -> None:
        ask = {"channels": "subscribe", "group": "room", "presence": {"name": name}, "watch": True}
        page.say(ask)

    with served("chat5", redis.url) as address, client(address, "kitchen") as ann:
        join(ann, "ann")
        [state] = ann.hears_of("presence")["state"].values()
        assert state == {"name": "ann"}
        with client(address, "kitchen") as bob:
            join(bob, "")
            assert bob.hears()["code"] == "refused"
            join(bob, "bob")
            while {"name": "bob"} not in ann.hears_of("presence").get("joins", {}).values():
                pass
            bob.say({"id": "1", "text": "hello"})
            assert ann.hears_of("message")["data"]["name"] == "bob"


def test_dashboard1_shows_what_is_posted() -> None:
    with served("dashboard1") as address, events(address) as page:
        measure(address, "oven", 180.5)
        assert json.loads(next(page)["data"]) == {"name": "oven", "value": 180.5}


def test_dashboard2_fills_a_page_that_comes_later_and_goes_on_where_it_was() -> None:
    with served("dashboard2") as address:
        for value in (1.0, 2.0):
            measure(address, "oven", value)
        with events(address) as page:
            assert values(page, 1) == [1.0]
            last = next(page)["id"]
        measure(address, "oven", 3.0)
        with events(address, last) as page:
            assert values(page, 1) == [3.0]


def test_dashboard3_shows_what_a_process_without_a_server_measures(redis: Server) -> None:
    with (
        served("dashboard3", redis.url) as address,
        events(address) as page,
        running("dashboard3", "sensor.py", "oven", layer=redis.url),
    ):
        assert json.loads(next(page)["data"])["name"] == "oven"
        answer = httpx.get(f"http://{address}/ready", timeout=PATIENCE)
        assert (answer.status_code, answer.json()["ready"]) == (200, True)


def test_steps_that_have_the_client_have_the_one_that_is_shipped() -> None:
    client = TUTORIAL.parents[1] / "clients" / "js" / "fast-channels.js"
    copies = sorted(TUTORIAL.glob("*/fast-channels.js"))
    assert [copy.parent.name for copy in copies] == ["chat4", "chat5"]
    assert all(copy.read_bytes() == client.read_bytes() for copy in copies)
    assert not any(copy.is_symlink() for copy in copies)  # who copies the folder has it, too
