"""Runs ``fast-channels`` as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path


def run(
    *arguments: str, site: Path | None = None, **environ: str
) -> "subprocess.CompletedProcess[str]":
    """Return how the command ended; distributions in ``site`` are installed for it."""
    path = {} if site is None else {"PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "fast_channels_tools", *arguments],
        env={**os.environ, "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1", **path, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
