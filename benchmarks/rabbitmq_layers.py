"""The RabbitMQ layer against aio-pika itself and channels_rabbitmq.

One private node on loopback, uvloop, messages of 100 bytes; CPU is that of the measured Python
process.

- one group, 1,000 groups: 64 concurrent senders and the members in one process; messages for each
  second until all have arrived, and how many did not.
- hot group: 64 concurrent senders to a group whose members are elsewhere; CPU for each message.
- durable: the hot group with a history, against aio-pika's confirmed publishes to a stream, and
  against a group that is not kept.
- replay: 10,000 kept messages in pages of 200, against aio-pika's consumer of a stream.
- two processes: 100 members in one, the sender in another, at most 50 messages undelivered;
  deliveries of dicts for each second.
- lone: from one send to its arrival, median; aio-pika publishes with confirms.
- joins: 10,000 groups at once, by the time of one binding after another.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.processes import OURS, in_turns, install, is_open
from benchmarks.table import Row, compare
from benchmarks.table import measure as text

SCRIPT = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""Debian's program on PATH changes the user; this is what it runs."""


def rows() -> Iterator[Row]:
    """Yield a row for each comparison."""
    channels = install("channels-rabbitmq", "channels-rabbitmq>=4.0,<5")
    pythons = {"channels": channels}
    with rabbitmq_server() as port:

        def take(*sides: tuple[str, str]) -> list[dict[str, list[float]]]:
            return in_turns(
                *((pythons.get(s, OURS), "rabbitmq_worker", "uvloop", s, c, port) for s, c in sides)
            )

        for case, name, least in (
            ("one_group", "one group", 8),
            ("many_groups", "1,000 groups", 2),
        ):
            ours, peer = take(("ours", case), ("channels", case))
            yield compare(
                "rabbitmq",
                f"{name}, channels_rabbitmq",
                ours["rate"],
                peer["rate"],
                "/s",
                at_least=least,
            )
            lost, theirs = sum(ours["lost"]), sum(peer["lost"])
            yield Row("rabbitmq", f"{name}, lost", f"{lost:g}", f"{theirs:g}", lost, at_most=0)
        [ours] = take(("ours", "send_only"))
        cpu = median(ours["cpu"])
        yield Row("rabbitmq", "hot group, CPU", text(cpu, "us"), "-", cpu, " us", at_most=20)
        for case, name in (("send_only", "durable group"), ("replay", "replay")):
            kept, floor = take(("durable", case), ("stream", case))
            yield compare(
                "rabbitmq", f"{name}, aio-pika", kept["rate"], floor["rate"], "/s", at_least=1
            )
            yield compare("rabbitmq", f"{name}, aio-pika, CPU", kept["cpu"], floor["cpu"], "us")
            if case == "send_only":
                more = median(kept["cpu"])
                units = text(more, "us"), text(cpu, "us")
                yield Row("rabbitmq", "durable group, another, CPU", *units, more / cpu)
        ours, peer = take(("ours", "two_processes"), ("channels", "two_processes"))
        yield compare(
            "rabbitmq",
            "two processes, channels_rabbitmq",
            ours["rate"],
            peer["rate"],
            "/s",
            at_least=4,
        )
        ours, plain = take(("ours", "lone"), ("plain", "lone"))
        yield compare(
            "rabbitmq", "lone send, p50, aio-pika", ours["p50"], plain["p50"], "us", at_most=1.3
        )
        together, single, plain = take(
            ("ours", "joins_at_once"), ("ours", "joins_in_turn"), ("plain", "joins_in_turn")
        )
        for name, other, limit in (
            ("aio-pika in turn", plain, 0.45),
            ("ours in turn", single, None),  # the server's work is the same
        ):
            yield compare(
                "rabbitmq",
                f"10,000 joins at once, {name}",
                together["seconds"],
                other["seconds"],
                "s",
                at_most=limit,
            )


@contextmanager
def rabbitmq_server() -> Generator[int, None, None]:
    """A node of our own for the time of the ``with``; yields its port."""
    binary = SCRIPT if os.access(SCRIPT, os.X_OK) else shutil.which("rabbitmq-server")
    names = shutil.which("epmd")
    if binary is None or names is None:
        raise RuntimeError("rabbitmq-server is not on PATH; run: make setup")
    with tempfile.TemporaryDirectory() as folder:
        ports = [free_port() for _ in range(3)]
        Path(folder, "rabbitmq.conf").write_text("disk_free_limit.absolute = 1MB\n")
        Path(folder, "plugins").write_text("[].\n")
        settings = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "ERL_EPMD_PORT": str(ports[2]),
            "RABBITMQ_NODENAME": f"bench{ports[0]}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(ports[0]),
            "RABBITMQ_DIST_PORT": str(ports[1]),
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        }
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        daemon = subprocess.Popen([names, "-port", str(ports[2])], **quiet)
        node = subprocess.Popen([binary], env=settings, start_new_session=True, **quiet)
        try:
            deadline = time.monotonic() + 60
            while not is_open(ports[0]):
                if time.monotonic() > deadline or node.poll() is not None:
                    raise RuntimeError("rabbitmq-server did not start")
                time.sleep(0.05)
            yield ports[0]
        finally:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait()
            daemon.kill()
            daemon.wait()


def free_port() -> int:
    """Return a port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
