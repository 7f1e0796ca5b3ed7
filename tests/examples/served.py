"""Servers of the tutorial's steps: processes of their own, as a reader starts them."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

TUTORIAL = Path(__file__).parents[2] / "examples" / "tutorial"
PATIENCE = 90.0
LISTENING = re.compile(r"running on http://127\.0\.0\.1:(\d+)")


@contextmanager
def served(step: str, layer: str = "memory://") -> Generator[str]:
    """Serve a step's ``main:app`` by uvicorn; yields where, and fails if it logs a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "main:app", "--port", "0", "--no-access-log"],
        cwd=TUTORIAL / step,
        env={**os.environ, "LAYER": layer, "PYTHONDONTWRITEBYTECODE": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    told = ""
    try:
        while not (found := LISTENING.search(told)):
            line = process.stderr.readline()
            assert line, f"the server has ended: {told}"
            told += line
        yield f"127.0.0.1:{found[1]}"
    finally:
        process.send_signal(signal.SIGTERM)
        told += process.communicate(timeout=PATIENCE)[1]
    assert "Traceback" not in told, told


@contextmanager
def running(step: str, *command: str, layer: str) -> Generator[None]:
    """Run a script of a step for the time of the block."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=TUTORIAL / step,
        env={**os.environ, "LAYER": layer, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait(PATIENCE)
