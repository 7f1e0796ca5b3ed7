"""Aliases of layers: what may be registered, and what an error says about the rest."""

from collections.abc import Iterator
from typing import Any

import pytest

from fast_channels import get_channel_layer, register_channel_layer
from fast_channels.exceptions import InvalidChannelLayerError, LayerNotFound, MessageTooLarge
from fast_channels.layers import (
    ChannelLayer,
    ChannelLayerRegistry,
    InMemoryChannelLayer,
    channel_layers,
    has_layers,
    unregister_channel_layer,
)

from .backends import Layer
from .waiting import read_to_fence


@pytest.fixture
def registry() -> ChannelLayerRegistry:
    return ChannelLayerRegistry()


@pytest.fixture
def clean() -> Iterator[None]:
    """The process's registry is empty before and after."""
    assert not has_layers()
    yield
    channel_layers.clear()


@pytest.mark.parametrize(
    "source",
    [
        "memory",
        "memory://",
        "memory://name",
        "MEMORY://name",
        {"backend": "memory"},
        {"BACKEND": "memory://name", "CONFIG": {}},
        {"BACKEND": "fast_channels.layers.InMemoryChannelLayer", "TEST_CONFIG": {"capacity": 1}},
        InMemoryChannelLayer(),
        Layer(),
    ],
    ids=str,
)
def test_a_name_a_url_a_dict_and_a_layer_can_be_registered(
    registry: ChannelLayerRegistry, source: Any
) -> None:
    layer = registry.register("default", source)
    assert isinstance(layer, ChannelLayer)
    assert registry.get("default") is registry.require("default") is registry["default"] is layer
    assert "default" in registry
    assert len(registry) == 1


@pytest.mark.parametrize(
    "source",
    [
        "memory",
        "memory://",
        {"backend": "memory", "capacity": 7},
        {"BACKEND": "memory", "CONFIG": {"capacity": 3}},
        {"BACKEND": "fast_channels.layers.InMemoryChannelLayer"},
    ],
    ids=str,
)
def test_settings_are_options_of_the_layer(registry: ChannelLayerRegistry, source: Any) -> None:
    layer: Any = registry.register("default", source, capacity=5, expiry=3.0)
    assert (layer.capacity, layer.expiry) == (5, 3.0)


def test_a_dict_may_hold_the_settings(registry: ChannelLayerRegistry) -> None:
    for config in (
        {"backend": "memory", "capacity": 7},
        {"BACKEND": "memory", "CONFIG": {"capacity": 7}},
    ):
        layer: Any = registry.register("default", config)
        assert layer.capacity == 7


async def test_memory_layers_of_one_url_speak_to_each_other(registry: ChannelLayerRegistry) -> None:
    first: Any = registry.register("a", "memory://shared")
    others: list[Any] = [
        registry.register("b", "memory://shared"),
        registry.register("c", "memory://other"),
        registry.register("d", "memory"),
        registry.register("e", InMemoryChannelLayer()),
    ]
    channels = [await layer.new_channel() for layer in others]
    for layer, channel in zip(others, channels, strict=True):
        await layer.group_add("group", channel)
    await first.group_send("group", {"type": "x"})
    await others[0].receive(channels[0])
    got = [await read_to_fence(each, name) for each, name in zip(others, channels, strict=True)]
    assert got == [[], [], [], []]
    for layer in (first, *others):
        await layer.close()


async def test_the_memory_layer_refuses_what_a_broker_could_not_carry(
    registry: ChannelLayerRegistry,
) -> None:
    layer = registry.register("default", "memory", max_message_size=100)
    with pytest.raises(TypeError, match=r"message\['by'\] is a object, which cannot be sent"):
        await layer.group_send("group", {"type": "x", "by": object()})
    with pytest.raises(MessageTooLarge):
        await layer.send("queue", {"type": "x", "data": b"x" * 100})


def test_an_alias_registered_again_names_the_new_layer(registry: ChannelLayerRegistry) -> None:
    registry.register("default", "memory")
    layer = registry.register("default", "memory")
    assert registry.get("default") is layer
    assert registry.list_aliases() == ["default"]


def test_aliases_are_listed_in_the_order_of_their_registration(
    registry: ChannelLayerRegistry,
) -> None:
    for alias in ("b", "a", "c"):
        registry.register(alias, "memory")
    registry.unregister("a")
    registry.unregister("unknown")
    assert registry.list_aliases() == ["b", "c"]
    registry.clear()
    assert registry.list_aliases() == []


