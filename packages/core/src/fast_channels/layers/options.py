"""The options that every layer takes: names, defaults, checks."""

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Final, Literal, TypedDict, TypeVar, cast, get_args

from fast_channels.layers.history import HistoryPolicy
from fast_channels.layers.names import check_prefix

Overflow = Literal["drop_newest", "drop_oldest", "disconnect"]
"""What happens to a message that finds its mailbox full."""

Pattern = str | re.Pattern[str]
"""A glob (``"chat.*"``) or a compiled regular expression, matched against a whole channel name."""

SHORTEST_KEY: Final = 16
"""Characters of an encryption key at least: less can be guessed from one recorded frame."""

V = TypeVar("V")
Patterns = Mapping[Pattern, V] | Iterable[tuple[Pattern, V]]
Keys = Iterable[str | bytes]


class OptionKeywords(TypedDict, total=False):
    """The keyword arguments of every layer, as ``LayerOptions`` documents them."""

    prefix: str
    capacity_bytes: int
    overflow: Overflow
    channel_overflow: Patterns[Overflow] | None
    queue_capacity: int | None
    send_timeout: float
    max_message_size: int
    max_groups: int
    encryption_keys: Keys | None
    symmetric_encryption_keys: Keys | None
    accept_plain: bool
    linger: float
    gaps: bool
    history: Patterns[HistoryPolicy] | None
    durable_channels: bool
    presence_lease: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerOptions:
    """Checked options. Durations are seconds, sizes bytes."""

    prefix: str = "fc"
    """Isolates applications that share a broker; part of every topic and queue."""

    capacity: int = 100
    """Unread messages that one channel holds."""

    capacity_bytes: int = 1_048_576
    """Unread bytes that one channel holds; never refuses the first message."""

    channel_capacity: Patterns[int] | None = None
    """``capacity`` for some channels; the first pattern that matches counts."""

    overflow: Overflow = "drop_newest"
    """What a full mailbox does with the next message."""

    channel_overflow: Patterns[Overflow] | None = None
    """``overflow`` for some channels; the first pattern that matches counts."""

    queue_capacity: int | None = None
    """Jobs that one worker queue holds; None: what ``capacity`` says for its name."""

    expiry: float = 60.0
    """After this an unread message is not delivered."""

    group_expiry: float = 86_400.0
    """A mailbox made by ``new_channel`` that nobody reads is discarded after this."""

    send_timeout: float = 5.0
    """How long a send may wait for the broker before ``BackendUnavailable``."""

    max_message_size: int = 1_048_576
    """A larger encoded message is refused with ``MessageTooLarge``."""

    max_groups: int = 10_000
    """Groups that one channel may be a member of; one more raises ``TooManyGroups``."""

    encryption_keys: tuple[bytes, ...] | None = field(default=None, repr=False)
    """The first one seals what this layer sends, any one opens; None: nothing is sealed."""

    accept_plain: bool = False
    """A layer with keys reads unsealed payloads, too."""

    linger: float = 2.0
    """How long a topic stays subscribed after its last member left."""

    gaps: bool = False
    """Members are told of a possible loss by a ``channels.gap`` message."""

    history: Patterns[HistoryPolicy] | None = None
    """What is kept of which groups; the first pattern that matches counts."""

    durable_channels: bool = False
    """Messages to single channels outlast a loss of their process's connection, too."""

    presence_lease: float = 15.0
    """Members of a process that gave no sign of life for so long are not present any more."""

    _capacities: tuple[tuple[re.Pattern[str], int], ...] = field(init=False, repr=False)
    _overflows: tuple[tuple[re.Pattern[str], Overflow], ...] = field(init=False, repr=False)
    _histories: tuple[tuple[re.Pattern[str], HistoryPolicy], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Raise ``ValueError`` or ``TypeError`` for a value that cannot be meant."""
        check_prefix(self.prefix)
        if self.encryption_keys is not None:
            object.__setattr__(self, "encryption_keys", _checked_keys(self.encryption_keys))
        for name in ("capacity", "capacity_bytes", "max_message_size", "max_groups"):
            _positive_int(name, getattr(self, name))
        if self.queue_capacity is not None:
            _positive_int("queue_capacity", self.queue_capacity)
        for name in ("expiry", "group_expiry", "send_timeout", "presence_lease"):
            _seconds(name, getattr(self, name), positive=True)
        _seconds("linger", self.linger, positive=False)
        _overflow("overflow", self.overflow)
        capacities = compile_patterns("channel_capacity", self.channel_capacity)
        for pattern, capacity in capacities:
            _positive_int(f"channel_capacity[{pattern.pattern!r}]", capacity)
        overflows = compile_patterns("channel_overflow", self.channel_overflow)
        for pattern, policy in overflows:
            _overflow(f"channel_overflow[{pattern.pattern!r}]", policy)
        histories = compile_patterns("history", self.history)
        for pattern, history in histories:
            if not isinstance(cast("object", history), HistoryPolicy):
                raise TypeError(
                    f"history[{pattern.pattern!r}] must be a HistoryPolicy, got {history!r}"
                )
        object.__setattr__(self, "_histories", histories)
        object.__setattr__(self, "_capacities", capacities)
        object.__setattr__(self, "_overflows", overflows)

    @classmethod
    def checked(cls, options: Mapping[str, object]) -> "LayerOptions":
        """Make options of keyword arguments; an unknown one is an error that lists the known.

        ``symmetric_encryption_keys`` is another name of ``encryption_keys``.
        """
        options = dict(options)
        if "symmetric_encryption_keys" in options:
            keys = options.pop("symmetric_encryption_keys")
            if options.setdefault("encryption_keys", keys) is not keys:
                raise TypeError("encryption_keys and symmetric_encryption_keys are the same option")
        for name in options:
            if name not in OPTION_NAMES:
                raise TypeError(
                    f"unknown layer option {name!r}; the options are: {', '.join(OPTION_NAMES)}"
                )
        return cls(**options)  # type: ignore[arg-type]  # values are checked at run time

    def capacity_of(self, channel: str) -> int:
        """Return how many unread messages the channel holds."""
        for pattern, capacity in self._capacities:
            if pattern.match(channel):
                return capacity
        return self.capacity

    def overflow_of(self, channel: str) -> Overflow:
        """Return what the channel does when it is full."""
        for pattern, overflow in self._overflows:
            if pattern.match(channel):
                return overflow
        return self.overflow

    @property
    def durable(self) -> bool:
        """True where anything is kept."""
        return bool(self._histories) or self.durable_channels

    def history_of(self, group: str) -> HistoryPolicy | None:
        """Return what is kept of the group; None: nothing."""
        for pattern, history in self._histories:
            if pattern.match(group):
                return history
        return None

    def queue_capacity_of(self, queue: str) -> int:
        """Return how many jobs the worker queue holds."""
        return self.queue_capacity or self.capacity_of(queue)


OPTION_NAMES: Final = tuple(f.name for f in fields(LayerOptions) if f.init)


def compile_patterns(
    option: str, patterns: Patterns[V] | None
) -> tuple[tuple[re.Pattern[str], V], ...]:
    """Return ``patterns`` in order, globs as regular expressions."""
    if patterns is None:
        return ()
    pairs = cast(
        "Iterable[object]", patterns.items() if isinstance(patterns, Mapping) else patterns
    )
    compiled: list[tuple[re.Pattern[str], V]] = []
    for pair in pairs:
        if not isinstance(pair, tuple) or len(cast("tuple[object, ...]", pair)) != 2:
            raise TypeError(f"{option} must map patterns to values, got the item {pair!r}")
        pattern, value = cast("tuple[object, V]", pair)
        if isinstance(pattern, str):
            pattern = re.compile(fnmatch.translate(pattern))
        elif not isinstance(pattern, re.Pattern):
            raise TypeError(f"{option}: a pattern is a glob or a compiled regex, got {pattern!r}")
        compiled.append((cast("re.Pattern[str]", pattern), value))
    return tuple(compiled)


def _checked_keys(keys: object) -> tuple[bytes, ...]:
    """Return the keys as bytes. No error shows one."""
    if isinstance(keys, str | bytes | bytearray) or not isinstance(keys, Iterable):
        raise TypeError(
            f"encryption_keys must be a list of keys, the first of which seals, got a "
            f"{type(keys).__name__}"
        )
    checked: list[bytes] = []
    for number, key in enumerate(cast("Iterable[object]", keys)):
        if not isinstance(key, str | bytes):
            kind = type(key).__name__
            raise TypeError(f"encryption_keys[{number}] must be str or bytes, got a {kind}")
        if len(key) < SHORTEST_KEY:
            raise ValueError(
                f"encryption_keys[{number}] has {len(key)} characters, at least {SHORTEST_KEY} "
                'are needed; make one with: python -c "import secrets; '
                'print(secrets.token_urlsafe(32))"'
            )
        checked.append(key.encode() if isinstance(key, str) else key)
    if not checked:
        raise ValueError("encryption_keys is empty; leave it out to send without sealing")
    return tuple(checked)


def _positive_int(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an int of at least 1, got {value!r}")


def _seconds(name: str, value: object, *, positive: bool) -> None:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else -1
    if not (number > 0 or (number == 0 and not positive)):  # NaN compares False
        raise ValueError(
            f"{name} must be seconds {'above' if positive else 'from'} 0, got {value!r}"
        )


def _overflow(name: str, value: object) -> None:
    if value not in get_args(Overflow):
        raise ValueError(f"{name} must be one of {', '.join(get_args(Overflow))}, got {value!r}")
