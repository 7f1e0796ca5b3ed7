"""The machine of a stranger: nothing is known there but the wheels, and everything works by name.

Core, the tools and the MQTT package are installed from their wheels into an empty environment. What
is wrong with a package that somebody installs is told in one line.
"""

import importlib.util
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from tests.browsers import browser as browser  # a fixture

from .machines import EXAMPLES, Machine, Wheels, run, uv

pytestmark = pytest.mark.timeout(120)

SOON = 20_000  # milliseconds
CHAT = """
import asyncio
from fast_channels import register_channel_layer

here = register_channel_layer("default", URL)
there = register_channel_layer("other", "mqtt", url=URL)

async def main():
    async with there.channel() as channel:
        await there.group_add("news", channel.name)
        await here.group_send("news", {"type": "headline"})
        print(type(here).__module__, await channel.receive())
    await here.close()
    await there.close()

asyncio.run(main())
"""
REGISTER = "from fast_channels import register_channel_layer as r; r('default', 'mqtt://localhost')"
PROJECT = """
[project]
name = "{name}"
version = "7.1"
requires-python = ">=3.11"
[project.entry-points."fast_channels.layers"]
mqtt = "{module}:layer"
[build-system]
requires = ["uv_build>=0.9.8,<0.14"]
build-backend = "uv_build"
"""


