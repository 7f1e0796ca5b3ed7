"""Layers found by the name of their entry point, and errors that say what to do."""

import sys
from pathlib import Path
from typing import Any

import pytest

from fast_channels.exceptions import InvalidChannelLayerError, LayerNotFound
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels.layers.discovery import EXTRAS, installed_layers, load_layer

from .distributions import install

MODULE = """
from fast_channels.layers import InMemoryChannelLayer

class StrangerLayer(InMemoryChannelLayer):
    def __init__(self, url=None, **options):
        super().__init__(**options)
        self.url = url

not_callable = 5

def none(url=None, **options): ...

def a_class(url=None, **options):
    return StrangerLayer
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on ``sys.path``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_layer_of_a_stranger_works_by_name_and_url_once_it_is_installed(site: Path) -> None:
    install(site, "fc-stranger", layers={"stranger": "fc_stranger:StrangerLayer"}, module=MODULE)
    assert "stranger" in installed_layers()
    registry = ChannelLayerRegistry()
    by_name: Any = registry.register("name", "stranger", capacity=5)
    by_url: Any = registry.register("url", "stranger://host:1234/path", capacity=6)
    assert (by_name.url, by_name.capacity) == (None, 5)
    assert (by_url.url, by_url.capacity) == ("stranger://host:1234/path", 6)


def test_the_memory_layer_is_installed_like_any_other() -> None:
    assert "memory" in installed_layers()
    assert isinstance(load_layer("memory")(), InMemoryChannelLayer)


def test_only_the_layer_asked_for_is_imported(site: Path) -> None:
    install(
        site, "fc-bomb", layers={"bomb": "fc_bomb:Layer"}, module="raise SystemExit('imported')"
    )
    assert "bomb" in installed_layers()
    assert load_layer("memory")


def test_two_distributions_that_claim_one_name_are_an_error_that_names_both(site: Path) -> None:
    install(site, "fc-one", version="1.2", layers={"twin": "fc_one:StrangerLayer"}, module=MODULE)
    install(site, "fc-two", version="3.4", layers={"twin": "fc_two:StrangerLayer"}, module=MODULE)
    with pytest.raises(InvalidChannelLayerError) as caught:
        load_layer("twin")
    assert str(caught.value) == (
        "layer 'twin' is claimed by fc-one 1.2 and fc-two 3.4; uninstall all but one of them"
    )


def test_the_same_distribution_seen_twice_is_no_conflict(
    site: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path_factory.mktemp("second")
    monkeypatch.syspath_prepend(str(second))
    for folder in (site, second):
        install(folder, "fc-one", layers={"twin": "fc_one:StrangerLayer"}, module=MODULE)
    assert load_layer("twin")


def test_a_layer_that_cannot_be_imported_is_named_with_its_version_and_reason(site: Path) -> None:
    install(site, "fc-torn", layers={"torn": "fc_torn:Layer"}, module="import no_such_driver")
    with pytest.raises(InvalidChannelLayerError) as caught:
        load_layer("torn")
    assert str(caught.value) == (
        "layer 'torn' (fc-torn 1.0) is installed but could not be imported: "
        "ModuleNotFoundError: No module named 'no_such_driver'"
    )
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_an_entry_point_that_names_nothing_is_an_error(site: Path) -> None:
    install(site, "fc-void", layers={"void": "fc_void:Missing"})
    with pytest.raises(
        InvalidChannelLayerError, match=r"layer 'void' \(fc-void 1.0\) is installed"
    ):
        load_layer("void")


def test_an_entry_point_that_is_not_callable_is_an_error(site: Path) -> None:
    install(site, "fc-value", layers={"value": "fc_value:not_callable"}, module=MODULE)
    with pytest.raises(InvalidChannelLayerError) as caught:
        load_layer("value")
    assert str(caught.value) == (
        "layer 'value' (fc-value 1.0) is no callable but 5; its entry point "
        "'fc_value:not_callable' must name a callable that returns a channel layer"
    )


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("redis", "redis"),
        ("nats", "nats"),
        ("amqps", "rabbitmq"),
        ("postgresql", "postgres"),
        ("redis+sentinel", "redis"),
    ],
)
def test_a_layer_of_ours_that_is_not_installed_comes_with_the_command(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where no distribution lies, none is installed.
    monkeypatch.setattr(sys, "path", [each for each in sys.path if "site-packages" not in each])
    assert name not in installed_layers()
    for source in (name, f"{name}://host"):
        with pytest.raises(LayerNotFound) as caught:
            ChannelLayerRegistry().register("default", source)
        assert str(caught.value) == (
            f"layer '{name}' is not installed; run: pip install 'fast-channels[{extra}]'"
        )


def test_every_scheme_belongs_to_an_extra_that_exists() -> None:
    assert set(EXTRAS.values()) == {"redis", "postgres", "rabbitmq", "nats"}


@pytest.mark.parametrize(
    ("name", "hint"),
    [("rdis", "redis"), ("memroy", "memory"), ("postgre", "postgres"), ("stranga", "stranger")],
)
def test_a_misspelt_name_comes_with_a_suggestion(site: Path, name: str, hint: str) -> None:
    install(site, "fc-stranger", layers={"stranger": "fc_stranger:StrangerLayer"}, module=MODULE)
    with pytest.raises(LayerNotFound) as caught:
        load_layer(name)
    known = ", ".join(installed_layers())
    assert (
        str(caught.value) == f"no layer named '{name}'; installed: {known}; did you mean '{hint}'?"
    )


def test_a_name_like_no_other_comes_with_the_installed_ones_and_the_custom() -> None:
    with pytest.raises(LayerNotFound) as caught:
        load_layer("xyzzy")
    assert (
        str(caught.value) == f"no layer named 'xyzzy'; installed: {', '.join(installed_layers())}; "
        "install its package, by convention fast-channels-xyzzy"
    )


@pytest.mark.parametrize(
    ("factory", "returned"), [("none", "None"), ("a_class", "<class 'fc_odd.StrangerLayer'>")]
)
def test_a_factory_that_returns_no_layer_is_named_with_what_it_returned(
    site: Path, factory: str, returned: str
) -> None:
    install(site, "fc-odd", version="2.1", layers={"odd": f"fc_odd:{factory}"}, module=MODULE)
    with pytest.raises(InvalidChannelLayerError) as caught:
        ChannelLayerRegistry().register("default", "odd://host")
    assert str(caught.value) == (
        f"layer 'odd' (fc-odd 2.1) returned {returned}, which is no channel layer; "
        "its entry point must name a callable that returns one"
    )
    sys.modules.pop("fc_odd", None)
