"""RabbitMQ nodes of our own: on free ports, in temporary folders, to be killed and frozen."""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.ports import Port

USER, PASSWORD = "kit", "kit-secret"
COOKIE = secrets.token_hex(10)
SCRIPTS = ("/usr/lib/rabbitmq/bin/rabbitmq-server",)
"""Debian's program on PATH changes the user and the folder; this is what it runs."""
PATIENCE = 25.0
STARTING = 50.0
"""A node starts in 4 seconds, and in 25 where ten others start."""


def binary() -> str:
    """Return the server to test with: ``FAST_CHANNELS_RABBITMQ_SERVER``, or the installed one."""
    found = os.environ.get("FAST_CHANNELS_RABBITMQ_SERVER")
    found = found or next(filter(None, map(shutil.which, SCRIPTS)), None)
    found = found or shutil.which("rabbitmq-server")
    if not found:
        raise RuntimeError("rabbitmq-server is not on PATH; run: make setup")
    return found


def listening(port: int) -> None:
    """Return when somebody listens on the port."""
    deadline = time.monotonic() + STARTING
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


class Names:
    """The daemon that tells Erlang's nodes each other's ports, for ours alone."""

    def __init__(self) -> None:
        self._port = Port()
        self.port = self._port.number
        program = shutil.which("epmd")
        if not program:
            raise RuntimeError("epmd of Erlang is not on PATH; run: make setup")
        command = [program, "-port", str(self.port), "-address", "127.0.0.1"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        """It is gone."""
        self.process.kill()
        self.process.wait()


class Node:
    """One node, restarted on the same port and with the same data."""

    def __init__(self, folder: Path, names: Names, config: str = "", plugins: str = "") -> None:
        self._ports = Port(), Port()
        self.port, distribution = (each.number for each in self._ports)
        self.name = f"fc{self.port}@localhost"
        self.folder = folder / str(self.port)
        self.folder.mkdir()
        (self.folder / "plugins").write_text(f"[{plugins}].\n")
        (self.folder / "rabbitmq.conf").write_text(
            f"default_user = {USER}\ndefault_pass = {PASSWORD}\n"
            "loopback_users = none\ndisk_free_limit.absolute = 1MB\n" + config
        )
        (self.folder / ".erlang.cookie").write_text(COOKIE)
        (self.folder / ".erlang.cookie").chmod(0o400)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(names.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 -kernel inet_dist_use_interface "
            "{127,0,0,1}",
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Where it listens, with a user who may everything."""
        return self.by(self.port)

    def by(self, port: int) -> str:
        """Return the URL of who reaches it by another port of this machine."""
        return f"amqp://{USER}:{PASSWORD}@127.0.0.1:{port}"

    def launch(self) -> None:
        """It runs, and will answer soon."""
        with (self.folder / "out").open("ab") as out:
            self.process = subprocess.Popen(
                [binary()],
                env=self.environment,
                cwd=self.folder,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start(self) -> "Node":
        """It answers."""
        self.launch()
        self.wait()
        return self

    def wait(self) -> None:
        """Return when it speaks AMQP."""
        assert self.process is not None
        deadline = time.monotonic() + STARTING
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    probe.sendall(b"AMQP\0\0\x09\x01")
                    if probe.recv(1):
                        return
            except OSError:
                pass
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(
                    f"{self.name} did not start: {(self.folder / 'out').read_text()}"
                )
            time.sleep(0.02)

    def ask(self, code: str) -> str:
        """Return what Erlang code evaluates to inside the node."""
        program = shutil.which("erl_call")
        assert program, "erl_call of Erlang is not on PATH"
        deadline = time.monotonic() + PATIENCE
        while True:
            done = subprocess.run(
                [program, "-c", COOKIE, "-sname", self.name, "-e"],
                input=f"{code}\n".encode(),
                env=self.environment,
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
            # A node lets nobody in who takes seconds to say hello, on a busy machine.
            if b"failed to connect" not in done.stderr or time.monotonic() > deadline:
                break
        answer = done.stdout.decode()
        if not answer.startswith("{ok,"):
            raise RuntimeError(f"{code} gave {answer} {done.stderr.decode()}")
        return answer[4:].strip().rstrip("}").strip()

    def alarm(self, *, on: bool) -> None:
        """It is short of memory, or not any more; every connection of now has heard of it."""
        resource = "{resource_limit, memory, node()}"
        call = f"set_alarm({{{resource}, []}})" if on else f"clear_alarm({resource})"
        self.ask(
            f"rabbit_alarm:{call}, rabbit_alarm:get_alarms(),"
            "[catch rabbit_networking:connection_info(P, [state]) || "
            "P <- rabbit_networking:local_connections()], ok."
        )

    def kick(self) -> None:
        """An operator closes every connection."""
        self.ask('[rabbit_networking:close_connection(P, "kicked") || P <- '
                 "rabbit_networking:connections()], ok.")  # fmt: skip

    def break_channels(self) -> None:
        """Every channel ends by an error of the server's own."""
        self.ask("[exit(P, broken) || P <- rabbit_channel:list_local()], ok.")

    def user(self, name: str, configure: str, write: str, read: str) -> str:
        """Make a user with such permissions; return the URL with it."""
        binaries = ", ".join(f'<<"{text}">>' for text in ("/", configure, write, read, "kit"))
        self.ask(
            f'rabbit_auth_backend_internal:add_user(<<"{name}">>, <<"{PASSWORD}">>, <<"kit">>),'
            f'rabbit_auth_backend_internal:set_permissions(<<"{name}">>, {binaries}).'
        )
        return f"amqp://{name}:{PASSWORD}@{self.address}"

    def virtual_host(self, name: str) -> None:
        """Make a virtual host in which our user may everything."""
        host, user = f'<<"{name}">>', f'<<"{USER}">>'
        self.ask(
            f"rabbit_vhost:add({host}, {user}), rabbit_auth_backend_internal:set_permissions("
            f'{user}, {host}, <<".*">>, <<".*">>, <<".*">>, {user}).'
        )

    def heartbeats(self) -> list[int]:
        """Return the seconds between two heartbeats of each connection."""
        told = self.ask(
            "[{T} || [{timeout, T}] <- rabbit_networking:connection_info_all([timeout])]."
        )
        return [int(each) for each in re.findall(r"\d+", told)]

    def delete_queues(self, beginning: str) -> None:
        """Whatever queues begin so are deleted, as an operator would."""
        self.ask(
            "[rabbit_amqqueue:delete(Q, false, false, <<\"kit\">>) || "
            'Q <- rabbit_amqqueue:list(<<"/">>), {resource, _, _, N} <- [amqqueue:get_name(Q)],'
            f' binary:longest_common_prefix([N, <<"{beginning}">>]) =:= {len(beginning)}], ok.'
        )  # fmt: skip

    def delete_exchange(self, name: str, *, again: bool = False) -> None:
        """The exchange is deleted, as an operator would; and perhaps made again at once."""
        resource = f'{{resource, <<"/">>, exchange, <<"{name}">>}}'
        made = f', rabbit_exchange:declare({resource}, direct, true, false, false, [], <<"kit">>)'
        self.ask(f'rabbit_exchange:delete({resource}, false, <<"kit">>){made if again else ""}.')

    def queues(self) -> list[str]:
        """Return the names of the queues."""
        names = self.ask(
            'lists:flatten(lists:join(" ", [binary_to_list(N) || '
            'Q <- rabbit_amqqueue:list(<<"/">>), {resource, _, _, N} <- [amqqueue:get_name(Q)]])).'
        )
        return sorted(names.strip('"').split())

    def leads(self, beginning: str) -> bool:
        """Whether every stream whose name begins so has its leader here."""
        leaders = self.ask(
            "lists:usort([node(amqqueue:get_pid(Q)) || "
            'Q <- rabbit_amqqueue:list(<<"/">>), {resource, _, _, N} <- [amqqueue:get_name(Q)],'
            f' binary:longest_common_prefix([N, <<"{beginning}">>]) =:= {len(beginning)}]).'
        )
        return leaders == f"[{self.name}]"

    def elect(self) -> None:
        """Every quorum queue has a leader."""
        self.ask(
            "[{ok, _, _} = ra:members(amqqueue:get_pid(Q), 20000) || "
            'Q <- rabbit_amqqueue:list(<<"/">>), '
            "amqqueue:get_type(Q) =:= rabbit_quorum_queue], ok."
        )

    def cut_off(self) -> None:
        """Every connection is broken without a word, and none is taken."""
        self.ask(
            "rabbit_maintenance:suspend_all_client_listeners(),"
            "[exit(P, kill) || P <- rabbit_networking:connections()], ok."
        )

    def let_in(self) -> None:
        """Connections are taken again."""
        self.ask("rabbit_maintenance:resume_all_client_listeners().")
        self.wait()

    def connections(self) -> int:
        """Return how many connections it has itself, whatever cluster it is in."""
        return int(self.ask("length(rabbit_networking:local_connections())."))

    def settle(self) -> None:
        """If it has streams, it knows so on disk.

        One of 3.10.8 that is killed sooner, within half a second of its first one, never has them
        again.
        """
        names = self.folder / "data" / self.name / "coordination" / self.name / "names.dets"
        deadline = time.monotonic() + PATIENCE
        while any(":h." in queue for queue in self.queues()):
            if b"rabbit_stream_coordinator" in names.read_bytes():
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{names} does not tell of streams")
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        """Every process of the node gets the signal."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """It is gone, as with ``kill -9``."""
        if self.process is not None:
            with suppress(ProcessLookupError):  # it has ended by itself
                self.signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """It is gone, as an operator stops it: it says goodbye, and writes down what it has."""
        assert self.process is not None
        self.ask("init:stop().")
        self.process.wait(STARTING)
        self.process = None

    def freeze(self) -> None:
        """It holds its connections and does nothing."""
        self.signal(signal.SIGSTOP)
        deadline = time.monotonic() + PATIENCE
        while not self._stands():  # one of its threads has to run to stop all others
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not stop")
            time.sleep(0.005)

    def _stands(self) -> bool:
        """Whether no thread of the node runs, where that can be told."""
        assert self.process is not None
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended meanwhile
                if os.getpgid(int(folder.name)) != self.process.pid:
                    continue
                for stat in folder.glob("task/*/stat"):
                    if stat.read_text().rpartition(") ")[2][0] not in "TZX":
                        return False
        return True

    def thaw(self) -> None:
        """It goes on."""
        self.signal(signal.SIGCONT)


class Cluster:
    """Nodes that know each other."""

    def __init__(self, folder: Path, count: int = 2) -> None:
        self._names = Names()
        self.nodes = [Node(folder, self._names) for _ in range(count)]
        members = "".join(
            f"cluster_formation.classic_config.nodes.{number} = {node.name}\n"
            for number, node in enumerate(self.nodes, 1)
        )
        for node in self.nodes:
            with (node.folder / "rabbitmq.conf").open("a") as config:
                config.write(members)

    def start(self) -> None:
        """All answer, and are one cluster."""
        for node in self.nodes:
            node.launch()  # at once: in 4.x each waits for the others
        for node in self.nodes:
            node.wait()
        count = f"{len(self.nodes)}"
        running = self.nodes[0].ask("length([node() | nodes()]).")
        if running != count:
            raise RuntimeError(f"{running} nodes of {count} found each other")

    def kill(self) -> None:
        """All are gone."""
        for node in self.nodes:
            node.kill()
        self._names.stop()


@contextmanager
def running(
    folder: Path, config: str = "", plugins: str = "", also: int | None = None
) -> Generator[Node]:
    """A node for the time of the ``with``, which listens ``also`` at that port."""
    names = Names()
    try:
        node = Node(folder, names, config, plugins)
        try:
            node.start()
            if also is not None:
                listening(also)
            yield node
        finally:
            node.kill()
    finally:
        names.stop()
