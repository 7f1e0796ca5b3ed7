"""What a message of a layer can reach: methods that the application declared, and nothing else."""

# ruff: noqa: RUF012  consumers are written here as applications write them

import pytest

from fast_channels import AsyncConsumer, AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from fast_channels.consumer.base import get_handler_name
from fast_channels.consumer.handlers import layer_handlers

pytestmark = pytest.mark.timeout(20)

OUT_OF_REACH = [
    "send",
    "close",
    "accept",
    "deny",
    "connect",
    "disconnect",
    "receive",
    "receive_json",
    "receive.json",
    "send.json",
    "encode_json",
    "dispatch",
    "on_error",
    "on.error",
    "as_asgi",
    "hang_up",
    "client_left",
    "channel_receive",
    "unknown_message",
    "pass_on",
    "groups",
    "scope",
    "channel_layer",
    "channel_layer_alias",
    "base_send",
    "journal",
    "name",
    "_x",
    ".x",
    "_private",
    "__class__",
    "__init__",
    "__init_subclass__",
    "..class..",
    "",
    "mro",
    "Meta",
    "serializer.class",
    "websocket.connect",
    "websocket.receive",
    "websocket.disconnect",
    "websocket_connect",
    "websocket_receive",
    "websocket_disconnect",
    "websocket_send",
    "websocket_close",
    "websocket.custom",
    "http.request",
    "http.disconnect",
    "http_request",
    "no.such.handler",
    "no handler",
    "ünicode",
]


class Mixin:
    async def from_mixin(self, message):
        self.journal(("from_mixin", message["text"]))


class Everything(Mixin, AsyncJsonWebsocketConsumer):
    """Overrides what a layer must not reach, and declares handlers."""

    groups = ["all"]
    journal = None
    problems = None

    class Meta:
        def __init__(self, message):
            raise AssertionError("reached")

    serializer_class = Meta

    async def declared(self, message):
        self.journal(("declared", message["text"]))

    async def chat_message(self, message):
        self.journal(("chat_message", message["text"]))

    async def on_error(self, exception, message):
        self.problems((type(exception), str(exception), message["type"]))

    @property
    def name(self):
        return "a property is no handler"

    async def _private(self, message):
        raise AssertionError("reached")

    async def websocket_custom(self, message):
        raise AssertionError("reached")

    async def http_request(self, message):
        raise AssertionError("reached")


def _override(name):
    base = getattr(AsyncJsonWebsocketConsumer, name)

    async def method(self, *args, **kwargs):
        for argument in (*args, *kwargs.values()):
            assert not (isinstance(argument, dict) and "evil" in argument), name
        return await base(self, *args, **kwargs)

    return method


class Overriding(Everything):
    """The same, with an own version of each method of the base classes."""

    send = _override("send")
    close = _override("close")
    accept = _override("accept")
    connect = _override("connect")
    disconnect = _override("disconnect")
    receive = _override("receive")
    receive_json = _override("receive_json")
    send_json = _override("send_json")
    channel_receive = _override("channel_receive")
    pass_on = _override("pass_on")
    websocket_connect = _override("websocket_connect")
    websocket_receive = _override("websocket_receive")
    websocket_disconnect = _override("websocket_disconnect")


class Problems(list):
    """What ``on_error`` heard of; a consumer calls it."""

    __call__ = list.append


@pytest.fixture
def problems():
    return Problems()


@pytest.mark.parametrize("consumer", [Everything, Overriding])
async def test_names_of_the_base_classes_reach_nothing_even_overridden(
    connect, layer, journal, problems, consumer
):
    client = await connect(consumer.as_asgi(journal=journal, problems=problems))
    for kind in OUT_OF_REACH:
        await layer.group_send("all", {"type": kind, "evil": True, "text": "evil", "code": 1000})
    # The fence: what came before it was handled before it.
    await layer.group_send("all", {"type": "declared", "text": "fence"})
    await journal.has(("declared", "fence"))
    assert journal == [("declared", "fence")]
    assert [kind for _, _, kind in problems] == OUT_OF_REACH
    assert {error for error, _, _ in problems} == {ValueError}
    assert len(client.sent) == 1  # accepted, and nothing else
    await client.end()


async def test_declared_methods_and_those_of_mixins_are_reached(connect, layer, journal, problems):
    await connect(Everything.as_asgi(journal=journal, problems=problems))
    for kind in ("declared", "chat.message", "chat_message", "from.mixin", "from_mixin"):
        await layer.group_send("all", {"type": kind, "text": kind})
    await journal.until(lambda: len(journal) == 5)
    assert journal == [
        ("declared", "declared"),
        ("chat_message", "chat.message"),
        ("chat_message", "chat_message"),
        ("from_mixin", "from.mixin"),
        ("from_mixin", "from_mixin"),
    ]
    assert not problems


async def test_an_unknown_type_is_a_value_error_that_names_the_consumer_and_the_type(
    connect, layer, journal, problems
):
    await connect(Everything.as_asgi(journal=journal, problems=problems))
    await layer.group_send("all", {"type": "chat.mesage"})
    await layer.group_send("all", {"type": "declared", "text": ""})
    await journal.until(lambda: len(journal) == 1)
    [(error, text, _)] = problems
    assert error is ValueError
    assert "Everything" in text
    assert "'chat.mesage'" in text


async def test_an_unknown_type_ends_the_connection_unless_on_error_keeps_it(connect, layer):
    class Consumer(AsyncWebsocketConsumer):
        groups = ["all"]

    client = await connect(Consumer)
    await layer.group_send("all", {"type": "nothing"})
    assert await client.hears_close() == 1011
    assert isinstance(await client.ended(), ValueError)


