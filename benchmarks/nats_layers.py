"""The NATS layer against nats-py itself.

One private nats-server on loopback, uvloop, messages of 100 bytes; CPU is that of the measured
Python process.

- one group: 64 concurrent senders to one group; nats-py publishes 64 messages and flushes.
- lone: from one send to its arrival in the same process, median.
- groups: 10,000 joined one after another, each confirmed by the server; memory for each.
"""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from statistics import median

from benchmarks.processes import OURS, in_turns, is_open
from benchmarks.table import Row, compare
from benchmarks.table import measure as text


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
        command = [binary, "-a", "127.0.0.1", "-p", str(port), "-l", f"{folder}/log"]
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
