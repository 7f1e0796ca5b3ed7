"""Servers in processes of their own, which tests kill and start again."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest
from tests.ports import Port


class KillableProcess:
    """A program in Python that serves, and says where; started again, it is on the same port."""

    def __init__(self, folder: Path | None = None, **environ: str) -> None:
        self.folder = folder
        self.environ = environ
        self._port = Port()
        self.port = self._port.number
        self.was_down = False
        self.process: subprocess.Popen[str] | None = None

    @property
    def command(self) -> str:
        """What Python runs."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    def start(self) -> Self:
        """The server listens."""
        self.process = subprocess.Popen(
            [sys.executable, *self.command.split()],
            cwd=self.folder,
            env={**os.environ, "PORT": f"{self.port}", **self.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        log = ""
        for line in self.process.stdout:
            log += line
            if f" on {self.url[:-1]}" in line:
                return self
        pytest.fail(f"the server has not started: {log}")

    def kill(self) -> str:
        """The process is gone, without a word to anyone; what else it has logged."""
        if self.process is None:
            return ""
        self.was_down = True
        self.process.kill()
        log, _ = self.process.communicate(timeout=10)
        self.process = None
        return log


class KillableServer(KillableProcess):
    """An application on uvicorn."""

    def __init__(self, application: str, folder: Path, **environ: str) -> None:
        super().__init__(folder, **environ)
        self.application = application

    @property
    def command(self) -> str:
        return f"-m uvicorn --no-access-log --port {self.port} {self.application}"
