"""``fast-channels doctor`` where nobody answers, or somebody else."""

import contextlib
import socketserver
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.redis import servers as redis

from .conftest import Find
from .examined import SECRET, examined, failed

pytestmark = pytest.mark.timeout(90)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "amqp://127.0.0.1:1", "nats://127.0.0.1:1"])
def test_a_port_on_which_nobody_listens_is_named(url: str) -> None:
    checks = examined(url.replace("://", f"://ann:{SECRET}@"))
    assert list(checks) == ["package", "reach"]
    assert checks["reach"]["found"] == "nothing listens on port 1 of '127.0.0.1'"
    assert checks["reach"]["advice"].startswith("start the broker there")


def test_a_host_without_an_address_is_named() -> None:
    [_, reach] = examined("redis://no-such-host.invalid").values()
    assert reach["found"] == "the name 'no-such-host.invalid' has no address"
    assert "DNS" in reach["advice"]


def test_one_host_of_several_that_is_gone_is_a_warning(url_of: Find) -> None:
    checks = examined(f"{url_of('nats')},127.0.0.1:1", status=0)
    assert checks["reach"]["status"] == "warn"
    assert "port 1 of '127.0.0.1'" in checks["reach"]["found"]
    assert failed(checks) == []


@pytest.fixture(scope="module")
def ssh() -> Generator[str]:
    """The address of something that is no broker."""

    class Greeting(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
                self.request.recv(1_000)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeting) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("scheme", ["redis", "amqp", "nats"])
def test_something_that_is_no_broker_is_told(scheme: str, ssh: str) -> None:
    checks = examined(f"{scheme}://ann:{SECRET}@{ssh}")
    assert list(checks) == ["package", "reach", "open"]
    assert checks["open"]["advice"].startswith(f"look what listens at {ssh}, and correct the port")
    assert f"({scheme} is usually at " in checks["open"]["advice"]


@pytest.mark.parametrize("scheme", ["amqp", "nats", "postgresql"])
def test_a_broker_of_another_kind_that_says_nothing_is_thought_of(
    scheme: str, url_of: Find
) -> None:
    """Redis waits for the end of a line, which these do not send before they are greeted."""
    place = url_of("redis").removeprefix("redis://")
    checks = examined(f"{scheme}://ann:{SECRET}@{place}", "--timeout", "1")
    assert failed(checks) == ["open"]
    assert f"({scheme} is usually at " in checks["open"]["advice"]


def test_a_vhost_that_is_not_there_is_one_to_make(url_of: Find) -> None:
    checks = examined(f"{url_of('rabbitmq')}/nowhere")
    assert failed(checks) == ["open"]
    assert "'nowhere'" in checks["open"]["found"]
    assert checks["open"]["advice"].startswith("make that at ")


def test_a_broker_that_is_frozen_takes_bounded_time(tmp_path: Path) -> None:
    with redis.running(tmp_path) as server:
        server.freeze()
        began = time.monotonic()
        checks = examined(server.url, "--timeout", "1")
        assert time.monotonic() - began < 20
        server.thaw()
    assert failed(checks) == ["open"]
    assert "frozen" in checks["open"]["advice"]
