"""What may be sent, what an error says about what may not, and that what arrives equals it."""

import datetime
import decimal
import enum
import math
import re
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_channels.exceptions import MessageTooLarge
from fast_channels.layers.history import GroupMessage
from fast_channels.layers.messages import decode_message, decode_plain, encode_message, is_flat
from fast_channels.layers.tracing import TracedMessage, context_of

from .backends import Make

MIB = 1_048_576


class Colour(enum.StrEnum):
    RED = "red"


def encode(message: object) -> bytes:
    return encode_message(message, MIB)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.binary(max_size=40)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc\xe9", max_size=5), inner),
    max_leaves=10,
)
messages = st.dictionaries(st.text("ab\U0001f600", max_size=5), values, max_size=5).map(
    lambda fields: {**fields, "type": "chat.message"}
)
anything = st.recursive(
    scalars
    | st.integers()
    | st.text()
    | st.datetimes()
    | st.decimals()
    | st.uuids()
    | st.complex_numbers()
    | st.sets(st.integers())
    | st.just(Colour.RED),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers()) | st.none(), inner)
    ),
    max_leaves=10,
)


@given(messages)
def test_what_arrives_equals_what_was_sent(message: dict[str, Any]) -> None:
    assert decode_message(encode(message)) == message


@given(anything, st.text() | st.integers() | st.tuples(st.text()))
def test_a_message_arrives_as_it_was_or_is_refused(value: Any, key: Any) -> None:
    message = {"type": "x", key: value}
    payload, refusal = b"", ""
    try:
        payload = encode(message)
    except (TypeError, ValueError) as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith("message")
    else:
        arrived = decode_message(payload)
        assert lists(arrived) == lists(message) or "nan" in repr(message).lower()


def lists(value: Any) -> Any:
    """Return the value with its tuples as lists, which is how they arrive."""
    if isinstance(value, dict):
        return {key: lists(item) for key, item in value.items()}
    return [lists(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(
    "value", [math.inf, -math.inf, "\x00", "\U0001f600", b"\xff", [], {}, [[]]]
)
def test_unusual_values_arrive_unchanged(value: Any) -> None:
    assert decode_message(encode({"type": "x", "value": value}))["value"] == value


def test_not_a_number_stays_not_a_number() -> None:
    assert math.isnan(decode_message(encode({"type": "x", "value": math.nan}))["value"])


def test_a_tuple_arrives_as_a_list() -> None:
    assert decode_message(encode({"type": "x", "at": (1, (2,))}))["at"] == [1, [2]]


def test_a_subclass_of_dict_is_a_message() -> None:
    class Event(dict[str, Any]):
        pass

    assert decode_message(encode(Event(type="x", n=1))) == {"type": "x", "n": 1}


class Text(str):
    def __str__(self) -> str:
        return self  # as Django's SafeString


class Number(int): ...


class Real(float): ...


class Raw(bytes): ...


@pytest.mark.parametrize("value", [Text("a"), Number(7), Number(2**63), Real(1.5), Raw(b"a")])
@pytest.mark.parametrize("place", [lambda value: value, lambda value: [{value: value}]])
def test_a_subclass_arrives_as_the_value_that_it_is(value: Any, place: Any) -> None:
    arrived = decode_message(encode({"type": "x", "value": place(value)}))["value"]
    assert arrived == place(value)
    assert type(arrived) in (str, int, float, bytes, list)


def test_a_type_may_be_a_subclass_of_str() -> None:
    assert decode_message(encode({"type": Text("x")})) == {"type": "x"}


@pytest.mark.timeout(5)
def test_a_subclass_of_int_that_does_not_fit_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"message\['n'\] is an int that does not fit 64 bits"):
        encode({"type": "x", "n": Number(2**64)})


class Custom:
    def __repr__(self) -> str:
        return "<Custom>"


CONVERT = "; convert it to str, int, float, bytes, list or dict"


@pytest.mark.parametrize(
    ("message", "error", "text"),
    [
        ("text", TypeError, "message must be a dict, got str: 'text'"),
        (None, TypeError, "message must be a dict, got NoneType: None"),
        ([("type", "x")], TypeError, "message must be a dict, got list: [('type', 'x')]"),
        ({}, ValueError, "message has no 'type'; add one, such as 'chat.message'"),
        (
            {"typ": "x"},
            ValueError,
            "message has no 'type'; add one, such as 'chat.message', which is "
            "handled by the consumer's method chat_message: {'typ': 'x'}",
        ),
        ({"type": None}, TypeError, "message['type'] must be a str, got None"),
        ({"type": 5}, TypeError, "message['type'] must be a str, got 5"),
        ({"type": b"x"}, TypeError, "message['type'] must be a str, got b'x'"),
        ({"type": Colour.RED}, TypeError, "message['type'] is a Colour, which cannot be sent"),
        (
            {"type": "x", "by": Custom()},
            TypeError,
            "message['by'] is a Custom, which cannot be sent: <Custom>" + CONVERT,
        ),
        (
            {"type": "x", "a": {"b": [1, {2, 3}]}},
            TypeError,
            "message['a']['b'][1] is a set, which cannot be sent: {2, 3}" + CONVERT,
        ),
        (
            {"type": "x", "at": datetime.date(2026, 1, 2)},
            TypeError,
            "message['at'] is a date, which",
        ),
        ({"type": "x", "n": decimal.Decimal(1)}, TypeError, "message['n'] is a Decimal, which"),
        ({"type": "x", "id": uuid.UUID(int=1)}, TypeError, "message['id'] is a UUID, which"),
        ({"type": "x", "c": [Colour.RED]}, TypeError, "message['c'][0] is a Colour, which cannot"),
        (
            {"type": "x", "n": 2**64},
            TypeError,
            "message['n'] is an int that does not fit 64 bits: 18446744073709551616",
        ),
        (
            {"type": "x", "n": [-(2**63) - 1]},
            TypeError,
            "message['n'][0] is an int that does not fit",
        ),
        ({"type": "x", (1, 2): 3}, TypeError, "message has the key (1, 2) of type tuple; use str"),
        (
            {"type": "x", "a": {frozenset(): 3}},
            TypeError,
            "message['a'] has the key frozenset() of type frozenset; use str",
        ),
        ({"type": "x", Colour.RED: 3}, TypeError, "of type Colour; use str"),
        (
            {"type": "x", 2**64: 3},
            TypeError,
            "message has the key 18446744073709551616, an int that does not fit 64 bits",
        ),
        (
            {"type": "x", "s": "\ud800"},
            TypeError,
            "message['s'] holds text that is no valid unicode",
        ),
        ({"type": "\ud800"}, TypeError, "message['type'] holds text that is no valid unicode"),
        ({"type": "x", "\ud800": 1}, TypeError, "message has the key '\\ud800', no valid unicode"),
    ],
)
def test_a_bad_message_is_refused_with_its_reason(
    message: object, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)):
        encode(message)


