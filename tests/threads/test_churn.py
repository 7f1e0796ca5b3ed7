"""Clients that come and go leave nothing behind."""

import json
import subprocess
import sys

import pytest
from tests.tcp_broker import TCPBroker

from .conftest import HERE, environment


def churn(url: str, connections: int, broker: TCPBroker) -> list[dict[str, int]]:
    """Return what a server process held after half of the connections, and after all."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(HERE / "churn.py"), url, str(connections)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        subscriptions = broker.subscriptions
        _, errors = process.communicate("\n", timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert subscriptions == (1 if url == broker.url else 0)  # the node's own
    half, whole = json.loads(line)
    return [half, whole]


def check(url: str, connections: int, broker: TCPBroker) -> None:
    half, whole = churn(url, connections, broker)
    growth = whole.pop("rss") / half.pop("rss")
    sys.stdout.write(f"{connections} connections on {url}: {growth=:.3f}, {half=}, {whole=}\n")
    nothing = {"channels": 0, "groups": 0, "Mailbox": 0, "Connection": 0, "Guest": 0, "Visit": 0}
    assert half == whole == {"tasks": 1, "Topic": 1, **nothing}
    # The allocator's pages alone make 4 % of a few thousand, and nothing of a hundred thousand.
    assert growth < (1.05 if connections > 50_000 else 1.1)


@pytest.mark.parametrize("kind", ["memory", "tcp"])
def test_a_few_thousand_connections_leave_nothing_behind(broker: TCPBroker, kind: str) -> None:
    check(broker.url if kind == "tcp" else "memory://", 4_000, broker)


@pytest.mark.long
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("kind", ["memory", "tcp"])
def test_a_hundred_thousand_connections_leave_nothing_behind(broker: TCPBroker, kind: str) -> None:
    check(broker.url if kind == "tcp" else "memory://", 100_000, broker)
