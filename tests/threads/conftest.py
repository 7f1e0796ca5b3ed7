"""A broker whose connections can be counted, and programs that use it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from tests.tcp_broker import TCPBroker

HERE = Path(__file__).parent
PATIENCE = 25.0


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a program that imports from this folder and the one above."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]), **more}


@pytest.fixture
def broker() -> Iterator[TCPBroker]:
    with TCPBroker() as broker:
        yield broker


class Play(Protocol):
    """Runs a scenario in a process of its own and returns what that printed.

    It has to succeed without a word on standard error, with every warning an error and Python's
    development mode on, and to leave no connection behind.
    """

    def __call__(self, scenario: str, *arguments: str, url: str = ..., dev: bool = ...) -> str: ...


@pytest.fixture
def play(broker: TCPBroker) -> Play:
    def play(scenario: str, *arguments: str, url: str = "", dev: bool = True) -> str:
        options = ["-W", "error", *(["-X", "dev"] if dev else [])]
        program = [str(HERE / "scenarios.py"), scenario, url or broker.url, *arguments]
        done = subprocess.run(
            [sys.executable, *options, *program],
            env=environment(),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        broker.wait_for(lambda: broker.connections == 0)
        return done.stdout

    return play
