"""uvicorn in a process of its own, which tests kill and start again."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest


class KillableServer:
    """An application and its server; started again, it is on the same port."""

    def __init__(self, application: str, folder: Path, **environ: str) -> None:
        self.application = application
        self.folder = folder
        self.environ = environ
        self.port = 0
        self.was_down = False
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    def start(self) -> Self:
        """The server listens."""
        command = f"-m uvicorn --no-access-log --port {self.port} {self.application}"
        self.process = subprocess.Popen(
            [sys.executable, *command.split()],
            cwd=self.folder,
            env={**os.environ, **self.environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        log = ""
        for line in self.process.stderr:
            log += line
            if address := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(address[1])
                return self
        pytest.fail(f"the server has not started: {log}")

    def kill(self) -> str:
        """The process is gone, without a word to anyone; what else it has logged."""
        if self.process is None:
            return ""
        self.was_down = True
        self.process.kill()
        _, log = self.process.communicate(timeout=10)
        self.process = None
        return log
