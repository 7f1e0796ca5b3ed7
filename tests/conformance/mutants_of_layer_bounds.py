"""Mutants of layers that break bounds, cancelled calls, queues or prefixes, or trust all."""

import asyncio
import pickle  # noqa: TID251  # one mutant has to do what is forbidden

from fast_channels.exceptions import ChannelFull, LayerClosed
from fast_channels.layers.channel import LocalChannel
from fast_channels.layers.mailbox import Mailbox

from .layer_faults import Local, Mutant, without
from .layers import CutBackend
from .subject import caught_by

# --- bounds -----------------------------------------------------------------------------------


@caught_by("test_capacity_is_per_channel_and_not_per_process")
class SharedCapacity(Mutant):
    """All channels of a process share one capacity."""

    async def send(self, channel, message):
        session = await self._here()
        if session.hub.unread >= self.capacity and channel in session.hub.mailboxes:
            raise ChannelFull("the process is full")
        await super().send(channel, message)


@caught_by("test_a_full_channel_of_this_process_refuses_the_next_message")
class DropsSilently(Mutant):
    """Does not tell the sender."""

    async def send(self, channel, message):
        try:
            await super().send(channel, message)
        except ChannelFull:
            pass


@caught_by("test_every_message_that_met_a_full_channel_is_counted_and_told")
class Uncounted(Mutant):
    """Counts no drop."""

    def stats(self):
        return {**super().stats(), "overflowed": 0}


@caught_by("test_every_message_that_met_a_full_channel_is_counted_and_told")
class Untold(Mutant):
    """Tells no plugin."""

    def spoil(self, session):
        session.losses.flush = lambda: None


@caught_by("test_a_reader_that_stops_holds_at_most_its_capacity")
class Unbounded(Mutant):
    """Ignores the capacity."""

    __init__ = without("capacity")


@caught_by("test_drop_oldest_keeps_the_newest_messages")
class DropsNewest(Mutant):
    """Ignores the policy."""

    __init__ = without("overflow")


@caught_by("test_disconnect_ends_a_channel_that_was_full")
class DropsOldest(Mutant):
    """Ignores the policy."""

    __init__ = without(overflow="drop_oldest")


@caught_by("test_a_reader_that_stops_holds_at_most_its_capacity_in_bytes")
class CountsOnly(Mutant):
    """Ignores how large messages are."""

    __init__ = without("capacity_bytes")


@caught_by("test_a_late_reader_gets_the_next_message_of_its_group")
class ExpiresMembers(Mutant):
    """An expired message ends the channel's memberships."""

    def spoil(self, session):
        note = session.losses.note

        def expire(reason, example, count=1):
            note(reason, example, count)
            if reason == "expired":
                session.groups.leave_all(session.hub.mailboxes[example])

        session.losses.note = expire


@caught_by("test_channels_that_nobody_reads_are_gone_after_group_expiry")
class KeepsUnread(Mutant):
    """Keeps channels that nobody reads."""

    __init__ = without("group_expiry")


class Watched(LocalChannel):
    """A channel that ends when nobody reads it."""

    __slots__ = ()

    async def __aenter__(self):
        await super().__aenter__()
        self.session.watch(self.mailbox)
        return self


@caught_by("test_a_live_member_outlives_group_expiry")
class EvictsIdle(Mutant):
    """Evicts a live channel that nothing came for."""

    def channel(self, prefix="specific.", *, make=Mailbox):
        return Watched(self._here, prefix, make)


# --- cancellation -----------------------------------------------------------------------------


@caught_by("test_a_cancelled_join_leaves_no_member")
class JoinsAnyway(Local):
    """Goes on joining when the caller is cancelled."""

    async def group_add(self, group, channel):
        if await self.own(channel):
            await asyncio.shield(asyncio.create_task(super().group_add(group, channel)))
        else:
            await super().group_add(group, channel)


@caught_by("test_a_cancelled_join_leaves_nothing_subscribed")
class StaysSubscribed(Mutant):
    """Never leaves a topic."""

    def spoil(self, session):
        session._subscriptions.release = lambda topic: None


@caught_by("test_a_cancelled_join_does_not_end_another_one")
class DiscardsOnCancel(Mutant):
    """A cancelled join discards the channel, whoever else joins it."""

    async def group_add(self, group, channel):
        try:
            await super().group_add(group, channel)
        except asyncio.CancelledError:
            (await self._here()).leave(group, channel)
            raise


@caught_by("test_a_cancelled_join_of_another_processs_channel_can_be_discarded")
class ConfusedByCancel(Local):
    """Takes the next discard for an answer to the cancelled join."""

    confused = False

    async def group_add(self, group, channel):
        try:
            await super().group_add(group, channel)
        except asyncio.CancelledError:
            self.confused = True
            raise

    async def group_discard(self, group, channel):
        if not self.confused:
            await super().group_discard(group, channel)
        self.confused = False


@caught_by("test_a_cancelled_discard_is_done_by_the_next_one")
class ForgetsFirst(Mutant):
    """Has forgotten the member when it is cancelled."""

    def __init__(self, wire, **options):
        super().__init__(wire, **options)
        self.discarded = set()

    async def group_add(self, group, channel):
        self.discarded.discard((group, channel))
        await super().group_add(group, channel)

    async def group_discard(self, group, channel):
        if (group, channel) not in self.discarded:
            self.discarded.add((group, channel))
            await asyncio.sleep(0)
            await super().group_discard(group, channel)


