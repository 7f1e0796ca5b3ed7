"""The table of docs/servers.md says what test_servers.py holds the servers to."""

import re
import tomllib
from pathlib import Path

import pytest

from .servers import SERVERS

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_place():
    """Nothing runs here."""


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def table():
    """Return the page's table: by row, by column."""
    page = (ROOT / "docs" / "servers.md").read_text(encoding="utf-8")
    [head, _, *rows] = [cells(line) for line in page.splitlines() if line.startswith("|")]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def at_stop(server):
    if server.stop_code is None:
        return "is not called"
    return str(server.stop_code) + ("" if server.stop_tells else ", or is not called")


SAYS = {
    "headers of `accept(headers=...)`": lambda s: "sent" if s.accept_headers else "left out",
    "empty frames": lambda s: "sent" if s.empty_frames else "left out",
    "reason of `close(code, reason)`": lambda s: "sent" if s.reason else "left out",
    "`disconnect(code)` after the client's close": lambda s: (
        f"always {s.client_code}" if s.client_code else "the client's code"
    ),
    "`deny(401, body)`": lambda s: "401 and body" if s.denial else "403",
    "`connect()` raised": lambda s: str(s.failed),
    "`send()` waits for a slow client": lambda s: "yes" if s.waits else "no",
    "a client's message of 4 MB": lambda s: "ends the socket" if s.largest else "taken",
    "runs the lifespan": lambda s: "yes" if s.lifespan else "no",
    "told to stop, the client sees": lambda s: (
        "no closing frame" if s.stop == 1006 else str(s.stop)
    ),
    "told to stop, `disconnect(code)` gets": at_stop,
}


@pytest.mark.parametrize("name", SERVERS)
def test_the_page_says_of_each_server_what_the_tests_hold_it_to(name):
    written = {row: columns[name.partition(",")[0]] for row, columns in table().items()}
    del written["tested release"]
    assert written == {row: says(SERVERS[name]) for row, says in SAYS.items()}


def test_the_page_names_the_releases_that_the_tests_ask_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    floors = dict(
        re.match(r"([a-z]+)(?:\[\w+\])?>=([\d.]+)", requirement).groups()
        for requirement in project["dependency-groups"]["dev"]
        if isinstance(requirement, str)  # and no group that is included
        and re.match(r"(uvicorn|hypercorn|daphne|granian)(\[|>)", requirement)
    )
    assert table()["tested release"] == floors
