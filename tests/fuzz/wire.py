"""Targets: what comes from a broker, and what applications hand on of what strangers say."""

import msgspec
from tests.layers.backends import Layer
from tests.properties.stepping import SteppedLoop

from fast_channels.exceptions import MessageTooLarge
from fast_channels.layers.backend import Position
from fast_channels.layers.codec import (
    FRAGMENT,
    Entry,
    Fragment,
    FrameError,
    SealError,
    decode_entries,
    decode_fragment,
    decode_frame,
    encode_entries,
    encode_fragment,
    encode_frame,
    pack_frame,
)
from fast_channels.layers.fragments import MAX_BYTES, Reassembly
from fast_channels.layers.history import decode_since, encode_position
from fast_channels.layers.messages import decode_message, decode_plain, encode_message
from fast_channels.layers.names import (
    check_channel,
    check_group,
    check_prefix,
    group_topic,
    node_topic,
    presence_topic,
    topic_group,
)
from fast_channels.layers.presence import wire
from fast_channels.layers.sealing import SealedFrames

from .choices import Choices

NODE = "0123456789abcdef"
GROUP = "fc:g.group"
MIB = 1_048_576

_pack = msgspec.msgpack.encode
_MESSAGE = encode_message({"type": "chat.message", "text": "hello", "n": [1, {"a": b"x"}]}, MIB)
_ENTRIES = encode_entries([Entry(_MESSAGE), Entry(_MESSAGE, "specific.0!1", "specific.0!2", "id")])
_DEEP = b"\x91" * 3_000 + b"\xc0"

# --- frames -----------------------------------------------------------------------------------

FRAMES = (
    encode_frame(NODE, 1, 0, _ENTRIES),
    encode_frame(NODE, 7, 6, encode_fragment(0, 3, b"piece"), FRAGMENT),
    b"\x01\x00\x96\xa0\x01\x00\xcb" + bytes(8) + b"\xc4\x00" + _DEEP,
    encode_frame(NODE, 1, 0, b"\x91\x95\xc4\x00\xc0\xc0\xc0" + _DEEP),
)


def frames(data: bytes) -> None:
    """A payload is a frame or a ``FrameError``; a frame is the same when it is written again."""
    try:
        flags, frame = decode_frame(data)
    except FrameError:
        return
    again = pack_frame(flags, frame)
    assert pack_frame(*decode_frame(again)) == again
    for decode in (decode_entries, decode_fragment):
        try:
            decode(frame.body)
        except FrameError:
            pass


# --- messages ---------------------------------------------------------------------------------

MESSAGES = (
    _MESSAGE,
    b'{"type": "chat.message", "text": "hello", "n": [1.5, null, {"a": true}]}',
    b"\x82\xa4type\xa1x\xa1a" + _DEEP,
    b'{"type": "x", "a": ' + b"[" * 3_000,
)


def messages(data: bytes) -> None:
    """Bytes are a message or a ``ValueError``; a message can be sent on, or is refused."""
    for decode in (decode_message, decode_plain):
        try:
            message = decode(data)
        except ValueError:
            continue
        assert isinstance(message["type"], str)
        try:
            encode_message(message, MIB)
        except (TypeError, ValueError, MessageTooLarge):
            pass


# --- presence ---------------------------------------------------------------------------------

_MEMBERS = {f"specific.{NODE}!1": wire.encode_value({"name": "Ann"})}
PRESENCE_MESSAGES = (
    wire.encode(wire.Beat(3, True, [NODE])),
    wire.encode(wire.Bye()),
    wire.encode(wire.Change(2, 1, _MEMBERS, [f"specific.{NODE}!2"])),
    wire.encode(wire.Ask(1, ["group"])),
    wire.encode(wire.State(1, 0, 2, 9, [wire.GroupState("group", 1, _MEMBERS)])),
    b"\x82\xa4type\xacpresence.bye\xa1x" + _DEEP,
)


def presence(data: bytes) -> None:
    """Bytes are something that this node may say, or a ``ValueError``."""
    try:
        message = wire.decode(NODE, data)
    except ValueError:
        return
    assert wire.encode(wire.decode(NODE, wire.encode(message))) == wire.encode(message)
    joins = message.joins if isinstance(message, wire.Change) else {}
    for channel, value in joins.items():
        check_channel(channel)
        assert len(value) <= wire.MAX_PRESENCE
        wire.decode_value(value)


# --- fragments --------------------------------------------------------------------------------

FRAGMENT_ROWS = (bytes([0, 0, 1, 0, 1, 4, 1, 2, 3, 4, 0, 0, 2, 1, 1, 2, 9, 9]), bytes(60))
MAX_BODY = 64


def fragments(data: bytes) -> None:
    """Whatever pieces come in whatever order: nothing is raised, and the bounds hold."""
    choices = Choices(data)
    given_up: list[str] = []
    joined = Reassembly(MAX_BODY, given_up.append)
    keys = [(node, topic) for node in ("m", "n") for topic in ("t", "u")]
    while choices:
        node, topic = choices.of(keys)
        seq, index, total = choices.number(12), choices.number(6), 2 + choices.number(5)
        body = joined.add(node, topic, seq, Fragment(index, total, choices.bytes(40)))
        assert body is None or len(body) <= MAX_BODY
        assert 0 <= joined._bytes <= MAX_BYTES
    for node, topic in keys:
        joined.drop(node, topic)
    assert joined._bytes == 0
    assert set(given_up) <= {"t", "u"}