def test_a_message_that_contains_itself_is_refused() -> None:
    message: dict[str, Any] = {"type": "x", "list": []}
    message["list"].append(message)
    with pytest.raises(TypeError, match="is nested deeper than 200 levels, or contains itself"):
        encode(message)


def test_a_long_value_is_cut_in_the_error() -> None:
    with pytest.raises(TypeError) as caught:
        encode({"type": "x", "s": {frozenset(range(100_000))}})
    assert len(str(caught.value)) < 300


def test_a_message_may_have_exactly_the_greatest_size() -> None:
    size = len(encode({"type": "x", "data": b"\x00" * 1_000}))
    message = {"type": "x", "data": b"\x00" * 1_000}
    assert len(encode_message(message, size)) == size
    with pytest.raises(MessageTooLarge) as caught:
        encode_message(message, size - 1)
    assert str(caught.value) == (
        f"message of type 'x' has {size} bytes, more than max_message_size={size - 1}"
    )


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x81\xa4type",
        b"\x01",
        b"\x90",
        msgspec.msgpack.encode({"n": 1}),
        msgspec.msgpack.encode({"type": 1}),
        b"\x81\xa4type\xa1\xff",
        b"\x91" * 100_000,
    ],
)
def test_bytes_that_are_no_message_are_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"payload is no message|message has no 'type'"):
        decode_message(payload)


@given(st.binary(max_size=200))
def test_random_bytes_are_a_message_or_a_value_error(payload: bytes) -> None:
    try:
        assert isinstance(decode_message(payload)["type"], str)
    except ValueError:
        pass


@pytest.mark.parametrize(
    "payload", [b"\x82\xa4type\xa1x\x91\x01\x02", b"\x82\xa4type\xa1x\x80\x02"]
)
def test_a_key_that_python_cannot_have_is_a_value_error_or_a_tuple(payload: bytes) -> None:
    try:
        assert decode_message(payload)["type"] == "x"
    except ValueError:
        pass


@pytest.mark.parametrize(
    "payload",
    [
        b"{",
        b"{}",
        b'{"type": 1}',
        b'{"type": "x"} tail',
        b'{"a": }',
        b'{"type": "\xff"}',
        b'{"type": ' + b'{"a":' * 100_000,
    ],
)
def test_json_that_is_no_message_is_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"no JSON object|message has no 'type'"):
        decode_plain(payload)


def test_plain_json_is_a_message() -> None:
    assert decode_plain(b'{"type": "x", "n": [1.5, null]}') == {"type": "x", "n": [1.5, None]}


def test_a_message_is_flat_if_no_value_can_be_mutated() -> None:
    assert is_flat({"type": "x", "n": 1, "b": b"", "f": 1.5, "t": True, "none": None})
    assert not is_flat({"type": "x", "list": []})
    assert not is_flat({"type": "x", "dict": {}})


@pytest.mark.parametrize(
    "message", ["text", {}, {"type": "x", "s": {1}}, {"type": "x", "b": b"1" * 99}]
)
async def test_no_method_opens_a_connection_for_a_bad_message(make: Make, message: Any) -> None:
    layer = make(max_message_size=50)
    for call in (
        lambda: layer.send("specific.0!1", message),
        lambda: layer.send("queue", message),
        lambda: layer.group_send("group", message),
    ):
        with pytest.raises((TypeError, ValueError, MessageTooLarge), match="message"):
            await call()
    assert layer.backends == []


def test_a_message_that_names_its_group_keeps_what_travelled_with_it() -> None:
    traced = GroupMessage(TracedMessage({"type": "a"}, {"traceparent": "00-1"}), "group")
    assert (traced, traced.group, traced.position) == ({"type": "a"}, "group", None)
    assert context_of(traced) == {"traceparent": "00-1"}
    assert context_of(GroupMessage({"type": "a"}, "group")) is None
