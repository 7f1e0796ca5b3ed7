"""Plugins: found, told, and never able to harm the layer."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fast_channels import plugins
from fast_channels.plugins import hookimpl

from .backends import Make
from .distributions import install

PRINTING = """
from fast_channels.plugins import hookimpl

class Printing:
    @hookimpl
    def layer_opened(self, layer, node):
        print("opened", layer, len(node))

    @hookimpl
    def layer_closing(self, layer):
        print("closing", layer)
"""
PROGRAM = """
import asyncio, logging, sys
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s", level=logging.INFO)
logging.getLogger("asyncio").setLevel(logging.ERROR)  # it tells of slow turns, on a busy machine
from fast_channels import register_channel_layer

async def main():
    layer = register_channel_layer("default", "memory://")
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "x"})
    print("received", await layer.receive(channel))
    await layer.close()

asyncio.run(main())
"""


def run(folder: Path, **environ: str) -> str:
    """Return what a fresh process, with the folder on its path, prints."""
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": path, **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_an_installed_plugin_is_told(tmp_path: Path) -> None:
    install(tmp_path, "fc-print", plugins={"print": "fc_print:Printing"}, module=PRINTING)
    assert run(tmp_path).splitlines() == [
        "opened <InMemoryChannelLayer memory://> 16",
        "received {'type': 'x'}",
        "closing <InMemoryChannelLayer memory://>",
    ]


def test_plugins_can_be_disabled(tmp_path: Path) -> None:
    install(tmp_path, "fc-print", plugins={"print": "fc_print:Printing"}, module=PRINTING)
    disabled = run(tmp_path, FAST_CHANNELS_DISABLE_PLUGINS="1")
    assert disabled == "received {'type': 'x'}\n"
    for value in ("", "0"):
        assert "opened" in run(tmp_path, FAST_CHANNELS_DISABLE_PLUGINS=value)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("Plugin = 5; raise ZeroDivisionError", "ZeroDivisionError"),
        ("class Plugin:\n    def __init__(self): raise KeyError('gone')", "KeyError: 'gone'"),
        (
            "from fast_channels.plugins import hookimpl\nclass Plugin:\n    @hookimpl\n"
            "    def layer_opend(self): ...",
            "unknown hook 'layer_opend' in plugin",
        ),
        (
            "from fast_channels.plugins import hookimpl\nclass Plugin:\n    @hookimpl\n"
            "    def layer_opened(self, colour): ...",
            "Argument(s) {'colour'} are declared in the hookimpl but can not be found",
        ),
    ],
    ids=["import", "body", "constructor", "unknown hook", "unknown argument"],
)
def test_a_broken_plugin_is_named_in_the_log_and_the_others_are_told(
    tmp_path: Path, module: str, reason: str
) -> None:
    install(tmp_path, "fc-bad", version="0.7", plugins={"bad": "fc_bad:Plugin"}, module=module)
    install(tmp_path, "fc-print", plugins={"print": "fc_print:Printing"}, module=PRINTING)
    output = run(tmp_path)
    assert "ERROR plugin 'bad' (fc-bad 0.7) could not be loaded; going on without it" in output
    assert reason in output
    assert "opened <InMemoryChannelLayer memory://> 16" in output
    assert "received {'type': 'x'}" in output


def test_a_plugin_that_raises_is_named_in_the_log_and_the_others_are_told(tmp_path: Path) -> None:
    raising = (
        "from fast_channels.plugins import hookimpl\n"
        "@hookimpl\ndef layer_opened(node): raise ZeroDivisionError('broken plugin')"
    )
    install(tmp_path, "fc-bad", plugins={"bad": "fc_bad"}, module=raising)
    for name in ("fc-aaa", "fc-zzz"):
        module = name.replace("-", "_")
        install(tmp_path, name, plugins={name: f"{module}:Printing"}, module=PRINTING)
    output = run(tmp_path)
    assert "ERROR plugin 'bad' failed at layer_opened" in output
    assert "ZeroDivisionError: broken plugin" in output
    assert output.count("opened <InMemoryChannelLayer memory://> 16") == 2
    assert "received {'type': 'x'}" in output


class Noting:
    """Notes the life of layers."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @hookimpl
    def layer_opened(self, layer: Any, node: str) -> None:
        self.told.append(f"opened {layer} {len(node)}")

    @hookimpl
    def layer_closing(self, node: str) -> None:
        self.told.append("closing")


@pytest.fixture
def noting() -> Iterator[Noting]:
    made = Noting()
    plugins.register(made, "noting")
    yield made
    if plugins.manager().is_registered(made):
        plugins.unregister(made)


async def test_an_object_can_be_registered_and_unregistered(make: Make, noting: Noting) -> None:
    layer = make()
    await layer.open()
    await layer.close()
    assert noting.told == [f"opened {layer} 16", "closing"]
    plugins.unregister(noting)
    await layer.open()
    await layer.close()
    assert len(noting.told) == 2


async def test_no_plugin_is_called_for_a_message(make: Make, noting: Noting) -> None:
    layer = make()
    channel = await layer.new_channel()
    told = len(noting.told)
    for _ in range(10):
        await layer.send(channel, {"type": "x"})
        await layer.receive(channel)
    assert len(noting.told) == told


async def test_a_plugin_that_ends_the_process_is_not_held_back(make: Make) -> None:
    class Ending:
        @hookimpl
        def layer_closing(self) -> None:
            raise SystemExit(3)

    ending = Ending()
    layer = make()
    await layer.open()
    plugins.register(ending)
    try:
        with pytest.raises(SystemExit):
            await layer.close()
    finally:
        plugins.unregister(ending)


def test_there_is_no_other_name_to_import_by_accident() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'hookspec'"):
        _ = plugins.hookspec


@pytest.mark.parametrize("hook", ["layer_opened", "consumer_failed"])
def test_every_hook_is_documented(hook: str) -> None:
    assert getattr(plugins.Hooks, hook).__doc__


def test_a_misspelt_hook_is_refused_and_the_plugin_is_told_of_nothing() -> None:
    class Misspelt:
        @plugins.hookimpl
        def layer_open(self, layer: Any) -> None: ...

    plugin = Misspelt()
    with pytest.raises(ValueError, match=r"implements layer_open, and no hook.*layer_opened"):
        plugins.register(plugin)
    assert not plugins.manager().is_registered(plugin)
