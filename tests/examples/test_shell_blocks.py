"""The shell blocks of the documentation do what their pages say.

Each line is run, or matches one of ``NOT_RUN``. The lines of the page about the command line that
end by themselves are run by ``tests/tools``.
"""

import asyncio
import re
import subprocess
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import pytest
from tests.redis.servers import Server, running
from tests.tools.strangers import install
from tests.waiting import soon
from tests.workspace.pages import OTHER_PAGES, PAGES, ROOT, blocks_of, relative

from fast_channels.layers import HistoryPolicy
from fast_channels_redis import RedisChannelLayer

from .shell import ENDS, SERVES, Line, Terminals, lines_of

pytestmark = pytest.mark.timeout(240)

NOT_RUN = {
    r"pip install ": "fetches from a package index what is not published yet; that the packages "
    "and extras exist is looked up by tests/workspace, and wheels are installed by tests/examples",
    r"docker compose ": "needs Docker and images of others; the file is held against the schema "
    "of the Compose specification by tests/examples, which also runs the container's command",
    r"make (?:setup|test)$": "installs system packages, and runs this very test; make says here "
    "what it would do",
}
"""What is not run, and why; what is known of it without."""

SENDS = {"PUBLISH": "news", "sensor.py": "readings"}
"""Lines after which a group has a message, by their second word."""

COMMAND_LINE = ROOT / "docs" / "command-line.md"


def is_run(page: Path, line: Line) -> bool:
    """Return whether the line is run here; ``AssertionError`` if nobody says what to do."""
    serves, ends = SERVES.match(line.text), ENDS.match(line.text)
    reasons = [reason for known, reason in NOT_RUN.items() if re.match(known, line.text)]
    ways = bool(serves) + bool(ends) + len(reasons)
    assert ways == 1, f"{relative(page)}:{line.number}: {line.text}: is it run, or why not?"
    if page == COMMAND_LINE:
        assert bool(serves) == line.note.startswith("serves"), line
        return bool(serves)
    return not reasons


def first_of_each(pages: dict[Path, list[Line]]) -> dict[Path, list[Line]]:
    """Return the lines that are run, without those that an earlier page or ``tests/tools`` has.

    Every step of the tutorial is served by ``test_tutorial``.
    """
    seen = {line.text for line in pages[COMMAND_LINE] if ENDS.match(line.text)}
    chosen: dict[Path, list[Line]] = {}
    for page, lines in pages.items():
        for line in lines:
            if is_run(page, line) and line.text not in seen:
                seen.add(line.text)
                chosen.setdefault(page, []).append(line)
    return chosen


ALL = {page: list(lines_of(page)) for page in [*PAGES, *OTHER_PAGES]}
RUN = first_of_each(ALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """The Redis that the pages have on this machine."""
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def terminals(server: Server, tmp_path: Path) -> Generator[Terminals]:
    """Those of a reader; ``chat.asgi`` is the module of the page about workers."""
    page = (ROOT / "docs" / "workers.md").read_text(encoding="utf-8")
    block = next(block.code for block in blocks_of(page) if "ChannelNameRouter(" in block.code)
    module = block.partition("async def main")[0].replace("memory://", server.url)
    module = module.replace('{"thumbnails": ', '{"mail": Thumbnails.as_asgi(), "thumbnails": ')
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / "asgi.py").write_text(module)
    made = Terminals(tmp_path, server.url, tmp_path / "site")
    yield made
    made.close()


@pytest.mark.parametrize("page", RUN, ids=relative)
def test_the_shell_lines_of_a_page_do_what_it_says(
    page: Path, terminals: Terminals, server: Server, tmp_path: Path
) -> None:
    for line in RUN[page]:
        if "acme://" in line.text:  # which the page has just written: here it is the memory layer
            if not (tmp_path / "site").exists():
                install(tmp_path / "site", "fast_channels_acme", {"acme": "Plain"})
            # One clause of each kind: all of them are run by tests/conformance.
            few = f"verify --only reaches_another {line.text.partition('verify ')[2]}"
            line = line._replace(text=f"fast-channels {few}")
        do = terminals.serve if SERVES.match(line.text) else terminals.run
        if group := SENDS.get(line.text.split()[1]):
            told = until_heard(
                group, line.text.split()[-1].strip("'}\""), server, partial(do, line)
            )
        else:
            told = do(line)
        if "verify" in line.text:
            assert re.search(r"^1 passed, 0 failed|\"failed\": 0", told, re.M), told


def until_heard(group: str, end: str, server: Server, do: Callable[[], str]) -> str:
    """Return what was printed, when a member of the group has got a message with that word."""

    async def main() -> str:
        history = {"readings": HistoryPolicy(keep=300, ttl=3_600)}
        layer = RedisChannelLayer([server.url], prefix="fc", history=history)
        async with layer.channel() as channel:
            await layer.group_add(group, channel.name)
            told = await asyncio.to_thread(do)
            while end not in str(await soon(channel.receive())):
                pass
        await layer.close()
        return told

    return asyncio.run(main())


@pytest.mark.parametrize("target", ["setup", "test"])
def test_make_knows_what_it_would_do_for_a_target_that_is_not_run(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "scripts/setup.py dev browser brokers" in done.stdout


def test_what_is_not_run_is_on_a_page() -> None:
    lines = [line.text for page in ALL for line in ALL[page]]
    assert [known for known in NOT_RUN if not any(re.match(known, line) for line in lines)] == []


# The reader itself.

PAGE = """\
```python
--8<-- "examples/tutorial/chat1/main.py"
```

```sh
uvicorn main:app # serve it
  # nothing
fast-channels layers \\
  --json
```
"""


def test_lines_run_where_the_file_is_that_the_page_has_shown(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    chat = ROOT / "examples" / "tutorial" / "chat1"
    assert list(lines_of(page)) == [
        Line("uvicorn main:app", 6, chat, ""),
        Line("fast-channels layers   --json", 9, chat, ""),
    ]


@pytest.mark.parametrize("text", ["apt install redis", "fast-channels wrker a:b", "make tests"])
def test_a_line_that_nobody_runs_is_found(text: str) -> None:
    with pytest.raises(AssertionError, match="or why not"):
        is_run(ROOT / "README.md", Line(text, 1, None, ""))


def test_a_line_that_fails_or_has_ended_is_found(terminals: Terminals) -> None:
    with pytest.raises(AssertionError, match="no such"):
        terminals.run(
            Line("curl http://127.0.0.1:8000/nothing || echo no such; false", 1, None, "")
        )
    with pytest.raises(AssertionError, match="has ended"):
        terminals.serve(Line("uvicorn nothing:app", 2, None, ""))
