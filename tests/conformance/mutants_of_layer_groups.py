"""Mutants of layers that break the order of messages, or confuse members of groups."""

import asyncio
import time

from fast_channels.exceptions import ChannelNotFound
from fast_channels.layers.names import channel_node, group_topic

from .layer_faults import Changes, Local, Mutant
from .layers import CutBackend
from .subject import caught_by, later

# --- order and clocks -------------------------------------------------------------------------


@caught_by("test_direct_and_group_messages_of_one_sender_keep_their_order")
class SlowGroups(CutBackend):
    """Groups travel on a slower connection than channels."""

    def _deliver(self):
        for publication in self._broker.collect(self):
            pause = 0.002 if ":g." in publication.topic else 0
            later(pause, self.arrived, *publication)

    def arrived(self, topic, payload):
        """Deliver it, if it is still subscribed."""
        if self._inbox is not None and topic in self.topics:
            self._inbox.deliver(topic, payload)


@caught_by("test_concurrent_sends_keep_their_order_per_channel_and_group")
class ManyConnections(Changes):
    """Each send takes a connection of its own, and some are slower."""

    async def send(self, channel, message):
        for _ in range(message.get("n", 0) % 7):
            await asyncio.sleep(0)
        await super().send(channel, message)


@caught_by("test_senders_with_wrong_clocks_lose_and_reorder_nothing")
class SendersClock(Changes):
    """Messages expire by the sender's clock."""

    def change(self, message):
        return {**message, "at": time.time()} if type(message) is dict else message

    async def receive(self, channel):
        while True:
            message = await super().receive(channel)
            if time.time() - message.pop("at", time.time()) < 60:
                return message


@caught_by("test_a_worker_with_another_clock_gets_every_job")
class SendersClockForJobs(SendersClock):
    """Jobs expire by the sender's clock."""


# --- groups -----------------------------------------------------------------------------------


@caught_by("test_a_group_message_reaches_every_member_on_every_node_once")
class DoublesGroups(Mutant):
    """Delivers to its own members, and then the broker does."""

    async def group_send(self, group, message, *, exclude=None):
        await super().group_send(group, message, exclude=exclude)
        await super().group_send(group, message, exclude=exclude)


@caught_by("test_a_group_without_members_can_be_sent_to")
class KeepsForLater(Mutant):
    """Keeps a group's last message for who joins next."""

    async def group_send(self, group, message, *, exclude=None):
        self.wire.__dict__.setdefault("kept", {})[group] = message
        await super().group_send(group, message, exclude=exclude)

    async def group_add(self, group, channel):
        await super().group_add(group, channel)
        if message := self.wire.__dict__.get("kept", {}).pop(group, None):
            await self.send(channel, message)


@caught_by("test_the_excluded_channel_is_left_out_and_nobody_else")
class ForgetsExclude(Mutant):
    """Leaves nobody out."""

    async def group_send(self, group, message, *, exclude=None):
        await super().group_send(group, message)


@caught_by("test_joining_twice_is_joining_once")
class CountsJoins(Mutant):
    """Wants as many discards as there were joins."""

    def __init__(self, wire, **options):
        super().__init__(wire, **options)
        self.joins = {}

    async def group_add(self, group, channel):
        self.joins[group, channel] = self.joins.get((group, channel), 0) + 1
        await super().group_add(group, channel)

    async def group_discard(self, group, channel):
        left = self.joins[group, channel] = self.joins.get((group, channel), 1) - 1
        if left <= 0:
            await super().group_discard(group, channel)


@caught_by("test_a_discarded_channel_gets_no_more")
class DiscardsOwnOnly(Local):
    """Cannot discard another process's channel."""

    async def group_discard(self, group, channel):
        if await self.own(channel):
            await super().group_discard(group, channel)


@caught_by("test_discarding_what_is_no_member_is_no_error")
class WantsMembers(Mutant):
    """Discarding the channel of an ended process is an error."""

    async def group_discard(self, group, channel):
        session = await self._here()
        if channel_node(channel) in (None, session.node):
            await super().group_discard(group, channel)
        else:
            await session.control.request("discard", group, channel)


@caught_by("test_joining_is_complete_when_group_add_returns")
class LateJoin(CutBackend):
    """Does not wait until the broker has confirmed."""

    async def subscribe(self, topics, /):
        self.topics.update(topics)
        later(0.002, self._broker.subscribe, self, tuple(topics))


@caught_by("test_a_group_that_was_just_left_can_be_joined_again")
class LateUnsubscribe(CutBackend):
    """An unsubscribe overtakes the next subscribe."""

    async def unsubscribe(self, topics, /):
        later(0.0005, self._broker.unsubscribe, self, tuple(topics))


@caught_by("test_a_channel_that_is_gone_cannot_be_added_by_another_process")
class NoAnswer(Mutant):
    """Does not tell that a channel is gone."""

    async def group_add(self, group, channel):
        try:
            await super().group_add(group, channel)
        except ChannelNotFound:
            pass


@caught_by("test_a_group_message_to_two_thousand_members_is_one_publish")
class SendsTwice(Mutant):
    """Publishes a group's message for the others, and once more for its own members."""

    async def group_send(self, group, message, *, exclude=None):
        await super().group_send(f"{group[:90]}.own", message, exclude=exclude)
        await super().group_send(group, message, exclude=exclude)


@caught_by("test_a_member_loses_nothing_while_others_come_and_go")
class Resubscribes(Mutant):
    """Each join makes the subscription anew."""

    async def group_add(self, group, channel):
        await super().group_add(group, channel)
        session, topic = await self._here(), group_topic(self.options.prefix, group)
        if topic in session.hub.topics:
            await session.backend.unsubscribe([topic])
            await asyncio.sleep(0)
            await session.backend.subscribe([topic])
