"""``fast-channels layers``: what is installed, what is wrong with it, what could be installed."""

import json
from pathlib import Path

import pytest

from fast_channels import __version__
from fast_channels.layers.discovery import EXTRAS
from fast_channels_tools.layers import installable

from .commands import run
from .strangers import install


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with layers of strangers, some of which cannot be used."""
    folder = tmp_path_factory.mktemp("site")
    install(folder, "fc_good", {"plain": "Plain", "good": "Plain"}, version="2.3")
    install(folder, "fc_whole", {"whole": "Whole"})
    install(folder, "fc_picky", {"picky": "broken"})
    install(folder, "fc_broken", {"broken": "Layer"}, module="import a_driver_that_is_not_there")
    install(folder, "fc_one", {"twin": "Plain"})
    install(folder, "fc_two", {"twin": "Plain"})
    return folder


@pytest.fixture(scope="module")
def listing(site: Path) -> str:
    """What the command prints there."""
    done = run("layers", site=site)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_installed_layers_are_listed_with_distribution_version_and_powers(listing: str) -> None:
    lines = [" ".join(line.split()) for line in listing.splitlines()]
    assert f"memory fast-channels {__version__} groups, presence, queues, history" in lines
    good = lines.index("good fc_good 2.3 groups, presence")
    assert lines[good + 1] == "plain"
    assert "whole fc_whole 1.0 not known" in lines
    assert "picky fc_picky 1.0 not known" in lines


def test_a_layer_that_cannot_be_used_is_listed_with_the_reason(listing: str) -> None:
    out = listing
    assert "layer 'broken' (fc_broken 1.0) is installed but could not be imported: " in out
    assert "No module named 'a_driver_that_is_not_there'" in out
    assert "layer 'twin' is claimed by fc_one 1.0 and fc_two 1.0; uninstall all but one" in out


def test_programs_get_the_same_as_json(site: Path) -> None:
    done = run("layers", "--json", site=site)
    found = json.loads(done.stdout)
    by_name = {name: layer for layer in found["installed"] for name in layer["names"]}
    assert by_name["plain"] == {
        "names": ["good", "plain"],
        "distribution": "fc_good",
        "version": "2.3",
        "powers": ["groups", "presence"],
        "problem": None,
    }
    assert by_name["broken"]["powers"] is None
    assert "could not be imported" in by_name["broken"]["problem"]


def test_what_is_not_installed_is_listed_with_the_command_that_installs_it() -> None:
    missing = {each.command: each.names for each in installable(["memory", "valkey", "nats"])}
    assert not any("redis" in command or "nats" in command for command in missing)
    assert missing["pip install 'fast-channels[postgres]'"] == ["postgres", "postgresql"]
    assert {name for each in installable([]) for name in each.names} == EXTRAS.keys()
