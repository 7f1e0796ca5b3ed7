"""What is kept for the channels of one node, and where it goes: a member of the node's history.

It is never full, for one slow channel must not keep the others from theirs: the overflow policy of
each channel acts.
"""

from fast_channels.layers.counters import LossReport
from fast_channels.layers.history.cursor import Item
from fast_channels.layers.hub import Hub
from fast_channels.layers.mailbox import Mailbox, Message, Unread
from fast_channels.layers.options import LayerOptions
from fast_channels.layers.topics import shared


class NodeInbox(Mailbox):
    """Passes each entry of its node's history on to the channel that it is for."""

    __slots__ = ("_hub",)

    def __init__(self, node: str, options: LayerOptions, losses: LossReport, hub: Hub) -> None:
        super().__init__(node, options, losses)
        self._hub = hub

    def put(self, unread: Unread) -> bool:
        """The channel has the message; False if it could not take it, or is gone."""
        item: object = unread[0]()
        assert isinstance(item, Item)
        mailbox = self._hub.mailboxes.get(item.target or "")
        if mailbox is None:
            self.losses.counters.undeliverable += 1
            return False
        if item.node == self.name:
            mailbox.expected(unread[2])
        return mailbox.put(shared(item.payload, item.message))

    def put_gap(self, message: Message) -> None:
        """Every channel may have missed messages."""
        for mailbox in list(self._hub.mailboxes.values()):
            mailbox.put_gap(message)
