"""What nodes tell each other about presence, inside ordinary frames (``docs/wire-format.md``).

Each message goes to the target ``PRESENCE`` on the beat topic, on a group's presence topic or on a
node's topic, so it is numbered and sealed as every other, and plain JSON can never be one.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import msgspec

from fast_channels.exceptions import MessageTooLarge
from fast_channels.layers.messages import encode_dict
from fast_channels.layers.names import channel_node, check_channel

MAX_PRESENCE: Final = 4_096
"""Bytes of one channel's presence at most, encoded."""

PAGE_BYTES: Final = 32_768
"""Bytes of members in one message at most; the rest comes in further ones."""

GROUPS_AT_ONCE: Final = 300
"""Groups that one question is about at most."""

Number = Annotated[int, msgspec.Meta(ge=0)]
T = TypeVar("T", bytes, bytes | None)
Members = dict[str, bytes]
"""Presences, encoded, by channel."""


class Role(NamedTuple):
    """How a channel joins a group, besides being a member."""

    presence: bytes | None
    """What others see of it, encoded; None: nothing."""
    watch: bool
    """It is told who comes and goes."""


class Beat(msgspec.Struct, tag_field="type", tag="presence.beat"):
    """The node is alive, and present in so many groups."""

    groups: Number
    hello: bool = False
    """It has just come, and wants to know who else is there."""
    nodes: list[str] = []
    """In the answer to a hello: the other nodes that the sender knows."""


class Bye(msgspec.Struct, tag_field="type", tag="presence.bye"):
    """The node ends, and all its members leave."""


class Change(msgspec.Struct, tag_field="type", tag="presence.change"):
    """Members of the sender came, changed or went; on the group's presence topic."""

    version: Number
    prev: Number
    """The version of its change before this one in this group; 0: it had no members."""
    joins: Members
    leaves: list[str]


class Ask(msgspec.Struct, tag_field="type", tag="presence.ask"):
    """Which members has the receiver in these groups?"""

    number: Number
    groups: list[str]


class GroupState(msgspec.Struct, array_like=True):
    """The sender's members in one group, or some of them."""

    group: str
    version: Number
    members: Members


class State(msgspec.Struct, tag_field="type", tag="presence.state"):
    """One page of the answer to that question; in a group that no page names it has nobody."""

    number: Number
    page: Number
    pages: Annotated[int, msgspec.Meta(ge=1, le=65_536)]
    clock: Number
    """The version of the sender's last change, in whichever group."""
    states: list[GroupState]


PresenceMessage = Beat | Bye | Change | Ask | State

encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(PresenceMessage).decode
_decode_value: Final = msgspec.msgpack.Decoder(dict[Any, Any]).decode
_ordered: Final = msgspec.msgpack.Encoder(order="deterministic").encode


def decode(sender: str, payload: bytes) -> PresenceMessage:
    """Return the message; raises ``ValueError`` for what that node may not say."""
    try:
        message: PresenceMessage = _decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"presence message is malformed: {error}") from error
    if isinstance(message, Change):
        check_members(sender, message.joins)
    elif isinstance(message, State):
        for state in message.states:
            check_members(sender, state.members)
    return message


def check_members(node: str, members: Members) -> None:
    """Raise ``ValueError`` unless these are presences of the node's own channels."""
    for channel, value in members.items():
        try:
            check_channel(channel)
        except TypeError as error:
            raise ValueError(str(error)) from error
        if channel_node(channel) != node:
            raise ValueError(f"node {node} speaks for the channel {channel!r}")
        check_value(value)


def encode_value(presence: object) -> bytes:
    """Return a presence's bytes, which are the same for equal ones.

    Raises ``TypeError`` for what is no dict or holds what cannot be sent, ``MessageTooLarge`` above
    ``MAX_PRESENCE`` bytes; both name the key.
    """
    value = encode_dict(presence, "presence")
    if len(value) > MAX_PRESENCE:
        sizes = {key: len(encode(item)) for key, item in decode_value(value).items()}
        largest = max(sizes, key=lambda key: sizes[key])
        raise MessageTooLarge(
            f"presence has {len(value)} bytes, more than {MAX_PRESENCE}; the largest part is "
            f"presence[{largest!r:.60}] with {sizes[largest]}; send it in a message of its own"
        )
    try:
        return _ordered(decode_value(value))
    except TypeError:  # a key that is no str: there is no order
        return value


def decode_value(value: bytes) -> dict[str, Any]:
    """Return a presence, which the caller may change."""
    return _decode_value(value)


def check_value(value: bytes) -> None:
    """Raise ``ValueError`` unless these bytes are a presence."""
    if len(value) > MAX_PRESENCE:
        raise ValueError(f"presence has {len(value)} bytes, more than {MAX_PRESENCE}")
    try:
        _decode_value(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"presence is no dict: {error}") from error


def pages(members: Mapping[str, T], size: int) -> Iterator[dict[str, T]]:
    """Yield the channels and their presences in dicts of about ``size`` bytes."""
    page: dict[str, T] = {}
    left = size
    for channel, value in members.items():
        page[channel] = value
        left -= len(channel) + len(value or b"") + 8
        if left <= 0:
            yield page
            page, left = {}, size
    if page:
        yield page


def answers(number: int, clock: int, states: Iterable[GroupState], size: int) -> Iterator[bytes]:
    """Yield the encoded pages that answer the question ``number``."""
    groups: list[list[GroupState]] = [[]]
    left = size
    for state in states:
        for members in pages(state.members, size):
            groups[-1].append(GroupState(state.group, state.version, members))
            left -= len(state.group) + 16
            left -= sum(len(channel) + len(value) + 8 for channel, value in members.items())
            if left <= 0:
                groups.append([])
                left = size
    for index, page in enumerate(groups):
        yield encode(State(number, index, len(groups), clock, page))
