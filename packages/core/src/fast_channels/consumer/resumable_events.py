"""Server-Sent Events that go on where the browser was, by the ids that it keeps.

An event's id is the client's place in all groups of its stream: positions, divided by commas, and
``-`` where there are groups that keep nothing. A browser sends the last one back by itself.
"""

import random
from collections.abc import Iterable
from typing import Any, Final

from fast_channels.consumer.handlers import framework
from fast_channels.consumer.http import FINISHED, WAITING, AsyncEventSourceConsumer
from fast_channels.consumer.resuming import check_layer, join_at
from fast_channels.layers.history import position_tag
from fast_channels.type_defs import ChannelMessage

GAP_EVENT: Final = "channels.gap"
"""The type of the event that says: messages may be missing here."""

_LIVE: Final = "-"


@framework
class ResumableEventSourceConsumer(AsyncEventSourceConsumer):
    """A stream of groups' messages, which goes on after a loss with what was missed.

    Override ``stream_groups``. Messages for which the class declares a handler go to that; all
    others are events, once and in order for each group. An event of type ``channels.gap`` tells
    that messages of its group may be missing.
    """

    names_groups = True

    since: str | None = None
    """What a client gets that comes for the first time: ``"last:20"``, or None: from now on."""

    resync: str | None = None
    """What a client gets whose position is lost, as ``since``."""

    retry: int | None = 2_000
    """Milliseconds after which a client comes back; each is told up to twice that, by chance."""

    def __init__(self, **initkwargs: Any) -> None:
        """Set attributes that the class has."""
        super().__init__(**initkwargs)
        self._places: dict[str, str | None] = {}
        """How far the client is in each group of the stream; None: not known, or not kept."""
        self._live = False

    # --- what applications override -----------------------------------------------------------

    async def stream_groups(self) -> Iterable[str]:
        """Return the groups of the stream (none by default), or raise ``DenyConnection``.

        What the client asks for is in ``self.scope["query_string"]``.
        """
        return ()

    def client_data(self, message: ChannelMessage) -> Any:
        """Return what the client gets of a group's message: by default all of it."""
        return message

    # --- what applications call ---------------------------------------------------------------

    async def forward(
        self, message: ChannelMessage, data: Any = None, event: str | None = None
    ) -> None:
        """The client has the group's message; ``data``: in place of ``client_data(message)``.

        For handlers; ``event`` is the type that the client sees.
        """
        group = getattr(message, "group", None)
        if group in self._places:
            self._places[group] = getattr(message, "position", None) or self._places[group]
            content = self.client_data(message) if data is None else data
            await self.send_event(content, event, self._place())

    # --- events -------------------------------------------------------------------------------

    async def channels_gap(self, message: ChannelMessage) -> None:
        """Tell the client of a loss."""
        if message["group"] in self._places or message["group"] is None:
            await self._tell_gap(message["group"])

    async def unknown_message(self, message: ChannelMessage) -> None:
        """Pass on what came for a group of the stream; ``ValueError`` for anything else."""
        if getattr(message, "group", None) not in self._places:
            await super().unknown_message(message)
        await self.forward(message)

    # --- inside -------------------------------------------------------------------------------

    async def _begin(self, last_event_id: str | None) -> None:
        """Join the groups where the client was, and tell it from where on it gets messages."""
        check_layer(self)
        groups = list(dict.fromkeys(await self.stream_groups()))
        lost = await self._join_streams(groups, last_event_id)
        await self.connect(last_event_id)
        if self._state == FINISHED:
            return
        if self._state == WAITING:
            await self.accept()
        fields = [f"id: {self._place()}"]
        if self.retry is not None:
            fields.append(f"retry: {random.randint(self.retry, 2 * self.retry)}")
        await self._send_part("\n".join([*fields, "", ""]).encode())  # without data: no event
        for group in lost:
            await self._tell_gap(group)

    async def _join_streams(self, groups: list[str], last_event_id: str | None) -> list[str]:
        """Join the groups; return those of which the client may have missed something."""
        layer = self.channel_layer
        places = (last_event_id or "").split(",")
        positions = {place.rpartition(".")[2]: place for place in places}
        was_live = positions.pop(_LIVE, None) is not None
        positions.pop("", None)
        kept = {
            group: position_tag(layer.kept_topic(group))
            for group in groups
            if layer.options.history_of(group) is not None
        }
        foreign = positions.keys() - kept.values()
        lost: list[str] = []
        for group in groups:
            since: str | None
            if group in kept:
                since = positions.get(kept[group], "" if foreign else self.since)
            else:
                since, self._live = "" if was_live or foreign else None, True
            start = await join_at(layer, group, self.channel_name, since, self.resync)
            self._places[group] = start.position
            if not start.recovered:
                lost.append(group)
        return lost

    def _place(self) -> str:
        places = [place for place in self._places.values() if place is not None]
        return ",".join([*places, *([_LIVE] if self._live else ())])

    async def _tell_gap(self, group: str | None) -> None:
        await self.send_event({"group": group}, GAP_EVENT, self._place())
