"""Redis servers of our own: on free ports, in temporary folders, to be killed and frozen."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot
from tests.ports import Port

PATIENCE = 15.0
SAVING = ("--appendonly", "yes", "--appendfsync", "always")
"""What a server needs to lose no history when it is killed."""
BINARIES = ("redis-server", "valkey-server")
CLUSTER_BUS = 10_000
"""How far above its port a node of a Cluster listens, too."""


def binary() -> str:
    """Return the server to test with: ``FAST_CHANNELS_REDIS_SERVER``, or the one on PATH."""
    found = os.environ.get("FAST_CHANNELS_REDIS_SERVER") or next(
        filter(None, map(shutil.which, BINARIES)), None
    )
    if not found:
        raise RuntimeError(f"none of {', '.join(BINARIES)} is on PATH; run: make setup")
    return found


def version() -> tuple[int, int]:
    """Return what ``binary`` is; Valkey counts on from Redis 7.2."""
    told = subprocess.run([binary(), "--version"], check=True, capture_output=True, text=True)
    found = re.search(r"v=(\d+)\.(\d+)", told.stdout)
    if found is None:
        raise RuntimeError(f"{binary()} tells no version: {told.stdout}")
    return int(found[1]), int(found[2])


class Client(redis.Redis):
    """A client that leaves no socket behind; redis-py 4's own keeps those of its pool."""

    def close(self) -> None:
        super().close()
        self.connection_pool.disconnect()


class Server:
    """One ``redis-server`` process, restarted on the same port and with the same options."""

    def __init__(
        self, folder: Path, *options: object, config: str = "", **client_options: Any
    ) -> None:
        self._port = Port(offset=CLUSTER_BUS)
        self.port = self._port.number
        self.folder = folder / str(self.port)
        self.folder.mkdir()
        self.config = self.folder / "redis.conf"
        save = "" if "--sentinel" in options else 'save ""'
        lines = [
            f"port {self.port}",
            f"dir {self.folder}",
            f"logfile {self.folder}/log",
            save,
            config,
        ]
        self.config.write_text("\n".join(lines) + "\n")
        self.options = [str(option) for option in options]
        self.client_options = client_options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> "Server":
        """It answers."""
        command = [binary(), str(self.config), *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with self.client() as client:
                    client.ping()
                    return self
            except redis.exceptions.ResponseError:
                return self  # it answers, if only that it wants a password
            except redis.exceptions.RedisError as error:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    log = (self.folder / "log").read_text()
                    raise RuntimeError(f"redis-server did not start: {log}") from error
                time.sleep(0.01)

    def client(self, **options: Any) -> Client:
        """Return a plain client, to look from outside."""
        return Client(port=self.port, **{**self.client_options, **options})

    def command(self, *args: Any) -> Any:
        """Return the reply to one command."""
        with self.client() as client:
            return client.execute_command(*args)

    def kill(self) -> None:
        """It is gone, as with ``kill -9``."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """It holds its connections and does nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def running(
    folder: Path, *options: object, config: str = "", **client_options: Any
) -> Generator[Server]:
    """A server for the time of the ``with``."""
    server = Server(folder, *options, config=config, **client_options)
    try:
        yield server.start()
    finally:
        server.kill()


class Trio:
    """A master, a replica, and three Sentinels that make one of the other when it is needed."""

    name = "main-master"
    patience = 800
    password = "trio-secret"

    def __init__(self, folder: Path) -> None:
        login = ("--requirepass", self.password, "--masterauth", self.password)
        login += SAVING
        self.servers = [Server(folder, *login, password=self.password) for _ in range(2)]
        master, self.replica = self.servers
        self.replica.options += ["--replicaof", "127.0.0.1", str(master.port)]
        lines = [
            f"sentinel monitor {self.name} 127.0.0.1 {master.port} 2",
            f"sentinel auth-pass {self.name} {self.password}",
            f"sentinel down-after-milliseconds {self.name} {self.patience}",
            f"sentinel failover-timeout {self.name} 3000",
        ]
        self.sentinels = [Server(folder, "--sentinel", config="\n".join(lines)) for _ in range(3)]

    @property
    def url(self) -> str:
        """The Sentinels, and the master's name."""
        addresses = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:{self.password}@{addresses}/{self.name}"

    def start(self) -> None:
        """Every Sentinel knows the others and the replica."""
        for server in (*self.servers, *self.sentinels):
            server.start()
        wait_until(lambda: all(map(self._complete, self.sentinels)), "the Sentinels' agreement")

    def _complete(self, sentinel: Server) -> bool:
        with sentinel.client() as client:
            state = client.sentinel_master(self.name)
        return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)

    def master(self) -> Server:
        """Return the server that the first Sentinel names."""
        port = self._named(self.sentinels[0])
        [master] = [server for server in self.servers if server.port == port]
        return master

    def _named(self, sentinel: Server) -> int:
        with sentinel.client() as client:
            _, port = client.sentinel_get_master_addr_by_name(self.name)
        return int(port)

    def settle(self) -> None:
        """Both servers run, one follows the other, and every Sentinel names that one."""
        for server in self.servers:
            if server.process is None:
                server.start()
        wait_until(lambda: len(set(map(self._named, self.sentinels))) == 1, "one master for all")
        master = self.master()
        [other] = [server for server in self.servers if server is not master]
        master.command("REPLICAOF", "NO", "ONE")  # the Sentinels would say so in ten seconds
        other.command("REPLICAOF", "127.0.0.1", master.port)

    def hold(self) -> None:
        """The master of now is one when it is started again; nobody takes over for long."""
        master = self.master()
        for server in self.servers:
            if "--replicaof" in server.options:
                place = server.options.index("--replicaof")
                del server.options[place : place + 3]
            if server is not master:
                server.options += ["--replicaof", "127.0.0.1", str(master.port)]
        self.take_over_after(60_000)

    def take_over_after(self, milliseconds: int) -> None:
        """A master that was away for so long is replaced."""
        for sentinel in self.sentinels:
            sentinel.command("SENTINEL", "SET", self.name, "down-after-milliseconds", milliseconds)

    def settle_for_failover(self) -> None:
        """As ``settle``, and the Sentinels know it: they look every ten seconds."""
        self.settle()
        wait_until(lambda: all(map(self._sees_a_good_replica, self.sentinels)), "a good replica")

    def _sees_a_good_replica(self, sentinel: Server) -> bool:
        with sentinel.client() as client:
            state = client.sentinel_master(self.name)
            replicas = client.sentinel_slaves(self.name)
        good = [r for r in replicas if r["flags"] == "slave" and r["master-link-status"] == "ok"]
        return bool(good) and state["flags"] == "master"

    def kill(self) -> None:
        """Everything is gone."""
        for server in (*self.sentinels, *self.servers):
            server.kill()


