"""``clients/js`` over real brokers: a kept group is complete when server and broker were killed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page
from tests.chaos.brokers import BROKERS, Broker

from .conftest import Server
from .test_javascript_client import KEEPING, begin, comes, is_in_state, log, subscribed

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture(params=["redis", "nats", "postgres"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own, which keeps what it has when it is killed."""
    with BROKERS[request.param](tmp_path) as broker:
        yield broker


@pytest.fixture
def server(broker: Broker) -> Iterator[Server]:
    """The server, over that broker; its log names no failure in the end."""
    server = Server(broker.url)
    server.start()
    yield server
    assert "Traceback" not in server.kill()


def test_a_kept_group_is_complete_whoever_was_killed(
    broker: Broker, server: Server, page: Callable[..., Page]
) -> None:
    window = page()
    begin(window, "chat.a", "live.a", **KEEPING)

    def send(number: int) -> None:
        for group in ("chat.a", "live.a"):
            server.send(group, number)
            comes(window, group, number)

    send(0)
    server.kill()
    is_in_state(window, "offline")
    server.send_while_it_is_down("chat.a", *range(1, 20))
    server.start()
    subscribed(window)
    send(20)

    broker.kill()
    broker.start()
    window.wait_for_function("log.filter(([, what]) => what === 'gap').length === 2")
    send(21)

    server.kill()
    is_in_state(window, "offline")
    server.send_while_it_is_down("chat.a", *range(22, 40))
    broker.kill()
    broker.start()
    server.start()
    subscribed(window)
    send(40)
    assert log(window, "chat.a") == list(range(41))
    assert log(window, "live.a") == [0, "gap", 20, "gap", 21, "gap", 40]
