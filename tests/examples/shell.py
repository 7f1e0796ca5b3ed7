"""Shell lines of the documentation, typed by a reader who has the brokers and ports of the tests.

A line runs in the folder of the file that its page has included last. Only places are others:
``redis://localhost`` is a server of the tests, and each port on the page is a free one. And a
server has one process where its page has four: several are what ``tests/threads`` is about.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx
from tests.ports import Port
from tests.workspace.pages import ROOT, SHELLS, blocks_of

PATIENCE = 60.0

SERVES = re.compile(
    r"(?:[A-Z]+=\S+ )*(?:uvicorn|gunicorn|make demo|python -m fast_channels_tools\.demo|"
    r"fast-channels (?:demo|worker)|python sensor\.py)(?= |$)"
)
"""What goes on until it is stopped."""

ENDS = re.compile(
    r"fast-channels (?:layers|doctor|verify|send|tail|bench|new-layer)(?= )|"
    r"fast-channels layers$|curl |redis-cli |python -c "
)
"""What ends by itself."""


class Line(NamedTuple):
    """One command line of a page."""

    text: str
    number: int
    folder: Path | None
    """Of the file that the page has included last."""
    note: str


def lines_of(page: Path) -> Iterator[Line]:
    """Yield the command lines of the page's shell blocks, in order."""
    folder = None
    for block in blocks_of(page.read_text(encoding="utf-8")):
        for path in block.snippets:
            folder = (ROOT / path).parent
        if block.language not in SHELLS:
            continue
        joined = ""
        for number, text in enumerate(block.code.splitlines(), block.line):
            joined += text
            if joined.endswith("\\"):
                joined = joined[:-1]
                continue
            if text := re.sub(r"(^|\s)#.*", "", joined).strip():
                yield Line(text, number, folder, block.note)
            joined = ""


class Terminals:
    """What a reader of one page has open; what serves ends with it, or when its port is needed."""

    def __init__(self, home: Path, redis_url: str, site: Path) -> None:
        self.redis_url = redis_url
        self._home = home
        self._ports: dict[str, Port] = {}
        self._serving: dict[str, tuple[subprocess.Popen[str], Path]] = {}
        home.joinpath(".curlrc").write_text("fail\nsilent\n")  # what is no success is an error
        self._environ = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(site),
            "CURL_HOME": str(home),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "200",
        }

    def port(self, documented: str) -> int:
        """Return ours in the place of one on the page."""
        return self._ports.setdefault(documented, Port()).number

    def run(self, line: Line) -> str:
        """Return what the line printed; it has ended, and well."""
        done = subprocess.run(**self._arguments(line), timeout=PATIENCE)
        told = f"{done.stdout}{done.stderr}"
        assert done.returncode == 0, f"{line}: {told}"
        return told

    def serve(self, line: Line) -> str:
        """The line runs; return the address at which it answers, or what it has logged."""
        [explicit] = re.findall(r"(?:--port |PORT=)(\d+)", line.text) or [""]
        http = not re.search(r"worker \w|sensor", line.text)
        place = (explicit or "8000") if http else line.text
        if place in self._serving:
            self.stop(place)
        log = self._home / f"log-{line.number}"
        with log.open("w") as file:
            arguments = self._arguments(line) | {"stdout": file, "stderr": file}
            process = subprocess.Popen(**arguments, start_new_session=True)
        self._serving[place] = process, log
        deadline = time.monotonic() + PATIENCE
        while True:
            assert process.poll() is None, f"{line}: has ended: {log.read_text()}"
            assert time.monotonic() < deadline, f"{line}: {log.read_text()}"
            if http and (answer := self._answer(self.port(place))):
                assert answer.status_code == 200, f"{line}: {answer} {log.read_text()}"
                return str(answer.url)
            if not http and ("sensor" in line.text or "serves " in log.read_text()):
                return log.read_text()
            time.sleep(0.05)  # it is a process, and tells nobody but its log

    def stop(self, place: str) -> None:
        """What serves there is told to stop, and ends without a traceback."""
        process, log = self._serving.pop(place)
        # Not SIGINT, as by Ctrl+C: where the tests run in the background, nobody hears it.
        with suppress(ProcessLookupError):  # it has ended by itself, which somebody has told
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert "Traceback" not in log.read_text(), log.read_text()

    def close(self) -> None:
        """Nothing runs any more."""
        for place in list(self._serving):
            self.stop(place)

    def _arguments(self, line: Line) -> dict[str, object]:
        """Return what starts the line."""
        text = re.sub(
            r"(--port |PORT=|127\.0\.0\.1:)(\d+)",
            lambda match: f"{match[1]}{self.port(match[2])}",
            line.text,
        )
        text = re.sub(r"redis://localhost(?::6379)?", self.redis_url, text)
        text = text.replace("redis-cli ", f"redis-cli -p {self.redis_url.rpartition(':')[2]} ")
        text = text.replace("--workers 4", "--workers 1")
        # The Python that has made .venv: with another one, make would make it anew.
        text = re.sub("^make ", f"make PYTHON={ROOT}/.venv/bin/python ", text)
        ports = {name: str(self.port("8000")) for name in ("PORT", "UVICORN_PORT")}
        if line.folder is not None and line.folder.name == "dashboard3":
            ports["LAYER"] = self.redis_url  # the page has a Redis on this machine
        return {
            "args": ["bash", "-c", text],
            "cwd": ROOT if text.startswith("make ") else line.folder or self._home,
            "env": {**self._environ, **ports},
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }

    @staticmethod
    def _answer(port: int) -> httpx.Response | None:
        """Return what the server says of itself, or its page; None: nobody listens yet."""
        try:
            socket.create_connection(("127.0.0.1", port)).close()  # a tenth of a client's cost
            answer = httpx.get(f"http://127.0.0.1:{port}/ready", timeout=PATIENCE)
            if answer.status_code == 404:
                answer = httpx.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE)
        except (OSError, httpx.TransportError):
            return None
        return answer
