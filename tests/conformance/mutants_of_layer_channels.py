"""Mutants of layers that break what is sent, or lose it on the way to one channel."""

import asyncio
import json
import time

from fast_channels.exceptions import ChannelNotFound
from fast_channels.layers.channel import LocalChannel
from fast_channels.layers.mailbox import Mailbox
from fast_channels.layers.messages import encode_message
from fast_channels.layers.names import channel_node

from .layer_faults import Changes, Local, Mutant
from .layers import CutBackend
from .subject import caught_by, later

# --- channels ---------------------------------------------------------------------------------


@caught_by("test_a_message_sent_on_one_node_is_received_on_another")
class KeepsToItself(Local):
    """Sends to its own channels only."""

    async def send(self, channel, message):
        if await self.own(channel):
            await super().send(channel, message)


@caught_by("test_a_message_to_the_own_node_is_received_once")
class DoublesOwn(Local):
    """Delivers to its own channels directly and by the broker."""

    async def send(self, channel, message):
        await super().send(channel, message)
        if await self.own(channel):
            await super().send(channel, message)


@caught_by("test_new_channels_have_the_prefix_and_names_of_their_own")
class NoPrefix(Mutant):
    """Ignores the prefix of a new channel."""

    async def new_channel(self, prefix="specific."):
        return await super().new_channel()


@caught_by("test_each_message_is_received_by_one_of_many_readers")
class AllReaders(Mutant):
    """Wakes all readers with one message."""

    async def receive(self, channel):
        reads = self.__dict__.setdefault("reads", {})
        read = reads.get(channel)
        if read is None or read.done():
            read = reads[channel] = asyncio.create_task(super().receive(channel))
        return await read


@caught_by("test_cancelled_receives_lose_and_reorder_nothing")
class LosesOnCancel(Mutant):
    """Has taken the message when it is cancelled."""

    async def receive(self, channel):
        message = await super().receive(channel)
        await asyncio.sleep(0)
        return message


@caught_by("test_cancelled_receives_lose_and_reorder_nothing")
class PutsBackLast(Mutant):
    """A cancelled reader puts its message behind the others."""

    async def receive(self, channel):
        message = await super().receive(channel)
        try:
            for _ in range(4):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            mailbox = (await self._here()).hub.mailboxes[channel]
            mailbox.put((message.copy, time.monotonic(), 1))
            raise
        return message


@caught_by("test_a_thousand_direct_sends_to_a_hundred_channels_all_arrive")
class TwoHosts(Mutant):
    """Looks for a few channels on another host."""

    async def send(self, channel, message):
        if not channel.endswith("!20"):
            await super().send(channel, message)


class BadEnd(LocalChannel):
    """A channel that ends badly."""

    __slots__ = ()


class Keeps(BadEnd):
    """Keeps its memberships."""

    __slots__ = ()

    def end(self):
        self.session.hub.mailboxes.pop(self.name, None)
        self.mailbox.close()


class Forgets(BadEnd):
    """Does not tell its readers."""

    __slots__ = ()

    def end(self):
        self.session.hub.mailboxes.pop(self.name, None)
        self.session.groups.leave_all(self.mailbox)


class Channels(Mutant):
    """Its channels are of another class."""

    kind = BadEnd

    def channel(self, prefix="specific.", *, make=Mailbox):
        return self.kind(self._here, prefix, make)


@caught_by("test_leaving_a_channel_ends_its_memberships")
class KeepsMemberships(Channels):
    """The end of a block leaves the channel in its groups."""

    kind = Keeps


@caught_by("test_a_channel_that_was_left_ends_its_readers")
class ForgetsReaders(Channels):
    """The end of a block leaves readers waiting."""

    kind = Forgets


@caught_by("test_a_channel_of_another_process_cannot_be_received_from")
class WaitsForOthers(Mutant):
    """Waits for what comes to another process."""

    async def receive(self, channel):
        try:
            return await super().receive(channel)
        except ChannelNotFound:
            await asyncio.Event().wait()


@caught_by("test_a_message_for_a_channel_that_is_gone_disturbs_nobody")
class KeyErrorForGone(Local):
    """A channel of its own that has gone is an error to the sender."""

    async def send(self, channel, message):
        session = await self._here()
        if channel_node(channel) == session.node:
            session.hub.mailboxes[channel]
        await super().send(channel, message)