# --- sealed frames ----------------------------------------------------------------------------

_sealed = SealedFrames([b"k" * 32], accept_plain=False)
_ORIGINALS = [
    _sealed.encode(GROUP, NODE, 1, 0, _ENTRIES),
    _sealed.encode(GROUP, NODE, 2, 1, b"x" * 40, FRAGMENT),
]
_OPENED = {(0, NODE, 1, 0, _ENTRIES), (FRAGMENT, NODE, 2, 1, b"x" * 40)}
_MOVED = _sealed.encode("fc:g.other", NODE, 3, 0, _ENTRIES)
_STRANGER = SealedFrames([b"s" * 32], accept_plain=False).encode(GROUP, NODE, 4, 0, _ENTRIES)
SEALED = (*_ORIGINALS, _MOVED, _STRANGER, *FRAMES)


def sealing(data: bytes) -> None:
    """What opens is what was sealed for this topic, as it was; all else is a ``FrameError``."""
    try:
        flags, frame = SealedFrames([b"o" * 32, b"k" * 32], accept_plain=False).decode(GROUP, data)
    except FrameError:  # of which SealError is one
        return
    assert (flags, frame.node, frame.seq, frame.prev, frame.body) in _OPENED


assert issubclass(SealError, FrameError)

# --- positions and names ----------------------------------------------------------------------

_HISTORY = "fc:h.group"
POSITIONS = (
    encode_position(_HISTORY, Position("epoch-1", 7)).encode(),
    encode_position("fc:h.other", Position("e", 2**64)).encode(),
    b"last:20",
    b"last:9999",
)


def positions(data: bytes) -> None:
    """Text is a position of the group, a number of messages, or a ``ValueError``."""
    try:
        since = decode_since(_HISTORY, data.decode("utf-8", "surrogateescape"))
    except ValueError:
        return
    if isinstance(since, int):
        assert 0 <= since <= 1_000
    else:
        assert decode_since(_HISTORY, encode_position(_HISTORY, since)) == since


NAMES = (b"group", b"chat.lobby-1_x", b"specific.0123456789abcdef!1f", b"fc:app", b"x" * 99)


def names(data: bytes) -> None:
    """A name is legal, or refused by the documented error; a legal one has one topic."""
    name = data.decode("utf-8", "surrogateescape")
    for check, refuses in (
        (check_group, TypeError),
        (check_channel, TypeError),
        (check_prefix, ValueError),
    ):
        try:
            check(name)
        except refuses:
            continue
        assert name.isascii()
        assert 0 < len(name) < 100
        if check is check_group:
            assert topic_group(group_topic("fc", name)) == name
        if check is check_prefix:
            assert topic_group(group_topic(name, "group")) == "group"


# --- a whole session --------------------------------------------------------------------------

_KINDS = 4
ARRIVING = tuple(
    bytes([kind]) + payload
    for kind in range(_KINDS)
    for payload in (
        *FRAMES,
        *MESSAGES[1:2],
        *(
            encode_frame(NODE, 0, 0, encode_entries([Entry(said, "!p")]))
            for said in PRESENCE_MESSAGES
        ),
        *(
            encode_frame(NODE, 0, 0, encode_entries([Entry(_pack(asked), "!")]))
            for asked in (
                {"type": "add", "group": "group", "channel": "specific.0!1", "number": 1},
                {"type": "discard", "group": "group", "channel": "specific.0!1", "number": 2},
                {"type": "answer", "number": 3, "error": "gone"},
            )
        ),
    )
)


class _Node:
    """A node with a member in a group, which is asked again and again."""

    def __init__(self) -> None:
        self.loop = SteppedLoop()
        self.layer = Layer(gaps=True)
        self.channel = self.loop.finish(self.layer.new_channel())
        self.loop.finish(self.layer.group_add("group", self.channel, presence={}))
        node = self.channel.partition("!")[0].rpartition(".")[2]
        self.topics = [
            GROUP,
            node_topic("fc", node),
            presence_topic("fc", "group"),
            "fc:b.presence",
        ]
        self.count = 0

    def takes(self, topic: str, payload: bytes) -> None:
        """The payload arrives, and the node still hears what comes after it."""
        self.loop.finish(self._deliver(topic, payload))
        self.count += 1
        fence = {"type": "fence", "n": self.count}
        body = encode_entries([Entry(_pack(fence))])
        self.loop.finish(self._deliver(GROUP, encode_frame("fence", 0, 0, body)))
        while self.loop.finish(self.layer.receive(self.channel)) != fence:
            pass

    async def _deliver(self, topic: str, payload: bytes) -> None:
        self.layer.backend.inbox.deliver(topic, payload)

    def end(self) -> None:
        """Nothing of it is left."""
        self.loop.finish(self.layer.close())
        self.loop.end()


_node: list[_Node] = []


def session(data: bytes) -> None:
    """Whatever arrives on whatever topic: nothing is raised, and the node still hears."""
    if not _node:
        _node.append(_Node())
    elif _node[0].count >= 500:  # a fresh one: what adds up must not hide what is wrong
        _node.pop().end()
        _node.append(_Node())
    try:
        _node[0].takes(_node[0].topics[(data[:1] or b"\0")[0] % _KINDS], data[1:])
    except BaseException:
        _node.clear()
        raise
