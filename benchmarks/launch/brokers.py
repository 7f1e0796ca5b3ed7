"""The brokers of a run: private, on free ports, and what they count of themselves.

They are those of the test suites, so they are found, started and ended in one way; how they are set
up is in ``SETTINGS`` of each and in this module.
"""

import asyncio
import json
import re
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.workers.measuring import process_cpu

MESSAGES_IN_REDIS = ("publish", "spublish", "xadd", "zadd", "lpush", "rpush")


@dataclass(frozen=True)
class Broker:
    """A running broker, or none: ``memory``."""

    name: str
    url: str
    version: str
    pid: int
    messages: Callable[[], int]
    """How often it took a message from anybody since its start, by its own count."""

    reset: Callable[[], object] = lambda: None
    """Forgets what libraries kept in it."""

    freeze: Callable[[], object] = lambda: None
    thaw: Callable[[], object] = lambda: None

    def counters(self) -> dict[str, float]:
        """Return its CPU seconds and message count of now; nothing where there is no broker."""
        if not self.pid:
            return {}
        return {"cpu": cpu_seconds(self.pid), "messages": self.messages()}


@contextmanager
def running(name: str) -> Generator[Broker, None, None]:
    """The broker for the time of the ``with``."""
    with START[name]() as broker:
        yield broker


@contextmanager
def memory() -> Generator[Broker, None, None]:
    """No broker at all."""
    yield Broker("memory", "memory://", "", 0, lambda: 0)


@contextmanager
def redis() -> Generator[Broker, None, None]:
    """redis-server or valkey-server; it saves nothing. A message is a command that carries one."""
    from tests.redis import servers

    with folder() as place, servers.running(place) as server:

        def messages() -> int:
            stats = server.client().info("commandstats")
            return sum(
                int(stats.get(f"cmdstat_{c}", {}).get("calls", 0)) for c in MESSAGES_IN_REDIS
            )

        info = server.client().info("server")
        name = "Valkey" if "valkey_version" in info else "Redis"
        version = f"{name} {info.get('valkey_version', info['redis_version'])}"
        pid = pid_of(server.process)
        yield Broker(
            "redis", server.url, version, pid, messages, lambda: server.command("FLUSHALL")
        )


@contextmanager
def postgres() -> Generator[Broker, None, None]:
    """PostgreSQL without fsync. A message is a transaction that notified or wrote.

    Each of these takes a number (xid), and nothing else does.
    """
    from tests.postgres import servers

    with servers.running("trust", max_connections="200", shared_buffers="128MB") as server:

        def ask(sql: str) -> Any:
            return asyncio.run(server.run(sql))[0][0]

        def messages() -> int:
            # Text: asyncpg has no codec for xid8.
            return int(ask("SELECT pg_snapshot_xmax(pg_current_snapshot())::text"))

        def reset() -> None:
            for schema in ("fast_channels", "public"):
                asyncio.run(server.run(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
            asyncio.run(server.run("CREATE SCHEMA public"))

        version = f"PostgreSQL {ask('SHOW server_version').partition(' ')[0]}"
        pid = pid_of(server.process)
        yield Broker("postgres", server.url, version, pid, messages, reset)


@contextmanager
def rabbitmq() -> Generator[Broker, None, None]:
    """A node of RabbitMQ. A message is what it counts as received from publishers."""
    from tests.rabbitmq import servers

    received = (
        "lists:sum([maps:get(messages_received_total, C) || "
        "{[{protocol, _}], C} <- maps:to_list(rabbit_global_counters:overview())])."
    )
    with folder() as place, servers.running(place) as node:
        version = f"RabbitMQ {node.ask('rabbit_misc:version().').strip(chr(34))}"
        pid = pid_of(node.process)
        yield Broker(
            "rabbitmq", node.url, version, pid, lambda: int(node.ask(received)),
            freeze=node.freeze, thaw=node.thaw,
        )  # fmt: skip


@contextmanager
def nats() -> Generator[Broker, None, None]:
    """A nats-server with JetStream. A message is what varz counts as received."""
    from tests.nats import servers
    from tests.ports import free_port

    monitor = free_port()
    with folder() as place, servers.running(place, f'http: "127.0.0.1:{monitor}"') as server:

        def messages() -> int:
            with urllib.request.urlopen(f"http://127.0.0.1:{monitor}/varz", timeout=5) as answer:
                return int(json.load(answer)["in_msgs"])

        version = f"nats-server {server.told()['version']}"
        yield Broker("nats", server.url, version, pid_of(server.process), messages)


START: dict[str, Callable[[], Any]] = {
    "memory": memory,
    "redis": redis,
    "postgres": postgres,
    "rabbitmq": rabbitmq,
    "nats": nats,
}


class Brokers:
    """The brokers of a run, each started for a scenario; RabbitMQ once, for it starts slowly.

    What idles is frozen, so that it costs the others nothing.
    """

    def __init__(self, versions: dict[str, str]) -> None:
        self._versions = versions
        """What was used, by broker."""
        self._kept: dict[str, Broker] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "Brokers":
        return self

    def __exit__(self, *_: object) -> None:
        for broker in self._kept.values():
            broker.thaw()
        self._stack.close()

    @contextmanager
    def use(self, name: str) -> Generator[Broker, None, None]:
        """Yield the broker for a scenario."""
        if name != "rabbitmq":
            with running(name) as broker:
                self._versions[name] = broker.version
                yield broker
            return
        if name in self._kept:
            self._kept[name].thaw()
            try:
                self._kept[name].counters()
            except (OSError, RuntimeError, subprocess.SubprocessError, psutil.Error):
                del self._kept[name]  # it did not live; its files go at the end
        if name not in self._kept:
            self._kept[name] = self._stack.enter_context(running(name))
        broker = self._kept[name]
        self._versions[name] = broker.version
        try:
            yield broker
        finally:
            broker.freeze()


@contextmanager
def folder() -> Generator[Path, None, None]:
    """A folder for a server's files."""
    with tempfile.TemporaryDirectory(prefix="fc-bench-") as name:
        yield Path(name)


def pid_of(process: "subprocess.Popen[bytes] | None") -> int:
    """Return the number of a process that runs."""
    assert process is not None
    return process.pid


def cpu_seconds(pid: int) -> float:
    """Return what a process and those below it have used, ended ones of the first included."""
    total = 0.0
    main = psutil.Process(pid)
    for process in (main, *main.children(recursive=True)):
        try:
            total += process_cpu(process.pid)
        except (OSError, psutil.NoSuchProcess):
            continue  # it has ended, and is counted below
    ended = main.cpu_times()
    return total + ended.children_user + ended.children_system


def tool_version(*command: str) -> str:
    """Return the first number with dots that a program prints; empty if it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except OSError:
        return ""
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else ""