def test_an_unknown_alias_is_none_to_get_and_an_error_to_require(
    registry: ChannelLayerRegistry,
) -> None:
    assert registry.get("default") is None
    with pytest.raises(LayerNotFound) as caught:
        registry.require("default")
    assert str(caught.value) == (
        "no channel layer is registered as 'default'; registered: none "
        "(register one with register_channel_layer('default', 'memory://'))"
    )


def test_a_misspelt_alias_comes_with_a_suggestion(registry: ChannelLayerRegistry) -> None:
    registry.register("default", "memory")
    registry.register("chat", "memory")
    with pytest.raises(LookupError) as caught:
        registry["defalt"]
    assert str(caught.value) == (
        "no channel layer is registered as 'defalt'; registered: 'default', 'chat'; "
        "did you mean 'default'? (register one with register_channel_layer('defalt', 'memory://'))"
    )


def test_the_functions_work_on_the_registry_of_the_process(clean: None) -> None:
    assert get_channel_layer() is None
    layer = register_channel_layer("default", "memory", capacity=5)
    assert get_channel_layer() is get_channel_layer("default") is layer
    assert has_layers()
    unregister_channel_layer("default")
    assert get_channel_layer() is None


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("localhost:6379", "'localhost:6379'"),
        ("redis:6379", "'redis:6379'"),
        ("user:secret@localhost", "'***@localhost'"),
        ("redis:/localhost", "'redis:/localhost'"),
        ("/var/run/redis", "'/var/run/redis'"),
        ("two words", "'two words'"),
        ("", "''"),
        ("://host", "'://host'"),
        ("://user:secret@host/0", "'***@host/0'"),
    ],
)
def test_a_url_without_a_scheme_is_refused_without_showing_its_password(
    registry: ChannelLayerRegistry, source: str, shown: str
) -> None:
    with pytest.raises(InvalidChannelLayerError) as caught:
        registry.register("default", source)
    assert str(caught.value) == (
        f"{shown} is neither the name of a layer nor a URL with a scheme; write for example "
        "'memory://' or 'redis://localhost:6379/0'"
    )


@pytest.mark.parametrize("url", ["memory://a/b", "memory://a?capacity=5", "memory:///"])
def test_a_memory_url_with_more_than_a_name_is_refused(
    registry: ChannelLayerRegistry, url: str
) -> None:
    with pytest.raises(ValueError, match="the memory layer's URL is memory:// or memory://name"):
        registry.register("default", url)


def test_an_unknown_setting_is_an_error_that_lists_the_known_ones(
    registry: ChannelLayerRegistry,
) -> None:
    for source in ("memory", "memory://", {"backend": "memory"}):
        with pytest.raises(
            TypeError, match="unknown layer option 'capacitee'; the options are: pr"
        ):
            registry.register("default", source, capacitee=5)
    assert "default" not in registry


def test_settings_for_a_layer_that_is_made_already_are_refused(
    registry: ChannelLayerRegistry,
) -> None:
    with pytest.raises(TypeError, match=r"settings \['capacity'\] were given for a layer that is"):
        registry.register("default", InMemoryChannelLayer(), capacity=5)


@pytest.mark.parametrize("source", [5, None, object(), InMemoryChannelLayer])
def test_what_is_no_layer_is_refused(registry: ChannelLayerRegistry, source: Any) -> None:
    with pytest.raises(
        TypeError, match="layer 'default' must be a channel layer, a name, a URL or"
    ):
        registry.register("default", source)


@pytest.mark.parametrize("alias", ["", None, 5])
def test_an_alias_must_be_a_str(registry: ChannelLayerRegistry, alias: Any) -> None:
    with pytest.raises(TypeError, match="alias must be a non-empty str, got"):
        registry.register(alias, "memory")


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({}, "a layer's settings need a 'backend' (a name, URL or dotted path), got None"),
        ({"backend": 5}, "a layer's settings need a 'backend' (a name, URL or dotted path), got 5"),
        ({"backend": "no.such.module"}, "cannot import 'no.such.module': No module named 'no'"),
        (
            {"backend": "fast_channels.layers.Nothing"},
            "cannot import 'fast_channels.layers.Nothing'",
        ),
    ],
)
def test_a_bad_dict_is_refused_with_its_reason(
    registry: ChannelLayerRegistry, config: Any, text: str
) -> None:
    with pytest.raises(InvalidChannelLayerError) as caught:
        registry.register("default", config)
    assert str(caught.value).startswith(text)
