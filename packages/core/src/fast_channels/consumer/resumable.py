"""WebSockets whose clients subscribe to groups, and go on where they were when they come back.

The protocol is in docs/resume.md. Everything of it is a JSON object with the key ``channels``; all
else is the application's.
"""

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, cast

from fast_channels.consumer.handlers import framework
from fast_channels.consumer.resuming import check_layer, join_at
from fast_channels.consumer.websocket import AsyncJsonWebsocketConsumer
from fast_channels.exceptions import BackendUnavailable, HistoryLost, MessageTooLarge, TooManyGroups
from fast_channels.layers.names import check_group
from fast_channels.type_defs import ChannelMessage, WebSocketConnectEvent

logger = logging.getLogger("fast_channels.consumer")

KEY: Final = "channels"
"""The key that the application's own JSON objects do not have."""

MAX_SINCE: Final = 200
"""Characters of a position; ours have up to 120."""

_PRESENCE: Final = {"presence.join": "joins", "presence.leave": "leaves"}


class Refused(Exception):
    """The client does not get what it asked for, and is told why; ``code`` is for programs."""

    def __init__(self, detail: str, code: str = "refused") -> None:
        super().__init__(detail)
        self.code = code


class Subscription(NamedTuple):
    """A group that the client has subscribed to."""

    name: str
    group: str
    watch: bool


