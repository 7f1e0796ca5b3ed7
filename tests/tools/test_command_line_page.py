"""docs/command-line.md: what it says can be typed, and it says all that can be typed."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
from tests.redis import servers as redis
from tests.workspace.pages import ROOT, blocks_of

from fast_channels_tools.command import cli

from .commands import here, run

pytestmark = pytest.mark.timeout(90)

PAGE = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
COMMANDS: dict[str, Any] = typer.main.get_group(cli).commands  # type: ignore[assignment]  # Typer's
SECTIONS = dict(re.findall(r"^## ([a-z-]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def commands_on_the_page() -> list[str]:
    """Return the lines of its shell blocks that are to run."""
    lines: list[str] = []
    for block in blocks_of(PAGE):
        if block.language == "sh" and block.note != "serves":  # tests/examples stops those
            lines += block.code.splitlines()
    return lines


def test_every_command_has_a_section_and_a_line_in_the_table() -> None:
    assert SECTIONS.keys() == COMMANDS.keys()
    assert re.findall(r"^\| \[`([a-z-]+)`\]\(#\1\)", PAGE, re.MULTILINE) == list(SECTIONS)


def test_the_help_lists_the_commands_as_the_page_does_and_cuts_no_sentence_off() -> None:
    listed = here("--help", COLUMNS="80").stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(SECTIONS)
    assert all(line.endswith(".") and "..." not in line for line in listed)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_section_names_every_option_and_no_other(name: str) -> None:
    there = {option for each in COMMANDS[name].params for option in each.opts if "--" in option}
    common = {"--prefix", "--options", "--json"}  # told once, for all commands
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", SECTIONS[name]))
    assert there - common <= told
    assert told <= there | {"--json"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_section_and_the_help_tell_the_exit_status(name: str) -> None:
    assert "xit status" in " ".join(SECTIONS[name].split())
    done = here(name, "--help")
    assert done.returncode == 0
    assert "Exit status" in " ".join(done.stdout.split())


def test_every_command_that_ends_by_itself_takes_json() -> None:
    without = {
        name
        for name, each in COMMANDS.items()
        if not any("--json" in option.opts for option in each.params)
    }
    assert without == {"worker", "demo"}


@pytest.mark.parametrize("line", commands_on_the_page())
def test_a_command_on_the_page_runs(
    line: str,
    redis_server: redis.Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    line = line.replace("redis://localhost", redis_server.url)
    program, *words = shlex.split(line, comments=True)
    assert program == "fast-channels"
    if "tail" in words and "--count" in words:  # it waits for one that the page has sent before
        here("send", redis_server.url, "kept", '{"type": "note"}', "--keep", "9", "--ttl", "60")
    done = (run if "verify" in words else here)(*words)  # pytest is no guest of pytest
    assert done.returncode == 0, done
    if "tail" not in words:  # which tells that it listens, and may hear nothing
        assert done.stdout
        assert done.stderr == ""


def printed_on_the_page(after: str) -> list[str]:
    """Return the lines of the text that stands below the commands of a section."""
    [text] = [block.code for block in blocks_of(SECTIONS[after]) if block.language == "text"]
    return text.splitlines()


def shape(line: str) -> str:
    """Return the line without its numbers, positions and places."""
    line = re.sub(r"\b[\w.]+:\d+(?= |$)|redis://\S+", "PLACE", line)
    line = re.sub(r"\b\w{5,}\.\w+\.\w+", "POSITION", line)
    return re.sub(r"\d[\d:.,]*", "N", line)


def test_what_the_page_shows_is_what_is_printed(redis_server: redis.Server) -> None:
    url = redis_server.url
    bench = here("bench", url, "--seconds", "0.1").stdout.splitlines()
    assert [*map(shape, bench)] == [*map(shape, printed_on_the_page("bench"))]
    here("send", url, "kept", '{"type": "note"}', "--keep", "9", "--ttl", "60")
    [line] = here("tail", url, "kept", "--last", "1", "--count", "1").stdout.splitlines()
    assert [shape(line)] == [*map(shape, printed_on_the_page("tail"))]
    locked_out = here("doctor", url.replace("://", "://app:wrong@")).stdout.splitlines()
    shown = [line.partition("...")[0] for line in printed_on_the_page("doctor")]
    for line, beginning in zip(map(shape, locked_out), map(shape, shown), strict=True):
        assert line.startswith(beginning)


@pytest.mark.parametrize(
    "line",
    ["", "--only", "nosuch", "send", "send memory:// news", "tail --nope", "bench x --seconds 0"],
)
def test_a_wrong_command_line_is_one_line_that_says_whose_help_to_ask(line: str) -> None:
    done = here(*line.split(), "--json")
    asked = f"fast-channels {line.split()[0]}" if line in SECTIONS else "fast-channels"
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
    assert re.fullmatch(rf"fast-channels: .+; run: {asked}.* --help\n", done.stderr)
    assert f"fast-channels: {json.loads(done.stdout)['error']}\n" == done.stderr
    if line:
        assert here(*line.split()).stdout == ""


def test_without_a_command_people_get_the_help_and_programs_status_2() -> None:
    done = here()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == here("--help").stdout


@pytest.mark.parametrize(
    "line",
    [
        "doctor env:NOT_SET",
        "verify redis://127.0.0.1:1",
        "send redis://127.0.0.1:1 news {}",
        "tail redis://127.0.0.1:1 news",
        "bench redis://127.0.0.1:1",
        "new-layer redis",
    ],
)
def test_stdout_is_json_for_an_error_too(line: str) -> None:
    done = here(*line.split(), "--json")
    assert f"fast-channels: {json.loads(done.stdout)['error']}\n" == done.stderr
    assert done.returncode in (1, 2)
