"""Runs ``fast-channels``, as a process of its own or, which is faster, in this one."""

import contextlib
import io
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fast_channels_tools.command import main


@dataclass
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def run(
    *arguments: str, site: Path | None = None, stdin: str = "", **environ: str
) -> "subprocess.CompletedProcess[str]":
    """Return how the command ended; distributions in ``site`` are installed for it."""
    return subprocess.run(
        command(*arguments),
        env={**os.environ, **environment(site), **environ},
        capture_output=True,
        input=stdin,
        text=True,
        timeout=60,
    )


def command(*arguments: str) -> list[str]:
    """Return what runs the command."""
    return [sys.executable, "-W", "error", "-m", "fast_channels_tools", *arguments]


def environment(site: Path | None = None) -> dict[str, str]:
    """Return the variables of its process, besides those of this one."""
    path = {} if site is None else {"PYTHONPATH": str(site)}
    return {"COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1", **path}


def on_a_terminal(*arguments: str) -> str:
    """Return all that a terminal gets of the command, which ends well."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, **environment(), "TERM": "xterm", "NO_COLOR": "1"}
    shown: list[bytes] = []
    with subprocess.Popen(
        command(*arguments), env=environ, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        with contextlib.suppress(OSError):  # its end
            while data := os.read(ours, 100_000):
                shown.append(data)
        os.close(ours)
        assert process.wait(60) == 0
    return b"".join(shown).decode()


def here(*arguments: str, stdin: str = "", **environ: str) -> Done:
    """Return how the command ended, which ran in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fast-channels", *arguments])
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        patch.setenv("COLUMNS", "200")
        for name, value in environ.items():
            patch.setenv(name, value)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code: Any = 0
            try:
                main()
            except SystemExit as ended:
                code = ended.code or 0
    return Done(int(code), out.getvalue(), err.getvalue())
