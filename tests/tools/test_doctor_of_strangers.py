"""``fast-channels doctor`` of layers that others made, or that cannot be made."""

import json
import subprocess
from pathlib import Path

import pytest

from .commands import run
from .examined import SECRET, examined
from .strangers import install

pytestmark = pytest.mark.timeout(90)

LAYERS = """
import asyncio, time
from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import BaseChannelLayer
from fast_channels.layers.in_memory import MemoryBackend, MemoryBroker

BROKER = MemoryBroker()

class Backend(MemoryBackend):
    max_payload = 100_000
    async def describe(self):
        return {"server": "Odd", "version": "7", "max_payload": 50_000, "time": time.time() - 90}
    async def publish(self, publications):
        await asyncio.sleep(0.12)
        await super().publish(publications)

class Odd(BaseChannelLayer):
    def __init__(self, url=None, **options):
        super().__init__(**options)
    def create_backend(self):
        return Backend(BROKER)

class DeafBackend(MemoryBackend):
    async def subscribe(self, topics):
        pass
    async def describe(self):
        raise BackendUnavailable("asked ann:correct-horse-7 in vain")

class Deaf(Odd):
    def create_backend(self):
        return DeafBackend(BROKER)

class BareBackend(MemoryBackend):
    describe = Backend.__mro__[2].describe  # what every backend has

class Bare(Odd):
    def create_backend(self):
        return BareBackend(BROKER)

class Wrong(Odd):
    def __init__(self, url=None, **options):
        super().__init__(**options)
        self.url = url
    def create_backend(self):
        backend = MemoryBackend(BROKER)
        async def opened(inbox):
            raise RuntimeError(f"cannot work at {self.url}")
        backend.open = opened
        return backend

def broken(url=None, **options):
    raise ValueError(f"a host is not enough in {url}")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with layers of strangers."""
    folder = tmp_path_factory.mktemp("site")
    install(
        folder,
        "fc_odd",
        {"odd": "Odd", "deaf": "Deaf", "bare": "Bare", "broken": "broken", "wrong": "Wrong"},
        module=LAYERS,
    )
    install(folder, "fc_lame", {"lame": "Layer"}, module="import a_driver_that_is_not_there")
    return folder


def of_strangers(site: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    done = run("doctor", *arguments, site=site)
    assert SECRET not in done.stdout + done.stderr
    return done


def test_what_a_strangers_broker_tells_is_looked_at(site: Path) -> None:
    done = of_strangers(site, f"odd://ann:{SECRET}@host", "--json", "--timeout", "5")
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    checks = {check["name"]: check for check in report["checks"]}
    assert report["url"] == "odd://ann:***@host"
    assert (report["warn"], report["fail"]) == (3, 0)
    assert checks["server"]["found"] == "Odd 7"
    assert checks["limits"]["advice"] == "register the layer with max_payload=50000"
    assert checks["clock"]["values"]["skew"] == pytest.approx(-90, abs=5)
    assert "NTP" in checks["clock"]["advice"]
    assert "closer together" in checks["round trip"]["advice"]
    assert checks["queue"]["found"] == "this layer has no worker queues"


def test_a_layer_without_a_backend_is_examined_from_above(tmp_path: Path) -> None:
    install(tmp_path, "fc_whole", {"whole": "Whole"})
    done = of_strangers(tmp_path, "whole://host")
    assert done.returncode == 0, done.stdout
    assert "a job waited in a worker queue, and was taken from it" in done.stdout
    assert "this layer keeps no history" in done.stdout


def test_a_backend_that_tells_nothing_of_its_broker_passes(site: Path) -> None:
    done = of_strangers(site, "bare://host")
    assert done.returncode == 0, done.stdout
    assert "the backend does not tell which server this is" in done.stdout
    assert "the broker does not tell its time" in done.stdout


def test_a_broker_that_brings_nothing_back_fails(site: Path) -> None:
    done = of_strangers(site, f"deaf://ann:{SECRET}@host", "--timeout", "0.5")
    assert done.returncode == 1
    lines = {line[6:17].strip(): line for line in done.stdout.splitlines() if line[4:6] == "  "}
    for name in ("server", "group", "direct", "round trip", "health"):
        assert lines[name].startswith("fail"), done.stdout
    assert "no answer within 0.5 s" in lines["group"]
    assert lines["join"].startswith("ok")
    assert done.stdout.splitlines()[-1].endswith(" fail")


def test_what_no_layer_can_be_made_of_is_told(site: Path) -> None:
    [package] = examined("rdis://localhost").values()
    assert package["found"].startswith("no layer named 'rdis'; installed: ")
    assert package["advice"] == "did you mean 'redis'?"
    done = of_strangers(site, "lame://host")
    assert done.returncode == 1
    assert "is installed but could not be imported" in done.stdout
    assert "-> repair that package" in done.stdout
    done = of_strangers(site, f"broken://ann:{SECRET}@host")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("fast-channels: a host is not enough in broken://ann:***@host")


@pytest.mark.parametrize("line", ["send URL g {}", "tail URL g", "bench URL", "verify URL"])
def test_what_no_backend_may_raise_is_shown_with_its_traceback_and_without_the_password(
    line: str, site: Path
) -> None:
    url = f"wrong://ann:{SECRET}@host"
    words = line.replace("URL", url).replace("{}", '{"type":"x"}').split()
    done = run(*words, "--json", site=site)
    assert done.returncode == 1
    assert SECRET not in done.stdout + done.stderr
    *trace, last = done.stderr.splitlines()
    assert trace[0].startswith("Traceback")
    assert last.endswith("RuntimeError: cannot work at wrong://ann:***@host")
    assert last == f"fast-channels: {json.loads(done.stdout)['error']}"