# --- messages ---------------------------------------------------------------------------------


@caught_by("test_a_message_arrives_equal_to_what_was_sent")
class FloatsForInts(Changes):
    """Makes floats of large ints."""

    def change(self, message):
        value = message.get("value") if isinstance(message, dict) else None
        if isinstance(value, list):
            big = [float(v) if type(v) is int and v > 2**53 else v for v in value]
            return {**message, "value": big}
        return message


@caught_by("test_a_tuple_arrives_as_a_list")
class HandsOver(Local):
    """Gives its own channels the message as it is."""

    async def send(self, channel, message):
        mailbox = await self.own(channel)
        if mailbox is None:
            await super().send(channel, message)
        else:
            mailbox.put((dict(message).copy, time.monotonic(), 1))


@caught_by("test_keys_that_are_no_text_arrive_equal_or_are_refused")
class TextKeys(Changes):
    """Makes text of keys."""

    def change(self, message):
        try:
            return json.loads(json.dumps(message))
        except TypeError:
            return message


@caught_by("test_what_cannot_be_sent_is_refused_before_any_io")
class TextFallback(Changes):
    """Makes text of what cannot be sent."""

    def change(self, message):
        try:
            encode_message(message, 2**30)
        except TypeError:
            return json.loads(json.dumps(message, default=str))
        return message


@caught_by("test_what_cannot_be_sent_is_refused_before_any_io")
class OpensFirst(Mutant):
    """Connects before it looks at the message."""

    async def group_send(self, group, message, *, exclude=None):
        await self.open()
        await super().group_send(group, message, exclude=exclude)


@caught_by("test_a_bad_name_is_a_type_error_that_names_it")
class OpensBeforeReceive(Mutant):
    """Connects before it looks at the name."""

    async def receive(self, channel):
        await self.open()
        return await super().receive(channel)


class RenamesGroups(Mutant):
    """Has another name for a group."""

    def rename(self, group):
        """Return the group's name in the broker."""
        return group

    async def group_add(self, group, channel):
        await super().group_add(self.rename(group), channel)

    async def group_send(self, group, message, *, exclude=None):
        await super().group_send(self.rename(group), message, exclude=exclude)


@caught_by("test_every_legal_name_works")
class NoEmptyToken(RenamesGroups):
    """Cannot send to groups whose names have two dots in a row."""

    async def group_send(self, group, message, *, exclude=None):
        if ".." not in group:
            await super().group_send(group, message, exclude=exclude)


@caught_by("test_a_group_message_reaches_nobody_else")
class OneCaseOfGroups(RenamesGroups):
    """Takes dots, dashes and underscores for the same."""

    def rename(self, group):
        return group.replace(".", "_").replace("-", "_")


@caught_by("test_a_message_above_the_largest_size_is_refused")
class AnySize(Mutant):
    """Ignores max_message_size."""

    def __init__(self, wire, **options):
        super().__init__(wire, **{**options, "max_message_size": 2**30})


@caught_by("test_a_message_of_a_megabyte_arrives")
class SmallPipe(CutBackend):
    """Carries less than it says."""

    async def publish(self, publications, /):
        await super().publish([each for each in publications if len(each.payload) < 65_536])


@caught_by("test_no_receiver_sees_what_another_does_to_a_message")
class SharesNested(Mutant):
    """Gives all members a shallow copy of one message."""

    def spoil(self, session):
        seen = {}

        def put(mailbox, unread, put=Mailbox.put):
            copy, arrived, size = unread
            message = copy()
            return put(mailbox, (seen.setdefault(repr(message), message).copy, arrived, size))

        session.new_mailbox = lambda prefix, make=None, new=session.new_mailbox: new(
            prefix, lambda *arguments: Sharing(put, *arguments)
        )


class Sharing(Mailbox):
    """A mailbox whose put is another."""

    def __init__(self, put, *arguments):
        super().__init__(*arguments)
        self.shared = put

    def put(self, unread):
        return self.shared(self, unread)


@caught_by("test_a_sender_may_change_its_message_when_the_send_is_done")
class EncodesLater(Local):
    """Looks at the message of its own channels when the loop comes to it."""

    async def send(self, channel, message):
        mailbox = await self.own(channel)
        if mailbox is None:
            await super().send(channel, message)
        else:
            later(0.001, lambda: mailbox.put((message.copy, time.monotonic(), 1)))
