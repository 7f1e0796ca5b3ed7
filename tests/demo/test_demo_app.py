"""The demo as a program: how it starts, fails and stops, and what its files may contain."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import fast_channels_tools.demo

pytestmark = pytest.mark.timeout(60)

DEMO = Path(fast_channels_tools.demo.__file__).parent
COMMAND = [sys.executable, "-m", "fast_channels_tools.demo"]


def environ(**changes: str) -> dict[str, str]:
    """The environment of this process, with only the demo settings given."""
    kept = {k: v for k, v in os.environ.items() if k not in ("HOST", "PORT", "LAYER")}
    return {**kept, "PORT": "0", **changes}


def failure(status: int = 1, **changes: str) -> str:
    """Start the demo, which has to fail at once, so; return what it says."""
    done = subprocess.run(
        COMMAND, env=environ(**changes), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == status
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()


def test_the_consumer_is_under_60_lines() -> None:
    assert len((DEMO / "consumer.py").read_text().splitlines()) < 60


def test_the_page_names_no_other_host() -> None:
    files = [
        path for path in (DEMO / "static").iterdir() if path.suffix in (".html", ".css", ".js")
    ]
    assert {path.suffix for path in files} == {".html", ".css", ".js"}
    for path in files:
        text = path.read_text()
        if path.suffix == ".js":  # a line comment also begins with two slashes
            text = re.sub(r"^\s*//.*$|(?<=[;,{]) // .*$", "", text, flags=re.MULTILINE)
        assert re.findall(r".*(?:\b(?:https?|wss?|ftp):|//).*", text) == [], path.name


def test_the_page_uses_only_files_that_are_shipped() -> None:
    html = (DEMO / "static" / "index.html").read_text()
    named = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert len(named) >= 3
    for name in named:
        assert (DEMO / name).is_file(), name


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = failure(PORT=port)
    assert said == (
        f"fast-channels demo: cannot listen on 127.0.0.1, port {port}: Address already in use;"
        " choose another: PORT=8001 make demo"
    )


@pytest.mark.parametrize("port", ["http", "65536"])
def test_a_port_that_is_none_is_named(port: str) -> None:
    said = failure(status=2, PORT=port)
    assert said == f"fast-channels demo: PORT must be a number from 0 to 65535, got {port!r}"


def test_a_host_that_is_none_is_named() -> None:
    said = failure(HOST="no.such.host.invalid")
    assert said.startswith("fast-channels demo: cannot listen on no.such.host.invalid, port 0: ")


@pytest.mark.parametrize("url", ["memry://", "me mory", "://", "memory://?capacity=many"])
def test_a_bad_layer_is_named(url: str) -> None:
    assert failure(status=2, LAYER=url).startswith("fast-channels demo: cannot use LAYER: ")


def test_a_misspelt_layer_is_told_the_right_one() -> None:
    assert "did you mean 'memory'?" in failure(status=2, LAYER="memry://")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_it_stops_quietly(name: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "error", *COMMAND[1:]],
        env=environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        assert demo.stdout.readline().startswith("Chat on http://127.0.0.1:")
        demo.send_signal(getattr(signal, name))
        _, errors = demo.communicate(timeout=20)
    assert errors == ""
    assert demo.returncode == (0 if name == "SIGINT" else -signal.SIGTERM)
