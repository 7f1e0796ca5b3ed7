"""Names and capacities as methods of a layer: what Django Channels' layers offer their subclasses.

New code uses ``fast_channels.layers.names`` and the layer's options.
"""

import re
from typing import ClassVar

from fast_channels.layers.names import MAX_NAME_LENGTH, check_channel, check_group
from fast_channels.layers.options import LayerOptions, Patterns, compile_patterns


class ChannelsNames:
    """The helper methods of upstream's ``BaseChannelLayer``."""

    MAX_NAME_LENGTH: ClassVar[int] = MAX_NAME_LENGTH
    extensions: ClassVar[list[str]] = ["groups", "flush"]
    channel_name_regex: ClassVar[re.Pattern[str]] = re.compile(
        r"^[a-zA-Z\d\-_.]+(\![\d\w\-_.]*)?$", re.ASCII
    )
    group_name_regex: ClassVar[re.Pattern[str]] = re.compile(r"^[a-zA-Z\d\-_.]+$", re.ASCII)
    invalid_name_error: ClassVar[str] = (
        "{} name must be a str of ASCII letters, digits, '-', '_' and '.', "
        f"shorter than {MAX_NAME_LENGTH} characters"
    )
    options: LayerOptions

    def compile_capacities(
        self, channel_capacity: Patterns[int]
    ) -> list[tuple[re.Pattern[str], int]]:
        """Return the patterns as regular expressions, in order."""
        return list(compile_patterns("channel_capacity", channel_capacity))

    def get_capacity(self, channel: str) -> int:
        """Return how many unread messages the channel holds."""
        return self.options.capacity_of(channel)

    def match_type_and_length(self, name: object) -> bool:
        """True for a str of legal length."""
        return isinstance(name, str) and len(name) < self.MAX_NAME_LENGTH

    def require_valid_channel_name(self, name: str, receive: bool = False) -> bool:
        """True, or ``TypeError`` that says what is wrong with the name."""
        check_channel(name)
        if receive and "!" in name and not name.endswith("!"):
            raise TypeError(f"receive() takes names that end at the '!', got {name!r}")
        return True

    def require_valid_group_name(self, name: str) -> bool:
        """True, or ``TypeError`` that says what is wrong with the name."""
        check_group(name)
        return True

    def valid_channel_names(self, names: list[str], receive: bool = False) -> bool:
        """True, or ``TypeError`` for the first name that is not legal."""
        return all(self.require_valid_channel_name(name, receive) for name in names)

    def non_local_name(self, name: str) -> str:
        """Return the part of a channel name up to and with its ``!``."""
        head, mark, _ = name.partition("!")
        return head + mark

    # Upstream deprecated these two; its users' code still calls them.

    def valid_channel_name(self, channel_name: str, receive: bool = False) -> bool:
        """True, or ``TypeError``: ``require_valid_channel_name``."""
        return self.require_valid_channel_name(channel_name, receive)

    def valid_group_name(self, group_name: str) -> bool:
        """True, or ``TypeError``: ``require_valid_group_name``."""
        return self.require_valid_group_name(group_name)
