"""One group's members on all nodes, and what this node's watchers have been told of them.

A leave is held for a while, in which a rejoin undoes it: of the same channel, or of another one
with an equal presence (a page that is reloaded, a phone that comes back to another process).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping

from fast_channels.layers.loops import EARLY
from fast_channels.layers.mailbox import Mailbox
from fast_channels.layers.presence.wire import Change, GroupState, Members

TOLD_AT_ONCE = 500
"""Members in one message to a watcher at most."""


class View:
    """One other node's members."""

    __slots__ = ("ahead", "members", "version")

    def __init__(self) -> None:
        self.version = 0
        self.members: Members = {}
        self.ahead = 0
        """The version of a change before which another one is missing."""


Tell = Callable[["Roster", str, Members, Mapping[str, str]], None]
"""Called with ``"join"`` or ``"leave"``, the members, and for joins whom they replace."""


class Roster:
    """Kept while this node has a member or a watcher in the group."""

    def __init__(
        self, group: str, topic: str, loop: asyncio.AbstractEventLoop, hold: float, tell: Tell
    ) -> None:
        self.group = group
        self.topic = topic
        self.own: Members = {}
        """This node's members."""
        self.watchers: dict[str, Mailbox] = {}
        self.users = 0
        """Calls that are about to join."""
        self.asked = False
        self.ready: asyncio.Future[None] = loop.create_future()
        """Done when the other nodes have been asked: what they answered is no news."""
        self._views: dict[str, View] = {}
        self._loop = loop
        self._hold = hold
        self._tell = tell
        self._shown: Members = {}
        self._held: OrderedDict[str, float] = OrderedDict()  # channels, in the order they end in
        self._held_by_value: dict[bytes, dict[str, None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._joined: Members = {}
        self._replaces: dict[str, str] = {}
        self._left: Members = {}

    @property
    def used(self) -> bool:
        """True while this node has to know the members."""
        return bool(self.own or self.watchers or self.users)

    def shown(self) -> Members:
        """Return who is present: what watchers know who have seen every message."""
        return dict(self._shown)

    def channels(self) -> set[str]:
        """Return the channels that are in the group now, without those whose leave is held."""
        return set(self.own).union(*(view.members for view in self._views.values()))

    def close(self) -> None:
        """No timer is left; whoever waits goes on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.ready.done():
            self.ready.set_result(None)

    def put(self, channel: str, value: bytes) -> bool:
        """The channel of this node is present so; False if it was so before."""
        if self.own.get(channel) == value:
            return False
        self.own[channel] = value
        self._appear(channel, value)
        self._report(loud=True)
        return True

    def drop(self, channel: str) -> bool:
        """The channel of this node is not present; False if it was not before."""
        if self.own.pop(channel, None) is None:
            return False
        self._vanish(channel)
        return True

    def change(self, node: str, change: Change) -> bool:
        """Apply another node's change; False if one before it is missing."""
        view = self._views.setdefault(node, View())
        if change.version <= view.version:
            return True
        follows = change.prev in (0, view.version)
        if change.prev == 0:
            self._replace(view, change.joins)
        else:  # it is true in any case
            for channel in change.leaves:
                if view.members.pop(channel, None) is not None:
                    self._vanish(channel)
            for channel, value in change.joins.items():
                view.members[channel] = value
                self._appear(channel, value)
        if follows:
            view.version = change.version
        else:
            view.ahead = max(view.ahead, change.version)
        self._report(loud=True)
        return follows

    def state(self, node: str, state: GroupState) -> bool:
        """Take another node's answer; False if it is older than what is missing."""
        view = self._views.setdefault(node, View())
        if state.version < view.ahead:
            return False
        if state.version >= view.version:
            view.version = state.version
            self._replace(view, state.members)
            self._report(loud=self.ready.done())
        return True

    def forget(self, node: str, *, held: bool) -> None:
        """The node is gone, and its members with it; ``held``: they may come to another one."""
        view = self._views.pop(node, None)
        for channel in view.members if view else ():
            self._vanish(channel)
            if not held:
                self._release(channel)
                self._left[channel] = self._shown.pop(channel)
        self._report(loud=True)

    def _replace(self, view: View, members: Members) -> None:
        before, view.members = view.members, members
        for channel in before.keys() - members.keys():
            self._vanish(channel)
        for channel, value in members.items():
            self._appear(channel, value)

    def _appear(self, channel: str, value: bytes) -> None:
        self._release(channel)
        if self._shown.get(channel) == value:
            return
        former = channel if channel in self._shown else None
        if former is None and value in self._held_by_value:
            former = next(iter(self._held_by_value[value]))
            self._release(former)
            del self._shown[former]
        self._shown[channel] = self._joined[channel] = value
        if former is not None:
            self._replaces[channel] = former

    def _vanish(self, channel: str) -> None:
        self._held[channel] = self._loop.time() + self._hold
        self._held_by_value.setdefault(self._shown[channel], {})[channel] = None
        if self._timer is None:
            self._timer = self._loop.call_later(self._hold, self._end_holds)

    def _release(self, channel: str) -> None:
        """The channel's leave is not held any more, if it was."""
        if self._held.pop(channel, None) is not None:
            value = self._shown[channel]
            same = self._held_by_value[value]
            del same[channel]
            if not same:
                del self._held_by_value[value]

    def _end_holds(self) -> None:
        self._timer = None
        now = self._loop.time() + EARLY
        while self._held:
            channel, deadline = next(iter(self._held.items()))
            if deadline > now:
                self._timer = self._loop.call_at(deadline, self._end_holds)
                break
            self._release(channel)
            self._left[channel] = self._shown.pop(channel)
        self._report(loud=True)

    def _report(self, *, loud: bool) -> None:
        """Tell the watchers what has changed, unless that is what was so before they came."""
        left, self._left = self._left, {}
        joined, self._joined = self._joined, {}
        replaces, self._replaces = self._replaces, {}
        if loud and self.watchers:
            for kind, members in ("leave", left), ("join", joined):
                channels = list(members)
                for first in range(0, len(channels), TOLD_AT_ONCE):
                    some = {c: members[c] for c in channels[first : first + TOLD_AT_ONCE]}
                    former = {c: replaces[c] for c in some if c in replaces}
                    self._tell(self, kind, some, former)
