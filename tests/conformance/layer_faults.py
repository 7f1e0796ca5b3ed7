"""What mutants of layers are made of: a layer with one fault, and ways to put it there."""

from .layers import CutLayer


class Mutant(CutLayer):
    """A layer with one fault; ``spoil`` may put it into each new session."""

    def spoil(self, session):
        """Put the fault into an open session."""

    def __init__(self, wire, **options):
        super().__init__(wire, **options)
        opens = self._sessions._open

        async def open_and_spoil(loop):
            session = await opens(loop)
            self.spoil(session)
            return session

        self._sessions._open = open_and_spoil


class Local(Mutant):
    """Knows which channels are its own."""

    async def own(self, channel):
        """Return the channel's mailbox, None if it is not here."""
        if not isinstance(channel, str) or "!" not in channel:
            return None
        return (await self._here()).hub.mailboxes.get(channel)


class Changes(Mutant):
    """Changes what it sends."""

    def change(self, message):
        """Return what is sent instead."""
        return message

    async def send(self, channel, message):
        await super().send(channel, self.change(message))

    async def group_send(self, group, message, *, exclude=None, id=None):
        await super().group_send(group, self.change(message), exclude=exclude, id=id)


def without(*names, **others):
    """Return the constructor of a layer that ignores these options."""

    def __init__(self, wire, **options):
        kept = {name: value for name, value in options.items() if name not in names}
        super(type(self), self).__init__(wire, **{**kept, **others})

    return __init__