async def test_websocket_send_and_close_go_to_the_client_as_they_are(connect, layer):
    class Consumer(AsyncWebsocketConsumer):
        groups = ["all"]

    client = await connect(Consumer)
    await layer.group_send("all", {"type": "websocket.send", "text": "hello"})
    assert await client.gets() == {"type": "websocket.send", "text": "hello"}
    await layer.group_send("all", {"type": "websocket.send", "bytes": b"\x00\xff"})
    assert await client.gets() == {"type": "websocket.send", "bytes": b"\x00\xff"}
    await layer.group_send("all", {"type": "websocket.close", "code": 4000})
    assert await client.gets() == {"type": "websocket.close", "code": 4000}
    assert await client.ended() is None


async def test_a_consumer_may_declare_a_handler_for_websocket_send(connect, layer, journal):
    class Consumer(AsyncWebsocketConsumer):
        groups = ["all"]

        async def websocket_send(self, message):
            await self.send(message["text"].upper())

    client = await connect(Consumer)
    await layer.group_send("all", {"type": "websocket.send", "text": "hello"})
    assert await client.hears() == "HELLO"


async def test_a_gap_is_ignored_unless_it_is_handled(connect, layer, journal):
    class Ignoring(AsyncWebsocketConsumer):
        groups = ["all"]

        async def note(self, message):
            journal("note")

    class Handling(Ignoring):
        async def channels_gap(self, message):
            journal(message["group"])

    await connect(Ignoring)
    client = await connect(Handling)
    await layer.group_send("all", {"type": "channels.gap", "group": "room"})
    await layer.group_send("all", {"type": "note"})
    await journal.until(lambda: journal.count("note") == 2)
    assert [entry for entry in journal if entry != "note"] == ["room"]
    await client.end()


async def test_an_overridden_dispatch_sees_every_message_that_may_reach_the_consumer(
    connect, layer, journal, problems
):
    class Consumer(Everything):
        async def dispatch(self, message):
            journal(message["type"])
            await super().dispatch(message)

    client = await connect(Consumer.as_asgi(journal=journal, problems=problems))
    client.says('{"a": 1}')
    await client.read()
    await layer.group_send("all", {"type": "chat.message", "text": "hi"})
    for kind in OUT_OF_REACH:
        await layer.group_send("all", {"type": kind, "evil": True})
    await layer.group_send("all", {"type": "declared", "text": "fence"})
    await journal.has(("declared", "fence"))
    await client.end()
    assert journal == [
        "websocket.connect",
        "websocket.receive",
        "chat.message",
        ("chat_message", "hi"),
        "declared",
        ("declared", "fence"),
        "websocket.disconnect",
    ]


async def test_an_overridden_dispatch_keeps_every_promise_about_errors(connect, layer, journal):
    class Consumer(AsyncWebsocketConsumer):
        groups = ["all"]

        async def dispatch(self, message):
            if message["type"] == "note":
                raise ValueError("in dispatch")
            await super().dispatch(message)

        async def note(self, message):
            raise AssertionError("not reached")

        async def disconnect(self, code):
            journal(code)

    client = await connect(Consumer)
    await layer.group_send("all", {"type": "note"})
    assert str(await client.ended()) == "in dispatch"
    assert journal == [1011]


async def test_what_one_consumer_declares_another_does_not_answer_to(connect, layer, journal):
    class One(AsyncWebsocketConsumer):
        groups = ["all"]

        async def only_one(self, message):
            journal("one")

    class Two(AsyncWebsocketConsumer):
        groups = ["all"]

        async def on_error(self, exception, message):
            journal("two does not know it")

    await connect(One)
    await connect(Two)
    await layer.group_send("all", {"type": "only.one"})
    await journal.has("one", "two does not know it")


async def test_unknown_types_are_not_remembered(connect, layer, journal, problems):
    await connect(Everything.as_asgi(journal=journal, problems=problems))
    for number in range(50):
        await layer.group_send("all", {"type": f"hostile.{number}"})
    await layer.group_send("all", {"type": "declared", "text": ""})
    await journal.until(lambda: len(journal) == 1)
    assert len(problems) == 50
    assert not any("hostile" in kind for kind in layer_handlers(Everything))


async def test_an_event_of_the_server_that_is_not_declared_is_a_value_error(connect, layer):
    class Consumer(AsyncConsumer):
        async def websocket_connect(self, message):
            await self.send({"type": "websocket.accept"})

    client = await connect(Consumer)
    client.says("x")
    error = await client.ended()
    assert isinstance(error, ValueError)
    assert "Consumer" in str(error)
    assert "'websocket.receive'" in str(error)


def test_a_handlers_name_is_its_type_with_underscores():
    assert get_handler_name({"type": "chat.message"}) == "chat_message"
    assert get_handler_name({"type": "chat"}) == "chat"


@pytest.mark.parametrize("message", [{}, {"type": None}, {"type": ""}, {"type": 1}])
def test_a_message_without_a_type_has_no_handler(message):
    with pytest.raises(ValueError, match="no 'type' that is a str"):
        get_handler_name(message)


@pytest.mark.parametrize("kind", ["_x", ".x", "__class__"])
def test_a_type_that_begins_with_an_underscore_or_a_dot_has_no_handler(kind):
    with pytest.raises(ValueError, match="begins with an underscore or a dot"):
        get_handler_name({"type": kind})
