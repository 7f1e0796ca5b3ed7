"""The options of every layer: defaults, checks, patterns."""

import math
import re
from typing import Any

import pytest

from fast_channels.layers import InMemoryChannelLayer, LayerOptions
from fast_channels.layers.options import OPTION_NAMES

from .backends import Layer


def test_the_defaults_are_those_of_the_documentation() -> None:
    options = LayerOptions()
    assert {name: getattr(options, name) for name in OPTION_NAMES} == {
        "prefix": "fc",
        "capacity": 100,
        "capacity_bytes": 1_048_576,
        "channel_capacity": None,
        "overflow": "drop_newest",
        "channel_overflow": None,
        "queue_capacity": None,
        "expiry": 60.0,
        "group_expiry": 86_400.0,
        "send_timeout": 5.0,
        "max_message_size": 1_048_576,
        "max_groups": 10_000,
        "encryption_keys": None,
        "accept_plain": False,
        "linger": 2.0,
        "gaps": False,
        "history": None,
        "durable_channels": False,
        "presence_lease": 15.0,
    }


@pytest.mark.parametrize("kind", [Layer, InMemoryChannelLayer])
def test_an_unknown_option_is_an_error_that_lists_the_known_ones(kind: Any) -> None:
    with pytest.raises(TypeError) as caught:
        kind(capacitee=5)
    assert str(caught.value) == (
        f"unknown layer option 'capacitee'; the options are: {', '.join(OPTION_NAMES)}"
    )


@pytest.mark.parametrize(
    "option", ["capacity", "capacity_bytes", "max_message_size", "max_groups", "queue_capacity"]
)
@pytest.mark.parametrize("value", [0, -1, 1.5, "5", True])
def test_a_count_must_be_an_int_of_at_least_one(option: str, value: Any) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"{option} must be an int of at least 1")
    ) as caught:
        Layer(**{option: value})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("option", ["expiry", "group_expiry", "send_timeout"])
@pytest.mark.parametrize("value", [0, -1, math.nan, "5", None, True])
def test_a_duration_must_be_seconds_above_zero(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{option} must be seconds above 0, got {value!r}"):
        Layer(**{option: value})


def test_linger_may_be_zero_but_not_less() -> None:
    assert Layer(linger=0).options.linger == 0
    with pytest.raises(ValueError, match="linger must be seconds from 0, got -1"):
        Layer(linger=-1)


def test_an_unknown_overflow_policy_is_an_error_that_lists_the_known_ones() -> None:
    known = "overflow must be one of drop_newest, drop_oldest, disconnect, got 'block'"
    with pytest.raises(ValueError, match=known):
        Layer(overflow="block")


@pytest.mark.parametrize(
    ("option", "value", "error", "text"),
    [
        ("channel_capacity", {"a*": 0}, ValueError, "must be an int of at least 1, got 0"),
        ("channel_capacity", {5: 10}, TypeError, "a pattern is a glob or a compiled regex, got 5"),
        ("channel_capacity", ["a*"], TypeError, "must map patterns to values, got the item 'a*'"),
        ("channel_overflow", {"a*": "block"}, ValueError, "must be one of drop_newest"),
    ],
)
def test_bad_patterns_are_refused_with_their_reason(
    option: str, value: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)) as caught:
        Layer(**{option: value})
    assert str(caught.value).startswith(option)


def test_the_first_pattern_that_matches_decides() -> None:
    options = LayerOptions(
        capacity=1, channel_capacity={"chat.*": 20, re.compile(r"(chat|http)\."): 30, "*": 40}
    )
    assert options.capacity_of("chat.room") == 20
    assert options.capacity_of("http.x!1") == 30
    assert options.capacity_of("other") == 40


def test_patterns_may_be_pairs() -> None:
    options = LayerOptions(channel_capacity=[("a*", 5)], channel_overflow=[("b*", "drop_oldest")])
    assert options.capacity_of("abc") == 5
    assert options.overflow_of("abc") == "drop_newest"
    assert options.overflow_of("bcd") == "drop_oldest"


def test_a_glob_is_about_the_whole_name() -> None:
    options = LayerOptions(channel_capacity={"chat": 5, "?b": 6})
    assert options.capacity_of("chat.room") == 100
    assert options.capacity_of("my.chat") == 100
    assert options.capacity_of("chat") == 5
    assert options.capacity_of("ab") == 6


def test_a_queue_holds_what_capacity_says_unless_told_otherwise() -> None:
    options = LayerOptions(capacity=7, channel_capacity={"mail": 3})
    assert (options.queue_capacity_of("mail"), options.queue_capacity_of("jobs")) == (3, 7)
    assert LayerOptions(capacity=7, queue_capacity=500).queue_capacity_of("jobs") == 500


def test_options_cannot_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        LayerOptions().capacity = 5  # type: ignore[misc]  # that is the test


def test_the_memory_layer_takes_the_arguments_of_django_channels_by_place() -> None:
    layer = InMemoryChannelLayer(10, 20, 30, {"a": 40})
    assert (layer.expiry, layer.options.group_expiry, layer.capacity) == (10, 20, 30)
    assert layer.get_capacity("a") == 40


def test_the_base_layer_takes_the_arguments_of_django_channels_by_place() -> None:
    layer = BaseWithoutBackend(10, 30, {"a": 40})
    assert (layer.expiry, layer.capacity, layer.get_capacity("a")) == (10, 30, 40)


class BaseWithoutBackend(InMemoryChannelLayer.__bases__[0]):  # type: ignore[misc, name-defined]
    """The base class as such."""
