"""Mutants of histories: each breaks one clause of ``HistoryTests``."""

import asyncio
import time
from collections.abc import Collection, Sequence

from fast_channels.exceptions import HistoryLost
from fast_channels.layers import Append, Entry, Page, Position, Publication
from fast_channels.layers.in_memory.history import Delivery

from .breakable import BreakableBackend, BreakableHistory
from .subject import caught_by


class Changed(BreakableHistory):
    """A history with one fault in what is appended."""

    def change(self, append: Append) -> Append:
        """Return what is appended instead."""
        return append

    async def publish(self, appends: Sequence[Append], /) -> None:
        await super().publish([self.change(each) for each in appends])


@caught_by("test_the_history_is_as_exact_as_it_is_declared")
class SaysThatItIsNotExact(BreakableHistory):
    """Asks to be spared."""

    exact = False


@caught_by("test_entries_are_read_in_the_order_in_which_they_were_published")
class TheLastFirst(Changed):
    """Inserts what comes in one call from the end."""

    def change(self, append: Append) -> Append:
        return append._replace(entries=append.entries[::-1])


@caught_by("test_as_much_may_be_kept_as_anybody_writes")
class CountsIn64Bits(Changed):
    """Passes on what the broker cannot count."""

    def change(self, append: Append) -> Append:
        append.keep.to_bytes(8)
        return append


@caught_by("test_an_entry_is_delivered_with_the_position_at_which_it_is_read")
class CountsTwice(BreakableBackend):
    """Counts what is delivered in another way than what is kept."""

    def arrive(self, publication: Publication | Delivery) -> None:
        if isinstance(publication, Delivery):
            epoch, offset = publication.position
            publication = publication._replace(position=Position(epoch, 2 * offset))
        super().arrive(publication)


@caught_by("test_nothing_falls_between_a_subscription_and_a_read")
class LiveALittleLater(BreakableBackend):
    """What comes right after the subscription is kept, but not delivered."""

    since = 0.0

    async def subscribe(self, topics: Collection[str], /) -> None:
        await super().subscribe(topics)
        self.since = time.monotonic()

    def arrive(self, publication: Publication | Delivery) -> None:
        early = time.monotonic() < self.since + 0.02
        if not (early and isinstance(publication, Delivery)):
            super().arrive(publication)


@caught_by("test_every_entry_is_kept_as_it_was")
class KeepsText(Changed):
    """Keeps text."""

    def change(self, append: Append) -> Append:
        texts = [Entry(p.decode("utf-8", "replace").encode(), i) for p, i in append.entries]
        return append._replace(entries=texts)


@caught_by("test_histories_with_similar_names_stay_apart")
class OneCaseOfHistories(Changed):
    """Does not tell capitals from small letters."""

    def change(self, append: Append) -> Append:
        return append._replace(topic=append.topic.lower())

    async def read(self, topic: str, after: Position | None, limit: int, /) -> Page:
        return await super().read(topic.lower(), after, limit)


@caught_by("test_last_gives_the_newest_and_the_end")
class NewestOnTop(BreakableHistory):
    """Gives the newest first."""

    async def last(self, topic: str, count: int, /) -> Page:
        page = await super().last(topic, count)
        return page._replace(entries=page.entries[::-1])


@caught_by("test_the_end_is_a_position_after_which_nothing_is")
class NothingIsLost(BreakableHistory):
    """Takes nothing for a loss."""

    async def read(self, topic: str, after: Position | None, limit: int, /) -> Page:
        page = await super().read(topic, after, limit)
        if after is not None and not page.entries:
            raise HistoryLost("there is nothing")
        return page


@caught_by("test_only_the_newest_entries_are_kept")
class TrimsNow(Changed):
    """Trims when it suits it, and says nothing."""

    def change(self, append: Append) -> Append:
        return append._replace(keep=append.keep * 3)


@caught_by("test_old_entries_are_gone_and_newer_ones_are_not")
class NothingGrowsOld(Changed):
    """Does not look at the age."""

    def change(self, append: Append) -> Append:
        return append._replace(ttl=3_600.0)


@caught_by("test_an_id_is_published_once_while_it_is_kept")
class LooksFirst(Changed):
    """Looks for the id, and appends a while later."""

    async def publish(self, appends: Sequence[Append], /) -> None:
        for topic, entries, keep, ttl in appends:
            known = self.backend.broker.__dict__.setdefault("ids", set())
            new = [each for each in entries if each.id is None or (topic, each.id) not in known]
            await asyncio.sleep(0.001)
            known.update((topic, each.id) for each in new)
            plain = [Entry(each.payload) for each in new]
            await super().publish([Append(topic, plain, keep, ttl)])


@caught_by("test_clear_ends_the_histories_of_a_prefix_alone")
class ClearsByPattern(BreakableHistory):
    """Takes ``_`` for any character."""

    async def clear(self, prefix: str, /) -> None:
        await super().clear(prefix.partition("_")[0])


@caught_by("test_a_position_of_another_history_is_lost")
class NoEpochs(BreakableHistory):
    """Compares offsets alone."""

    async def read(self, topic: str, after: Position | None, limit: int, /) -> Page:
        if after is not None:
            after = after._replace(epoch=(await self.last(topic, 0)).position.epoch)
        return await super().read(topic, after, limit)


@caught_by("test_history_fails_in_time_during_an_outage")
class ReadsWait(BreakableHistory):
    """Waits until the broker is back."""

    async def read(self, topic: str, after: Position | None, limit: int, /) -> Page:
        while self.backend.broker.down:  # noqa: ASYNC110  # what the mutant does wrong
            await asyncio.sleep(0.001)
        return await super().read(topic, after, limit)


@caught_by("test_after_an_outage_a_position_is_good_or_lost")
class RolledBack(BreakableBackend):
    """The broker comes back without its newest entries, and counts on from there."""

    def lost(self) -> None:
        super().lost()
        for stream in self.broker._streams._streams.values():
            while stream.length:
                stream._entries.pop()
                stream.end -= 1