class Nodes:
    """A Cluster of three masters on one machine, each with a third of the slots."""

    password = "cluster-secret"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.nodes = [self._node() for _ in range(3)]

    def _node(self) -> Server:
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]
        options += ["--requirepass", self.password, "--masterauth", self.password]
        options += ["--repl-diskless-sync-delay", "0", *SAVING]
        return Server(self._folder, *options, password=self.password)

    @property
    def url(self) -> str:
        """All nodes of the beginning."""
        addresses = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:3])
        return f"redis+cluster://:{self.password}@{addresses}"

    def start(self) -> None:
        """Every node answers for its slots, and knows the others'."""
        for index, node in enumerate(self.nodes):
            node.start()
            first, last = index * 16_384 // 3, (index + 1) * 16_384 // 3 - 1
            node.command("CLUSTER", "ADDSLOTSRANGE", first, last)
        for node in self.nodes[1:]:
            node.command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        self.settle()

    def settle(self) -> None:
        """Every node runs, and all agree."""
        for node in self.nodes:
            if node.process is None:
                node.start()
        wait_until(lambda: all(map(self._agrees, self.nodes)), "the Cluster's agreement")

    def _agrees(self, node: Server) -> bool:
        info = node.command("CLUSTER", "INFO")
        state = (
            info
            if isinstance(info, dict)
            else dict(line.split(":") for line in info.decode().split())
        )
        known = node.command("CLUSTER", "SLOTS")
        return (
            state["cluster_state"] == "ok"
            and int(state["cluster_slots_ok"]) == 16_384
            and bool(known)
        )

    def id(self, node: Server) -> str:
        """Return the node's name in the Cluster."""
        name = node.command("CLUSTER", "MYID")
        return name.decode() if isinstance(name, bytes) else str(name)

    def owner(self, key: str) -> Server:
        """Return the node that has the key."""
        slot = key_slot(key.encode())
        for node in self.nodes:
            with node.client() as client:
                try:
                    client.execute_command("SPUBLISH", key, "")
                except redis.exceptions.RedisError:
                    continue
                return node
        raise RuntimeError(f"nobody has slot {slot}")

    def migrate(self, key: str, target: Server) -> Server:
        """The slot of the key is the target's; return the node that had it."""
        slot, source = key_slot(key.encode()), self.owner(key)
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id(target))
        while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.command(
                *("MIGRATE", "127.0.0.1", target.port, "", 0, 5000),
                *("AUTH", self.password, "KEYS", *keys),
            )
        for node in dict.fromkeys((target, source, *self.nodes)):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", self.id(target))
        return source

    def add_replica(self, master: Server) -> Server:
        """Return a node more, which follows the master."""
        replica = self._node().start()
        self.nodes.append(replica)
        replica.command("CLUSTER", "MEET", "127.0.0.1", master.port)

        wait_until(
            lambda: replica.command("CLUSTER", "REPLICATE", self.id(master)), "an acquaintance"
        )
        wait_until(
            lambda: replica.client().info("replication")["master_link_status"] == "up", "a replica"
        )
        # Both ways: who knows only its master, and then loses it, asks nobody for a vote.
        names = [self.id(node) for node in self.nodes]
        wait_until(
            lambda: all(
                name in str(node.command("CLUSTER", "NODES"))
                for node in self.nodes
                for name in names
            ),
            "acquaintance",
        )
        return replica

    def kill(self) -> None:
        """Every node is gone."""
        for node in self.nodes:
            node.kill()


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return when the condition is true; while servers come and go it may raise."""
    deadline = time.monotonic() + 2 * PATIENCE
    while True:
        try:
            if condition():
                return
        except redis.exceptions.RedisError:
            pass
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come")
        time.sleep(0.02)
