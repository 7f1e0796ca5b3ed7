"""A process that measures, as the run sees it: what it says, within a time, and its end."""

import os
import select
import subprocess
import time
from collections.abc import Generator
from typing import IO


def lines(stream: IO[str], until: float) -> Generator[str | None, None, None]:
    """Yield lines as they come, and None when the time is over."""
    descriptor = stream.fileno()
    text = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            yield None
            return
        data = os.read(descriptor, 1 << 16)
        if not data:
            return
        text += data
        *whole, text = text.split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")


def end(process: "subprocess.Popen[str]", patience: float) -> None:
    """The process and what it started are gone; for so many seconds it may end by itself."""
    assert process.stdin is not None
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass
    process.wait()
    try:
        process.stdin.close()
    except BrokenPipeError:
        pass
    if process.stdout is not None:
        process.stdout.close()
