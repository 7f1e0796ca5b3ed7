"""Whatever value is sent: it arrives equal, or it is refused before anything is sent."""

import datetime
import decimal
import enum
import uuid
from typing import Any

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.layers.backends import Layer

from fast_channels.exceptions import MessageTooLarge
from fast_channels.layers.messages import decode_message, encode_message

from .budget import examples
from .sendable import MIB, messages, raised_by, values


class Colour(enum.Enum):
    RED = "red"


unsendable = st.one_of(
    st.integers(min_value=2**64),
    st.integers(max_value=-(2**63) - 1),
    st.text(st.characters(categories=["Cs"]), min_size=1, max_size=3),
    st.just(Colour.RED),
    st.just(datetime.datetime(2026, 1, 1)),
    st.just(datetime.timedelta(1)),
    st.just(uuid.UUID(int=1)),
    st.just(decimal.Decimal(1)),
    st.builds(object),
    st.complex_numbers(),
    st.sets(st.integers(0, 3)),
    st.frozensets(st.integers(0, 3)),
    st.just(msgspec.Raw(b"\x01")),
    st.just(msgspec.msgpack.Ext(1, b"")),
    st.just(range(3)),
)


def same(left: Any, right: Any) -> bool:
    """Whether the values are equal, their types and signs included, and nan is nan."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return [*map(repr, left)] == [*map(repr, right)] and all(
            same(value, right[key]) for key, value in left.items()
        )
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return repr(left) == repr(right)


@given(messages)
@examples(120)
def test_every_legal_message_arrives_equal_types_included(message: dict[str, Any]) -> None:
    assert same(decode_message(encode_message(message, MIB)), message)


@given(values, unsendable, st.lists(st.sampled_from("[{("), max_size=6))
@examples(120)
def test_every_other_value_is_refused_wherever_it_is(
    sibling: Any, value: Any, places: list[str]
) -> None:
    for place in places:
        if place == "[":
            value = [sibling, value]
        elif place == "(":
            value = (value, sibling)
        else:
            value = {"sibling": sibling, "here": value}
    layer = Layer()
    for message in ({"type": "x", "here": value}, {"type": value}):
        error = raised_by(layer.group_send("group", message))
        assert isinstance(error, TypeError)
        assert str(error).startswith("message")
    assert layer.backends == []


@given(st.none() | st.text() | st.lists(st.text()) | st.binary() | st.integers())
@examples(50)
def test_what_is_no_dict_is_no_message(message: Any) -> None:
    layer = Layer()
    assert isinstance(raised_by(layer.group_send("group", message)), TypeError)
    assert layer.backends == []


@given(messages, st.integers(1, 200))
@examples(100)
def test_a_message_above_the_greatest_size_is_refused(message: dict[str, Any], limit: int) -> None:
    layer = Layer(max_message_size=limit)
    assume(len(encode_message(message, MIB)) > limit)
    assert isinstance(raised_by(layer.group_send("group", message)), MessageTooLarge)
    assert layer.backends == []
