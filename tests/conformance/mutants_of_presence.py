"""Mutants of layers that are wrong about who is present."""

import asyncio
import json
import random

from fast_channels.layers.presence.wire import encode_value

from .layer_faults import Mutant
from .subject import caught_by, later


@caught_by("test_every_node_knows_who_is_present")
class KnowsItsOwn(Mutant):
    """Tells of its own members only."""

    def spoil(self, session):
        presence = session.presence()

        async def elsewhere(group):
            return {}

        presence._elsewhere = elsewhere


@caught_by("test_two_members_of_one_user_are_two")
class KeepsByUser(Mutant):
    """Keeps members by what they say of themselves."""

    async def presence(self, group):
        found = await super().presence(group)
        by_value = {str(presence): channel for channel, presence in found.items()}
        return {channel: found[channel] for channel in by_value.values()}


@caught_by("test_a_member_without_a_presence_is_not_present")
class CountsEverybody(Mutant):
    """Takes every member for one that is present."""

    async def group_add(self, group, channel, *, presence=None, watch=False):
        if presence is None and not watch:
            presence = {"user": "somebody"}
        await super().group_add(group, channel, presence=presence, watch=watch)


@caught_by("test_watchers_are_told_once_who_comes_and_who_goes")
class TellsOfEachTwice(Mutant):
    """Tells watchers once for itself, and once for the broker."""

    def spoil(self, session):
        some = session.hub.some
        session.hub.some = lambda *args: [some(*args) for _ in range(2)]


@caught_by("test_who_does_not_watch_is_told_nothing")
class TellsEverybody(Mutant):
    """Takes every member for a watcher."""

    async def group_add(self, group, channel, *, presence=None, watch=False):
        await super().group_add(group, channel, presence=presence, watch=True)


@caught_by("test_another_presence_of_a_member_replaces_the_former")
class FirstPresenceStays(Mutant):
    """Ignores the presence of one that is a member already."""

    async def group_add(self, group, channel, *, presence=None, watch=False):
        if channel in await self.group_channels(group):
            presence = None
        await super().group_add(group, channel, presence=presence, watch=watch)


@caught_by("test_a_rejoin_soon_after_a_leave_makes_no_leave")
class TellsLeavesAtOnce(Mutant):
    """Tells leaves at once."""

    def spoil(self, session):
        session.presence()._hold = 0


@caught_by("test_a_channel_that_ends_is_not_present")
class WantsDiscard(Mutant):
    """Notices nothing but a discard."""

    def spoil(self, session):
        session.presence()
        hub, left = session.hub, session.hub.left
        hub.left = lambda topic, channel: left(topic, channel) if channel in hub.mailboxes else None


@caught_by("test_members_of_a_layer_that_is_closed_leave_soon")
class LeavesWithoutAWord(Mutant):
    """Says no goodbye."""

    def spoil(self, session):
        announcer = session.presence()._announcer
        tell = announcer.tell

        async def mostly(topic, payload):
            if b"presence.bye" not in payload:
                await tell(topic, payload)

        announcer.tell = mostly


@caught_by("test_members_of_a_node_that_is_silent_leave_when_its_lease_is_over")
class WaitsForEver(Mutant):
    """Drops no node."""

    def spoil(self, session):
        session.presence()._peers._gone = lambda node: None


@caught_by("test_members_of_a_node_that_beats_stay")
class CountsFromTheFirstBeat(Mutant):
    """Does not prolong a lease."""

    def spoil(self, session):
        peers = session.presence()._peers
        heard = peers.heard
        peers.heard = lambda node: node not in peers and heard(node)


@caught_by("test_an_outage_of_the_broker_makes_nobody_leave")
class BlamesTheOthers(Mutant):
    """Drops whom it does not hear, though it hears nobody."""

    def spoil(self, session):
        peers = session.presence()._peers
        peers._own = float("inf")
        peers.heard_self = lambda: None


@caught_by("test_presence_costs_nothing_for_each_member")
class BeatsForEachMember(Mutant):
    """Keeps each member alive by a message of its own."""

    async def group_add(self, group, channel, *, presence=None, watch=False):
        await super().group_add(group, channel, presence=presence, watch=watch)
        session = await self._here()

        def beat():
            if not session.closed:
                session.presence()._announcer.beat(b"\xc0")
                later(random.uniform(0.1, 0.3), beat)  # those of one moment share a frame

        beat()


@caught_by("test_plain_json_makes_nobody_present")
class BelievesAnybody(Mutant):
    """Takes plain JSON for what another node says."""

    def spoil(self, session):
        presence, deliver = session.presence(), session.deliver

        def credulous(topic, payload):
            if payload[:1] == b"{" and ":p." in topic:
                roster = presence._rosters[topic.rpartition(":p.")[2]]
                for channel, value in json.loads(payload)["joins"].items():
                    roster._appear(channel, encode_value(value))
            deliver(topic, payload)

        session.deliver = credulous


@caught_by("test_a_presence_that_cannot_be_sent_is_refused")
class JoinsFirst(Mutant):
    """Looks at the presence when the channel has joined."""

    async def group_add(self, group, channel, *, presence=None, watch=False):
        await super().group_add(group, channel)
        await asyncio.sleep(0)
        await super().group_add(group, channel, presence=presence, watch=watch)
