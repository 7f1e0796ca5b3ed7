"""Joining a group where a client was before: what it missed comes first, or it is told of a loss.

Law: who is told ``recovered`` gets everything after its position, and who joined a group that is
kept has a position from then on, also before the first message.
"""

from typing import Any, NamedTuple

from fast_channels.exceptions import HistoryLost, InvalidChannelLayerError
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.layers.history import decode_since


class Start(NamedTuple):
    """Where a client begins in a group."""

    recovered: bool
    """Nothing that came after what it asked for is missing."""

    position: str | None
    """From where on it gets messages; None: it learns that from the first one, if they are kept."""


def check_layer(consumer: Any) -> None:
    """Raise ``InvalidChannelLayerError`` for a layer that does not tell whose its messages are."""
    if not consumer._served_connection.name:
        raise InvalidChannelLayerError(
            f"{type(consumer).__name__} resumes clients, which its channel layer cannot: "
            f"{consumer.channel_layer!r}; call register_channel_layer() at start-up with one that "
            "has a backend, such as 'memory://'"
        )


async def join_at(
    layer: BaseChannelLayer,
    group: str,
    channel: str,
    since: str | None,
    lost: str | None,
    **role: Any,
) -> Start:
    """The channel is a member, and gets what comes after ``since`` (None: from now on).

    Where that is gone, or is no position of this group, it gets what ``lost`` says instead: the
    newest (``"last:20"``), or what comes from now on (None). ``role`` is as of ``group_add``.
    """
    if layer.options.history_of(group) is None:
        await layer.group_add(group, channel, **role)
        return Start(since is None, None)
    if since is not None and _means_something(layer, group, since):
        try:
            return Start(True, await _add(layer, group, channel, since, role))
        except HistoryLost:
            pass
    instead = None if since is None else lost  # who comes for the first time has lost nothing
    try:
        return Start(since is None, await _add(layer, group, channel, instead, role))
    except HistoryLost:  # begun anew in this moment
        return Start(since is None, await _add(layer, group, channel, instead, role))


async def _add(
    layer: BaseChannelLayer, group: str, channel: str, since: str | None, role: dict[str, Any]
) -> str | None:
    """Join, and return the position after which messages come, if it is known."""
    last = since is not None and since.startswith("last:")
    if since is None or (last and not await layer.group_history(group, since="last:1")):
        since, last = await layer.group_position(group), False
    await layer.group_add(group, channel, since=since, **role)
    return None if last else since


def _means_something(layer: BaseChannelLayer, group: str, since: str) -> bool:
    """False for a text that is no position of the group."""
    try:
        decode_since(layer.kept_topic(group), since)
    except ValueError:
        return False
    return True
