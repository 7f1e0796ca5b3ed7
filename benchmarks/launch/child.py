"""A worker, as the run sees it: what it says, within a time, and its end.

A worker is a process of its own that measures (``benchmarks.workers``) and says so in lines of
JSON: rows, questions for the broker's counters, and at the end ``done`` with the figures it found.
"""

import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from typing import IO, Any, Final

from benchmarks.launch import ROOT, environment

PATIENCE: Final = 180.0
"""Seconds after which a worker of a comparison has failed."""

ENDING: Final = 3.0
"""Seconds in which a worker that is done has to end."""


class WorkerFailed(RuntimeError):
    """A worker was late, or ended before it was done; the text says which."""


def measure(python: str, program: str, *args: object) -> dict[str, Any]:
    """Run a worker and return the figures it found; raises ``WorkerFailed``."""
    *_, last = heard(python, program, *args)
    figures: dict[str, Any] = last["figures"]
    return figures


def heard(
    python: str,
    program: str,
    *args: object,
    limit: float = PATIENCE,
    counters: Callable[[], dict[str, float]] = dict,
) -> Generator[dict[str, Any], None, None]:
    """Yield what a worker says until it is done, and is gone then.

    ``program`` is a module of ``benchmarks``; ``counters`` are what it is answered when it asks.
    Raises ``WorkerFailed`` after ``limit`` seconds, and if the worker ends before it is done.
    """
    command = [python, "-W", "ignore", "-m", f"benchmarks.{program}", *map(str, args)]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        patience = 0.0
        try:
            for line in lines(process.stdout, time.monotonic() + limit):
                if line is None:
                    raise WorkerFailed(f"not measured within {limit:g} s")
                said = parsed(line)
                if "ask" in said:
                    try:
                        process.stdin.write(json.dumps(counters()) + "\n")
                        process.stdin.flush()
                    except BrokenPipeError:
                        break
                elif "done" in said:
                    patience = ENDING
                    yield said
                    return
                elif said:
                    yield said
            patience = ENDING
        finally:
            end(process, patience)
        errors.seek(0)
        told = [line for line in errors.read().splitlines() if line.strip()]
        raise WorkerFailed(f"it failed: {told[-1][:200]}" if told else "it failed without a word")


def parsed(line: str) -> dict[str, Any]:
    """Return what a worker says by the line; empty where it is a library that prints."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


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
