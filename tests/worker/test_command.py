"""The command line of ``fast-channels worker``: what is wrong is one line, and exit status 2."""

import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fast_channels import __version__
from fast_channels.layers.registry import channel_layers
from fast_channels_tools.command import main

APPLICATION = """
import os, signal
from fast_channels import AsyncConsumer, get_channel_layer, register_channel_layer
from fast_channels.routing import ChannelNameRouter, URLRouter

LAYER

class Jobs(AsyncConsumer): ...

class inner:
    application = ChannelNameRouter({"jobs": Jobs.as_asgi()})

application = inner.application
number = 7

async def ends(scope, receive, send):
    print(scope, await receive(), get_channel_layer())
    os.kill(os.getpid(), signal.SIGTERM)

async def begins(scope, receive, send):
    await get_channel_layer().send("others", {"type": "x"})
"""


@pytest.fixture(autouse=True, params=[True], ids=["in-place"])
def in_place() -> None:
    """The command line does not depend on how handlers start."""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module ``theirs`` in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.NullHandler()])
    path = tmp_path / "theirs.py"
    path.write_text(APPLICATION.replace("LAYER", 'register_channel_layer("default", "memory://")'))
    yield path
    sys.modules.pop("theirs", None)
    channel_layers.clear()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Return the exit status of ``fast-channels worker``."""
    monkeypatch.setattr(sys, "argv", ["fast-channels", "worker", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    status = caught.value.code
    assert isinstance(status, int)
    return status


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("theirs jobs", "'theirs' names no application; write module:application"),
        ("theirs: jobs", "'theirs:' names no application; write module:application"),
        ("thiers:application jobs", "there is no module 'thiers', neither installed nor in "),
        ("theirs.py:application jobs", "there is no module 'theirs.py', neither installed nor in "),
        (
            "theirs:aplication jobs",
            "module 'theirs' has no 'aplication'; did you mean 'application'?",
        ),
        ("theirs:inner.nothing jobs", "module 'theirs' has no 'inner.nothing'"),
        ("theirs:number jobs", "an ASGI application must be callable, and 7 is not"),
        (
            "theirs:Jobs jobs",
            "Jobs is a consumer class, not an application; pass Jobs.as_asgi()",
        ),
        (
            "theirs:application jobs job",
            "no route found for channel 'job'; routes tried: 'jobs'; did you mean 'jobs'?",
        ),
        ("theirs:application a!b", "channel 'a!b' is one process's mailbox and no worker queue"),
        ("theirs:ends a/b", "channel name 'a/b' has the illegal character '/' at position 1; "),
        (
            "theirs:ends jobs --layer defualt",
            "no channel layer is registered as 'defualt'; registered: 'default'; did you mean",
        ),
        ("theirs:ends jobs --layer env:NOT_SET", "the variable 'NOT_SET' is not set"),
        ("theirs:ends jobs --layer rdis://x", "no layer named 'rdis'; installed: "),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, error: str
) -> None:
    assert run(monkeypatch, *arguments.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"fast-channels: {error}")


def test_no_layer_at_all_is_told_with_what_to_write(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: Path
) -> None:
    module.write_text(APPLICATION.replace("LAYER", ""))
    assert run(monkeypatch, "theirs:ends", "jobs") == 2
    err = capsys.readouterr().err
    assert err.startswith("fast-channels: no channel layer is registered as 'default'; ")
    assert "register_channel_layer('default', 'memory://')" in err


@pytest.mark.parametrize("arguments", ["", "theirs:ends", "theirs:ends jobs --concurrency 0"])
def test_a_missing_or_impossible_argument_is_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str
) -> None:
    assert run(monkeypatch, *arguments.split()) == 2
    assert capsys.readouterr().err.endswith("; run: fast-channels worker --help\n")


def test_what_a_module_raises_is_shown_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: Path
) -> None:
    module.write_text("import nothing_of_this_name\n")
    assert run(monkeypatch, "theirs:application", "jobs") == 2
    err = capsys.readouterr().err
    assert 'theirs.py", line 1, in <module>' in err
    assert err.splitlines()[-1] == (
        "fast-channels: cannot import 'theirs': ModuleNotFoundError: "
        "No module named 'nothing_of_this_name'"
    )


def test_a_layer_without_queues_is_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: Path
) -> None:
    module.write_text(
        APPLICATION.replace(
            "LAYER",
            """
from fast_channels.layers import BaseChannelLayer
from fast_channels.layers.in_memory import MemoryBackend, MemoryBroker

class NoQueues(BaseChannelLayer):
    def create_backend(self):
        return MemoryBackend(MemoryBroker())

register_channel_layer("default", NoQueues())
""",
        )
    )
    assert run(monkeypatch, "theirs:application", "jobs") == 2
    assert "has no worker queues, and channel 'jobs' is one" in capsys.readouterr().err


def test_a_url_is_the_default_layer_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    module: Path,
) -> None:
    module.write_text(
        APPLICATION.replace(
            "LAYER",
            """
from fast_channels.layers import InMemoryChannelLayer

class Preloaded(InMemoryChannelLayer):
    async def open(self):
        await super().open()
        await self.send("jobs", {"type": "x"})

register_channel_layer("mine", Preloaded(url="memory://shared"))
""",
        )
    )
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("WHERE", "memory://shared")
    assert run(monkeypatch, "theirs:ends", "jobs", "--layer", "env:WHERE") == 0
    out = capsys.readouterr().out
    assert out == (
        "{'type': 'channel', 'channel': 'jobs'} {'type': 'x'} "
        "<InMemoryChannelLayer memory://shared>\n"
    )
    assert "nobody else can send to this worker" in caplog.text
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_command_tells_its_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fast-channels", "--version"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"fast-channels {__version__}\n"