@pytest.fixture(scope="module")
def machine(wheels: Wheels, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine with core, the tools, and the MQTT package."""
    machine = Machine(tmp_path_factory.mktemp("stranger"))
    names = ("fast-channels", "fast-channels-tools", "fast-channels-mqtt")
    machine.install(*(wheels[name] for name in names))
    return machine


@pytest.fixture(scope="module")
def mqtt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running Mosquitto."""
    path = EXAMPLES / "fast-channels-mqtt" / "tests" / "broker.py"
    spec = importlib.util.spec_from_file_location("mqtt_broker", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    broker = module.Mosquitto(tmp_path_factory.mktemp("mosquitto"))
    try:
        broker.start()
        yield broker.url
    finally:
        broker.kill()


@pytest.fixture
def foreign(machine: Machine, tmp_path: Path) -> Iterator[Any]:
    """Installs a package of somebody else, with a layer ``mqtt``; it is gone after the test."""
    installed: list[str] = []

    def install(name: str, source: str) -> None:
        module = name.replace("-", "_")
        folder = tmp_path / name
        (folder / "src" / module).mkdir(parents=True)
        (folder / "pyproject.toml").write_text(PROJECT.format(name=name, module=module))
        (folder / "src" / module / "__init__.py").write_text(source)
        run([uv(), "build", "--quiet", "--wheel", "--out-dir", tmp_path, folder])
        installed.append(name)
        machine.install(*tmp_path.glob(f"{module}-*.whl"))

    yield install
    machine.pip("uninstall", *installed)


@pytest.fixture
def without_mqtt(machine: Machine, wheels: Wheels) -> Iterator[None]:
    """The MQTT package is not installed during the test."""
    machine.pip("uninstall", "fast-channels-mqtt")
    yield
    machine.install(wheels["fast-channels-mqtt"])


def refusal(machine: Machine) -> str:
    """Return the last line of what a script says that registers an MQTT layer in vain."""
    done = machine.call("python", "-c", REGISTER)
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


def test_the_stranger_has_wheels_and_nothing_else(machine: Machine) -> None:
    where = (
        "import fast_channels, fast_channels_mqtt as m; print(fast_channels.__file__, m.__file__)"
    )
    for path in machine.call("python", "-c", where).stdout.split():
        assert Path(path).is_relative_to(machine.folder)
    assert machine.call("python", "-c", "import fast_channels_redis").returncode == 1


def test_the_package_is_listed_with_its_distribution_and_version(machine: Machine) -> None:
    done = machine.call("fast-channels", "layers")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[lines.index("mqtt fast-channels-mqtt 0.1.0 groups, presence") + 1] == "mqtts"
    found = json.loads(machine.call("fast-channels", "layers", "--json").stdout)
    commands = {each["command"] for each in found["installable"]}
    assert "pip install 'fast-channels[redis]'" in commands


def test_it_is_registered_by_its_url_and_by_its_name(machine: Machine, mqtt: str) -> None:
    done = machine.call("python", "-W", "error", "-c", CHAT.replace("URL", repr(mqtt)))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "fast_channels_mqtt.layer {'type': 'headline'}\n"


def test_the_command_verifies_it_once_the_kit_is_there(machine: Machine, mqtt: str) -> None:
    done = machine.call("fast-channels", "verify", mqtt)
    assert done.returncode == 1
    assert "the conformance kit needs pytest; run: pip install 'fast-channels[test" in done.stderr
    machine.install("pytest", "anyio")
    done = machine.call("fast-channels", "verify", mqtt, "--patience", "20", "--only", "order")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 failed, " in done.stdout.splitlines()[-1]
    assert "kit-secret" not in done.stdout


def test_a_skeleton_that_is_written_there_is_found_once_it_is_installed(machine: Machine) -> None:
    done = machine.call("fast-channels", "new-layer", "acme")
    assert (done.returncode, done.stderr) == (0, "")
    dist = machine.home / "dist"
    run(
        [
            uv(),
            "build",
            "--quiet",
            "--wheel",
            "--out-dir",
            dist,
            machine.home / "fast-channels-acme",
        ]
    )
    machine.install(*dist.glob("*.whl"))
    try:
        found = json.loads(machine.call("fast-channels", "layers", "--json").stdout)
    finally:
        machine.pip("uninstall", "fast-channels-acme")
    assert {
        "names": ["acme"],
        "distribution": "fast-channels-acme",
        "version": "0.1.0",
        "powers": ["groups", "presence"],
        "problem": None,
    } in found["installed"]


@pytest.mark.browser
def test_the_demo_chats_on_it_in_a_browser(machine: Machine, mqtt: str, browser: Browser) -> None:
    errors = machine.folder / "demo-errors"
    with errors.open("w") as stderr:
        demo = subprocess.Popen(
            [machine.python, "-m", "fast_channels_tools.demo"],
            env={**machine.environ, "LAYER": mqtt, "PORT": "0"},
            cwd=machine.home,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    pages = []
    try:
        assert demo.stdout is not None
        address = re.search(r"http://127\.0\.0\.1:\d+", demo.stdout.readline())
        assert address, errors.read_text()
        for name in ("Ann", "Bob"):
            page = browser.new_context().new_page()
            pages.append(page)
            page.goto(address[0])
            page.get_by_label("Your name", exact=True).fill(name)
            page.get_by_role("button", name="Start talking").click()
            light = page.locator("#connection")
            expect(light).to_have_attribute("data-state", "online", timeout=SOON)
        ann, bob = pages
        for speaker, listener, text in ((ann, bob, "Hello, Bob"), (bob, ann, "Hello, Ann")):
            speaker.get_by_label("Message", exact=True).fill(text)
            speaker.get_by_label("Message", exact=True).press("Enter")
            entry = listener.locator("#log").get_by_text(text, exact=True)
            expect(entry).to_have_count(1, timeout=SOON)
    finally:
        for page in pages:
            page.context.close()
        demo.kill()
        demo.wait()
        if demo.stdout is not None:
            demo.stdout.close()
    assert errors.read_text() == ""


@pytest.mark.usefixtures("without_mqtt")
def test_without_it_the_error_says_what_to_install(machine: Machine) -> None:
    assert refusal(machine) == (
        "fast_channels.exceptions.LayerNotFound: no layer named 'mqtt'; installed: memory; "
        "install its package, by convention fast-channels-mqtt"
    )
    done = machine.call("python", "-c", REGISTER.replace("mqtt:", "nats:"))
    assert done.stderr.splitlines()[-1].endswith(
        "layer 'nats' is not installed; run: pip install 'fast-channels[nats]'"
    )


@pytest.mark.usefixtures("without_mqtt")
def test_a_package_that_cannot_be_imported_is_named_with_the_reason(
    machine: Machine, foreign: Any
) -> None:
    foreign("their-mqtt", "import a_driver_of_theirs")
    assert refusal(machine) == (
        "fast_channels.exceptions.InvalidChannelLayerError: layer 'mqtt' (their-mqtt 7.1) is "
        "installed but could not be imported: ModuleNotFoundError: "
        "No module named 'a_driver_of_theirs'"
    )
    listed = machine.call("fast-channels", "layers")
    assert listed.returncode == 0
    assert "could not be imported: ModuleNotFoundError" in listed.stdout, listed.stdout


@pytest.mark.usefixtures("without_mqtt")
def test_a_package_whose_layer_is_none_is_named_with_what_it_returns(
    machine: Machine, foreign: Any
) -> None:
    foreign("their-mqtt", "def layer(url, **options):\n    return {'url': url}\n")
    assert refusal(machine) == (
        "fast_channels.exceptions.InvalidChannelLayerError: layer 'mqtt' (their-mqtt 7.1) returned "
        "{'url': 'mqtt://localhost'}, which is no channel layer; its entry point must name a "
        "callable that returns one"
    )


def test_two_packages_that_claim_one_name_are_both_named(machine: Machine, foreign: Any) -> None:
    foreign("their-mqtt", "def layer(url, **options): ...\n")
    assert refusal(machine) == (
        "fast_channels.exceptions.InvalidChannelLayerError: layer 'mqtt' is claimed by "
        "fast-channels-mqtt 0.1.0 and their-mqtt 7.1; uninstall all but one of them"
    )