@framework
class ResumableWebsocketConsumer(AsyncJsonWebsocketConsumer):
    """A JSON WebSocket whose client subscribes to groups, and after a loss resumes them.

    Override ``authorize_group``. A subscribed group's messages for which the class declares a
    handler go to that; all others go to the client, once and in order, each with its position. What
    the client sends without the key ``channels`` goes to ``receive_json``.
    """

    names_groups = True

    max_groups: int = 100
    """Groups that one client may be subscribed to at a time."""

    max_name_length: int = 200
    """Characters of a name by which a client asks for a group."""

    resync: str | None = None
    """What a client gets whose position is lost: ``"last:20"``, or None: what comes from now on."""

    def __init__(self, **initkwargs: Any) -> None:
        """Set attributes that the class has."""
        super().__init__(**initkwargs)
        self.subscriptions: dict[str, Subscription] = {}
        """By the client's names."""
        self._by_group: dict[str, Subscription] = {}

    # --- what applications override -----------------------------------------------------------

    async def authorize_group(self, name: str) -> str | None:
        """Return the group that the client means by ``name``; None (the default) refuses it.

        So does ``Refused("why")``, which tells the client why.
        """
        return None

    async def presence_for(
        self, name: str, wanted: dict[str, Any] | None
    ) -> Mapping[str, Any] | None:
        """Return what others see of the client; None (the default): it is not seen.

        ``wanted`` is what the client says of itself, which may be anything. To return None then, or
        to raise ``Refused``, refuses the subscription.
        """
        return None

    def client_data(self, message: ChannelMessage) -> Any:
        """Return what the client gets of a group's message: by default all of it."""
        return message

    # --- what applications call ---------------------------------------------------------------

    async def forward(self, message: ChannelMessage, data: Any = None) -> None:
        """The client has the group's message; ``data``: in place of ``client_data(message)``.

        For handlers. A message of a group that the client has not subscribed to is left out.
        """
        subscription = self._by_group.get(getattr(message, "group", ""))
        if subscription is not None:
            await self.send_json(
                {
                    KEY: "message",
                    "group": subscription.name,
                    "position": getattr(message, "position", None),
                    "data": self.client_data(message) if data is None else data,
                }
            )

    # --- events -------------------------------------------------------------------------------

    async def websocket_connect(self, message: WebSocketConnectEvent) -> None:
        """Join the groups, then ask ``connect()``."""
        check_layer(self)
        await super().websocket_connect(message)

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Do what the client asks of its groups; all else goes to ``receive_json()``."""
        content = await self._content_of(text_data)
        if not isinstance(content, dict) or KEY not in content:
            await self.receive_json(content, **kwargs)
            return
        frame = cast("dict[str, Any]", content)
        try:
            await self._control(frame)
        except Refused as refused:
            answer = {KEY: "error", "code": refused.code, "detail": str(refused)}
            name = frame.get("group")
            if isinstance(name, str) and len(name) <= self.max_name_length:
                answer["group"] = name
            await self.send_json(answer)

    async def channels_gap(self, message: ChannelMessage) -> None:
        """Tell the client of a loss; who watches a group is shown anew who is there."""
        subscription = self._by_group.get(message["group"])
        if subscription is not None:
            await self.send_json({KEY: "gap", "group": subscription.name})
            if subscription.watch:
                await self._show_present(subscription)
        elif message["group"] is None:
            await self.send_json({KEY: "gap", "group": None})

    async def unknown_message(self, message: ChannelMessage) -> None:
        """Pass on what came for a subscribed group; ``ValueError`` for anything else."""
        group = getattr(message, "group", None)
        subscription = self._by_group.get(group or "")
        if subscription is None:
            if group is None or group in (self.groups or ()):
                await super().unknown_message(message)
        elif (change := _PRESENCE.get(message["type"])) is None:
            await self.forward(message)
        elif subscription.watch:
            await self.send_json(
                {
                    KEY: "presence",
                    "group": subscription.name,
                    change: message["members"],
                    "replaces": message.get("replaces", {}),
                }
            )

    # --- inside -------------------------------------------------------------------------------

    async def _control(self, content: dict[str, Any]) -> None:
        """Do what a frame with the key asks for; raises ``Refused``."""
        match content[KEY]:
            case "subscribe":
                await self._subscribe(content)
            case "unsubscribe":
                await self._unsubscribe(self._name_in(content))
            case "presence":
                await self._change_presence(content)
            case "ping":
                await self.send_json({KEY: "pong"})
            case _:
                raise Refused(
                    "channels is one of subscribe, unsubscribe, presence and ping", "malformed"
                )

    def _name_in(self, content: dict[str, Any]) -> str:
        name = content.get("group")
        if not isinstance(name, str) or not 0 < len(name) <= self.max_name_length:
            raise Refused(f"group has 1 to {self.max_name_length} characters", "malformed")
        return name

    async def _subscribe(self, content: dict[str, Any]) -> None:
        name, since = self._name_in(content), content.get("since")
        wanted, watch = content.get("presence"), content.get("watch", False)
        if since is not None and (not isinstance(since, str) or len(since) > MAX_SINCE):
            raise Refused("since is a position, 'last:' and a number, or left out", "malformed")
        if not (wanted is None or isinstance(wanted, dict)) or not isinstance(watch, bool):
            raise Refused("presence is an object, and watch true or false", "malformed")
        if name in self.subscriptions:
            raise Refused("the client has this group already", "subscribed")
        if len(self.subscriptions) >= self.max_groups:
            raise Refused(f"a client has at most {self.max_groups} groups", "limit")
        group = await self._group_for(name)
        presence = await self._presence_for(name, wanted)
        layer = self.channel_layer
        with _refusing(self):
            role = {"presence": presence, "watch": watch}
            start = await join_at(layer, group, self.channel_name, since, self.resync, **role)
        subscription = Subscription(name, group, watch)
        self.subscriptions[name] = self._by_group[group] = subscription
        await self.send_json(
            {
                KEY: "subscribed",
                "group": name,
                "recovered": start.recovered,
                "position": start.position,
                "durable": layer.options.history_of(group) is not None,
                "me": self.channel_name,
            }
        )
        if watch:
            await self._show_present(subscription)

    async def _group_for(self, name: str) -> str:
        group = await self.authorize_group(name)
        if group is None:
            raise Refused("the client may not have this group")
        try:
            check_group(group)
        except (TypeError, ValueError) as error:  # made from what the client sent
            logger.info("%s refuses %r: %s", type(self).__name__, name, error)
            raise Refused("there can be no such group") from error
        if group in self._by_group:
            raise Refused("the client has this group already, by another name", "subscribed")
        return group

    async def _presence_for(self, name: str, wanted: Any) -> Mapping[str, Any] | None:
        presence = await self.presence_for(name, wanted)
        if presence is None and wanted is not None:
            raise Refused("the client may not be present in this group")
        return presence

    async def _unsubscribe(self, name: str) -> None:
        subscription = self.subscriptions.pop(name, None)
        if subscription is not None:
            del self._by_group[subscription.group]
            await self.channel_layer.group_discard(subscription.group, self.channel_name)
            # What has come already must not be taken for what comes after another subscription.
            self._served_connection.forget(subscription.group)
        await self.send_json({KEY: "unsubscribed", "group": name})

    async def _change_presence(self, content: dict[str, Any]) -> None:
        name, wanted = self._name_in(content), content.get("presence")
        subscription = self.subscriptions.get(name)
        if subscription is None or not isinstance(wanted, dict):
            raise Refused("subscribe first; presence is an object", "malformed")
        presence = await self._presence_for(name, wanted)
        with _refusing(self):
            await self.channel_layer.group_add(
                subscription.group, self.channel_name, presence=presence, watch=subscription.watch
            )

    async def _show_present(self, subscription: Subscription) -> None:
        """Tell the client who is there; what is told twice, by the next change, is the same."""
        try:
            state = await self.channel_layer.presence(subscription.group)
        except BackendUnavailable as error:
            logger.info("%s cannot tell who is there: %s", type(self).__name__, error)
            return
        await self.send_json({KEY: "presence", "group": subscription.name, "state": state})


@contextmanager
def _refusing(consumer: ResumableWebsocketConsumer) -> Generator[None]:
    """Tell the client why it could not join."""
    try:
        yield
    except (MessageTooLarge, TypeError) as error:
        logger.info("%s refuses a presence: %s", type(consumer).__name__, error)
        raise Refused("presence is too large, or cannot be sent", "malformed") from error
    except TooManyGroups as error:
        logger.info("%s refuses a group: %s", type(consumer).__name__, error)
        raise Refused("the client has too many groups", "limit") from error
    except (BackendUnavailable, HistoryLost) as error:
        raise Refused("the broker does not answer; try again", "unavailable") from error
