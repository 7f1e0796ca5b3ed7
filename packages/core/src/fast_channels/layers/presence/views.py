"""Looking into groups: who is present there, as methods of a layer."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from fast_channels.layers.names import channel_node, check_group
from fast_channels.layers.presence.wire import Role, encode_value
from fast_channels.layers.session import Session


class GroupViews:
    """What a layer says of its groups. Only channels that joined with a presence are seen."""

    @abstractmethod
    async def _here(self) -> Session:
        """Return the running loop's session."""

    async def presence(self, group: str) -> dict[str, dict[str, Any]]:
        """Return who is present in the group: the dicts given to ``group_add``, by channel.

        Who has left in the last 2 s is still there: it may be coming back. A process that has a
        member or a watcher in the group knows; in another one, or when it has just begun to know,
        all live processes are asked, and those that do not answer within 1 s are left out.
        """
        check_group(group)
        return await (await self._here()).presence().members(group)

    async def group_channels(self, group: str) -> list[str]:
        """Return the channels that are present in the group at this moment, in order of names."""
        check_group(group)
        return await (await self._here()).presence().channels(group)

    async def group_count(self, group: str) -> int:
        """Return how many channels are present in the group at this moment."""
        return len(await self.group_channels(group))


def role_of(channel: str, presence: Mapping[str, Any] | None, watch: bool) -> Role:
    """Return how the channel joins.

    Raises ``TypeError`` or ``MessageTooLarge`` for what cannot be sent, ``ValueError`` for a worker
    queue, which is nobody's and nowhere.
    """
    if channel_node(channel) is None:
        raise ValueError(f"channel {channel!r} is a worker queue, which cannot be present or watch")
    return Role(None if presence is None else encode_value(presence), watch)