@caught_by("test_a_cancelled_send_arrives_once_or_not_at_all")
class CancelTakesCapacity(Local):
    """A cancelled send takes capacity forever."""

    async def send(self, channel, message):
        try:
            await super().send(channel, message)
        except asyncio.CancelledError:
            if mailbox := await self.own(channel):
                mailbox.outstanding += 1
            raise


@caught_by("test_a_cancelled_send_arrives_once_or_not_at_all")
class Retries(Mutant):
    """A cancelled send was perhaps not sent, so it is sent again."""

    async def group_send(self, group, message, *, exclude=None):
        try:
            await super().group_send(group, message, exclude=exclude)
        except asyncio.CancelledError:
            await super().group_send(group, message, exclude=exclude)
            raise


class Waits(LocalChannel):
    """A channel whose end waits."""

    __slots__ = ()

    async def __aexit__(self, *_):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.end()


@caught_by("test_a_cancelled_channel_block_leaves_nothing")
class EndsByWaiting(Mutant):
    """Awaits something at the end of a block."""

    def channel(self, prefix="specific.", *, make=Mailbox):
        return Waits(self._here, prefix, make)


@caught_by("test_a_cancelled_first_use_leaves_a_layer_that_works")
class OpeningIsTheFirstCallers(Mutant):
    """The first caller opens the layer, and nobody does when it is cancelled."""

    dead = False

    async def group_send(self, group, message, *, exclude=None):
        try:
            await self.open()
        except asyncio.CancelledError:
            self.dead = True
            raise
        if self.dead:
            raise LayerClosed("nobody opened it")
        await super().group_send(group, message, exclude=exclude)


# --- queues -----------------------------------------------------------------------------------


@caught_by("test_the_layer_has_the_declared_capabilities_and_no_other")
class NoQueues(Mutant):
    """Has lost its queues."""

    def create_backend(self):
        return CutBackend(self.wire)


@caught_by("test_a_job_waits_for_a_worker_on_any_node")
class NobodyListens(Mutant):
    """Gives a job to who waits for one now."""

    async def send(self, channel, message):
        queue = self.wire.broker.queue(f"{self.options.prefix}:q.{channel}")
        if "!" in channel or queue._takers:
            await super().send(channel, message)


@caught_by("test_each_job_goes_to_one_of_many_workers")
class GivesJobsTwice(Mutant):
    """Gives some jobs to two."""

    async def receive(self, channel):
        message = await super().receive(channel)
        if "!" not in channel and message["n"] % 10 == 5 and not message.get("again"):
            await self.send(channel, {**message, "again": True})
        return message


@caught_by("test_a_cancelled_receive_of_a_job_loses_nothing")
class LosesJobs(Mutant):
    """Has taken the job when it is cancelled."""

    async def receive(self, channel):
        message = await super().receive(channel)
        await asyncio.sleep(0)
        return message


@caught_by("test_a_full_queue_refuses_the_next_job")
class EndlessQueue(Mutant):
    """Ignores the queue's capacity."""

    __init__ = without("queue_capacity")


@caught_by("test_a_queue_in_a_group_gets_its_messages_once")
class EachNodePuts(Mutant):
    """Every node puts a group's message into the queue."""

    async def group_send(self, group, message, *, exclude=None):
        await super().group_send(group, message, exclude=exclude)
        await self.send("jobs", message)


@caught_by("test_flush_empties_the_queues")
class FlushesLocally(Mutant):
    """Flushes what this process holds."""

    async def flush(self):
        (await self._here()).flush()


# --- prefixes ---------------------------------------------------------------------------------


@caught_by("test_applications_with_other_prefixes_hear_nothing")
class ShortPrefix(Mutant):
    """Uses the first part of the prefix."""

    def __init__(self, wire, **options):
        super().__init__(wire, **{**options, "prefix": options["prefix"].partition(".")[0]})


@caught_by("test_flush_touches_its_own_prefix_only")
class FlushesByPrefix(Mutant):
    """Flushes what begins with the prefix."""

    async def flush(self):
        await super().flush()
        self.wire.broker.clear(self.options.prefix)


# --- hostile payloads -------------------------------------------------------------------------


@caught_by("test_what_cannot_be_read_is_counted_and_skipped")
class Poisoned(Mutant):
    """What cannot be read ends the listening."""

    def spoil(self, session):
        skip = session._skip

        def poisoned(topic, error):
            skip(topic, error)
            session.hub.topics.clear()

        session._skip = poisoned


@caught_by("test_what_cannot_be_read_is_counted_and_skipped")
class SkipsSilently(Mutant):
    """What cannot be read is not counted."""

    def spoil(self, session):
        session._skip = lambda topic, error: None


@caught_by("test_nothing_from_the_broker_is_unpickled")
class Unpickles(CutBackend):
    """Unpickles what may be a pickle."""

    async def open(self, inbox, /):
        await super().open(inbox)
        deliver = inbox.deliver

        def loads(topic, payload):
            if payload.startswith(b"c"):
                pickle.loads(payload)
            deliver(topic, payload)

        if hasattr(inbox, "hub"):
            inbox.deliver = loads


@caught_by("test_plain_json_is_a_message_of_the_group")
class FramesOnly(CutBackend):
    """Takes its own frames only."""

    async def open(self, inbox, /):
        await super().open(inbox)
        deliver = inbox.deliver
        if hasattr(inbox, "hub"):
            inbox.deliver = lambda topic, payload: payload[:1] == b"{" or deliver(topic, payload)
