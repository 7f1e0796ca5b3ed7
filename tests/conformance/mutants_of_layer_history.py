"""Mutants of layers with durable groups."""

import time
from typing import Any

from fast_channels.layers.mailbox import KEPT, Mailbox
from fast_channels.layers.messages import encode_message

from .layer_faults import Mutant, without
from .layers import CutHistory
from .subject import caught_by


@caught_by("test_messages_of_a_durable_group_know_their_place")
class PlainDicts(Mutant):
    """Makes a plain dict of every message."""

    async def receive(self, channel):
        return dict(await super().receive(channel))


@caught_by("test_a_member_gets_what_came_after_its_position_and_goes_on_live")
class FromNowOn(Mutant):
    """Does not look at ``since``."""

    async def group_add(self, group, channel, *, since=None):
        await super().group_add(group, channel)


@caught_by("test_a_member_gets_the_newest_messages_that_it_asks_for")
class OneMore(Mutant):
    """Counts from zero."""

    async def group_add(self, group, channel, *, since=None):
        if since is not None and since.startswith("last:"):
            since = f"last:{int(since[5:]) + 1}"
        await super().group_add(group, channel, since=since)


@caught_by("test_who_joins_at_full_speed_misses_nothing_and_sees_nothing_twice")
class LiveAtOnce(Mutant):
    """Delivers what comes live while it reads what came before."""

    def spoil(self, session):
        if session.durable is not None:
            session.durable.hold = lambda *_: None


@caught_by("test_who_is_a_thousand_behind_loses_nothing_and_blocks_nobody")
class PushesTheReplay(Mutant):
    """Puts all that was missed into the mailbox at once."""

    async def group_add(self, group, channel, *, since=None):
        await super().group_add(group, channel)
        mailbox = (await self._here()).hub.mailboxes[channel]
        for each in await self.group_history(group, since=since, limit=10_000) if since else ():
            size = len(encode_message(each, 1_000_000))
            mailbox.put((lambda each=each: each, time.monotonic(), size))


@caught_by("test_a_full_member_falls_behind_and_catches_up")
class DropsWhenFull(Mutant):
    """Puts what comes live into every mailbox, whether it is full or not."""

    def spoil(self, session):
        def fan_out(pending: Any, stop: int) -> None:
            for mailbox in pending.members[pending.index : stop]:
                mailbox.put(pending.first)
            pending.index = stop

        session.durable._fan_out = fan_out if session.durable else None


class AgingMailbox(Mailbox):
    """Lets a durable message expire at once when somebody looks at its age."""

    def taken(self, arrived, size):
        return super().taken(-1e9 if arrived is KEPT else arrived, size)


class ForgetfulMailbox(Mailbox):
    """Does not know which messages are durable."""

    def put(self, unread):
        copy, _arrived, size = unread
        return super().put((copy, time.monotonic(), size))


class OtherMailboxes(Mutant):
    """Makes mailboxes of another kind."""

    mailbox_class = Mailbox

    def spoil(self, session):
        make = session.new_mailbox
        session.new_mailbox = lambda prefix, kind=None: make(prefix, self.mailbox_class)


@caught_by("test_a_durable_message_is_never_dropped_for_another")
class DropsTheOldestOfAll(OtherMailboxes):
    """Drops the oldest message, durable or not."""

    mailbox_class = ForgetfulMailbox


@caught_by("test_an_unread_durable_message_does_not_expire")
class EverythingExpires(OtherMailboxes):
    """Looks at the age of durable messages, too."""

    mailbox_class = AgingMailbox


@caught_by("test_a_message_of_one_id_is_sent_once")
class NoIds(Mutant):
    """Does not look at the id."""

    async def group_send(self, group, message, *, exclude=None, id=None):
        await super().group_send(group, message, exclude=exclude)


@caught_by("test_a_member_that_was_excluded_is_left_out_of_its_past_too")
class ExcludesLiveOnly(Mutant):
    """Does not look at ``exclude`` in what it reads."""

    def spoil(self, session):
        if session.durable is None:
            return
        replay = session.durable.replay
        items = replay.items

        def for_all(name, entries):
            found = items(name, entries)
            for item in found:
                item.exclude = None
            return found

        replay.items = for_all


class LastingHistory(CutHistory):
    """Cannot be cleared."""

    async def clear(self, prefix: str, /) -> None:
        pass


@caught_by("test_flush_clears_history")
class FlushesQueuesOnly(Mutant):
    """Leaves history alone."""

    history_class = LastingHistory


@caught_by("test_a_bad_position_is_refused_before_anything_is_done")
class TakesBadPositionsForNone(Mutant):
    """Begins from now on where the position is bad."""

    async def group_add(self, group, channel, *, since=None):
        try:
            await super().group_add(group, channel, since=since)
        except ValueError:
            await super().group_add(group, channel)


@caught_by("test_where_the_history_ends_a_member_is_told_once")
class SaysNothingOfTheEnd(Mutant):
    """Goes on with what is left, and says nothing."""

    def spoil(self, session):
        if session.durable is not None:
            session.durable.replay.tell_lost = lambda *_: None


@caught_by("test_members_catch_up_after_an_outage")
class GoesOnAfterAnOutage(Mutant):
    """Takes what comes after an outage for the next message."""

    def spoil(self, session):
        if session.durable is not None:
            session.durable.missed = lambda names: None
            session.durable.heal = lambda topics: None


@caught_by("test_a_durable_channel_catches_up_after_an_outage")
class OnlyGroupsAreDurable(Mutant):
    """Ignores the option for channels."""

    __init__ = without("durable_channels")
