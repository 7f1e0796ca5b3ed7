"""The NATS layer against nats-py itself, and against peers on NATS and on Redis.

One private nats-server on loopback, uvloop, messages of 100 bytes; CPU is that of the measured
Python process.

- one group: 64 concurrent senders to one group; nats-py publishes 64 messages and flushes.
- lone: from one send to its arrival in the same process, median.
- groups: 10,000 joined one after another, each confirmed by the server; memory for each.
- durable: the first case to a group with a history, against nats-py's acknowledged publishes to
  a JetStream stream, 64 at a time, and what a message costs more than one that is not kept.
- replay: 10,000 kept messages in pages of 200, against nats-py's pull consumer.
- any broker: against the best of the peers, each on a broker of its own; one of them,
  channels-nats, on this one. "Arrivals" are 64 concurrent senders to one group with one member in
  that process, until all have arrived; "two processes" are 100 members in one process with the
  sender in another, as redis_layers measures it. "One group" is the first without the member,
  which compares promises as well: when ours returns, the server has the message, and when
  channels-nats' returns, a buffer of the process has it (the time of its last flush counts). So
  that one has no target.
"""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from statistics import median

from benchmarks.processes import OURS, in_turns, install, is_open
from benchmarks.redis_layers import WANTED, redis_server
from benchmarks.table import Row, compare
from benchmarks.table import measure as text

MORE = {
    "fast-channels-redis": ("fast-channels[redis]==1.1.0", "hiredis"),
    "channels-nats": ("channels-nats>=0.6.1,<1",),
    "broadcaster": ("broadcaster[redis]>=0.3.1,<0.4", "redis<5.3"),  # it hears nothing with newer
}


def rows() -> Iterator[Row]:
    """Yield a row for each comparison."""
    with nats_server() as port:

        def take(case: str) -> list[dict[str, list[float]]]:
            return in_turns(
                *((OURS, "nats_worker", "uvloop", side, case, port) for side in ("ours", "plain"))
            )

        ours, plain = take("flood")
        yield compare("nats", "one group, nats-py", ours["rate"], plain["rate"], "/s", at_least=0.4)
        cpu = median(ours["cpu"])
        yield Row("nats", "one group, CPU", text(cpu, "us"), "-", cpu, " us", at_most=10)
        ours, plain = take("lone")
        yield compare(
            "nats", "lone send, p50, nats-py", ours["p50"], plain["p50"], "us", at_most=1.3
        )
        ours, plain = take("groups")
        yield compare("nats", "joins, nats-py", ours["rate"], plain["rate"], "/s", at_least=1)
        mine, theirs = median(ours["kib"]), median(plain["kib"])
        units = text(mine, "KiB"), text(theirs, "KiB")
        yield Row("nats", "memory of a group", *units, mine, " KiB", at_most=1.5)
        yield from durable(port, cpu)
        yield from any_broker(port)


def durable(port: int, cpu: float) -> Iterator[Row]:
    """Yield the rows of groups with a history; ``cpu`` is what a message to another group costs."""
    for case, label in (("flood", "durable group"), ("replay", "replay")):
        ours, plain = in_turns(
            *(
                (OURS, "nats_worker", "uvloop", side, case, port)
                for side in ("durable", "jetstream")
            )
        )
        yield compare("nats", f"{label}, nats-py", ours["rate"], plain["rate"], "/s", at_least=1)
        yield compare("nats", f"{label}, nats-py, CPU", ours["cpu"], plain["cpu"], "us")
        if case == "flood":
            kept = median(ours["cpu"])
            units = text(kept, "us"), text(cpu, "us")
            yield Row("nats", "durable group, another, CPU", *units, kept / cpu)


def any_broker(port: int) -> Iterator[Row]:
    """Yield the rows against the best of all peers; ours first, as in every round."""
    pythons = {name: install(name, *wanted) for name, wanted in (WANTED | MORE).items()}
    peers = {
        "channels": "channels-redis",
        "channels_core": "channels-redis",
        "litestar": "litestar",
        "fast_channels": "fast-channels-redis",
        "broadcaster": "broadcaster",
        "channels_nats": "channels-nats",
    }
    with redis_server() as redis:
        at = {"channels_nats": port}
        sides = [("nats", OURS, port)]
        sides += ((peer, pythons[env], at.get(peer, redis)) for peer, env in peers.items())
        for case, least in (("arrivals", 1.0), ("two_processes", 1.2), ("one_group", None)):
            ours, *others = in_turns(
                *((python, "redis_worker", "uvloop", side, case, at) for side, python, at in sides)
            )
            found = dict(zip(peers, others, strict=True))
            best = max(found, key=lambda name: median(found[name]["rate"]))
            for name, peer in found.items():
                label = f"{case.replace('_', ' ')}, {name}{' (best peer)' if name == best else ''}"
                yield compare("nats", label, ours["rate"], peer["rate"], "/s", at_least=least)
                yield compare("nats", f"{label}, CPU", ours["cpu"], peer["cpu"], "us")


@contextmanager
def nats_server() -> Generator[int, None, None]:
    """A server of our own for the time of the ``with``; yields its port."""
    binary = shutil.which("nats-server")
    if binary is None:
        raise RuntimeError("nats-server is not on PATH; run: make setup")
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        probe.close()
        command = [binary, "-a", "127.0.0.1", "-p", str(port), "-l", f"{folder}/log", "-js"]
        command += ["-sd", folder]
        process = subprocess.Popen(command)
        try:
            deadline = time.monotonic() + 10
            while not is_open(port):
                if time.monotonic() > deadline:
                    raise RuntimeError("nats-server did not start")
                time.sleep(0.02)
            yield port
        finally:
            process.kill()
            process.wait()
