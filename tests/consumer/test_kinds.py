"""``def`` and ``async def`` mixed up: one clear error, that says what to write."""

# ruff: noqa: RUF012  consumers are written here as applications write them

import functools

import pytest

from fast_channels import (
    AsyncHttpConsumer,
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    SyncConsumer,
    WebsocketConsumer,
)

pytestmark = pytest.mark.timeout(20)


async def method(self, *args, **kwargs):
    raise AssertionError("reached")


def plain(self, *args, **kwargs):
    """Do something, and return nothing to be awaited."""


SYNC = [
    (WebsocketConsumer, "connect"),
    (WebsocketConsumer, "receive"),
    (WebsocketConsumer, "disconnect"),
    (WebsocketConsumer, "send"),
    (WebsocketConsumer, "websocket_receive"),
    (WebsocketConsumer, "on_error"),
    (WebsocketConsumer, "channels_gap"),
    (JsonWebsocketConsumer, "receive_json"),
    (SyncConsumer, "send"),
]


@pytest.mark.parametrize(("base", "name"), SYNC)
def test_an_async_def_in_a_sync_consumer_is_refused_when_the_class_is_made(base, name):
    with pytest.raises(TypeError) as refused:
        type("Chat", (base,), {name: method})
    text = str(refused.value)
    assert text.startswith(f"Chat.{name} is 'async def'")
    assert f"write 'def {name}'" in text


def test_an_async_def_of_a_mixin_or_in_a_classmethod_is_refused_too():
    mixin = type("Mixin", (), {"connect": method})
    with pytest.raises(TypeError, match=r"Chat\.connect is 'async def'"):
        type("Chat", (mixin, WebsocketConsumer), {})
    with pytest.raises(TypeError, match=r"Chat\.encode_json is 'async def'"):
        type("Chat", (JsonWebsocketConsumer,), {"encode_json": classmethod(method)})


def test_other_async_methods_of_a_sync_consumer_are_free():
    """Applications call them by ``async_to_sync``."""
    type("Chat", (WebsocketConsumer,), {"load": method, "_accept": method})


@pytest.mark.parametrize("decorated", [False, True])
async def test_an_async_handler_of_a_sync_consumer_fails_at_its_first_message(
    connect, layer, decorated
):
    async def chat_message(self, message):
        raise AssertionError("reached")

    @functools.wraps(chat_message)
    def wrapper(self, message):
        return chat_message(self, message)

    class Chat(WebsocketConsumer):
        groups = ["all"]

    Chat.chat_message = wrapper if decorated else chat_message
    client = await connect(Chat)
    await layer.group_send("all", {"type": "chat.message"})
    error = await client.ended()
    assert isinstance(error, TypeError)
    assert "chat_message is 'async def'" in str(error)
    assert "write 'def'" in str(error)
    assert await client.hears_close() == 1011


@pytest.mark.parametrize("name", ["connect", "receive", "disconnect", "websocket_receive"])
async def test_a_plain_def_in_an_async_consumer_fails_where_it_is_first_called(
    connect, layer, name
):
    chat = type("Chat", (AsyncWebsocketConsumer,), {name: plain})
    client = await connect(chat)
    client.says("x")
    if name == "disconnect":
        client.leaves()
    error = await client.ended()
    assert isinstance(error, TypeError)
    assert str(error).startswith(f"Chat.{name} must be 'async def', for it is awaited")
    assert f"write 'async def {name}'" in str(error)


async def test_a_plain_handler_on_error_or_class_method_of_an_async_consumer_fails_alike(
    connect, layer
):
    class Chat(AsyncJsonWebsocketConsumer):
        groups = ["all"]

        def note(self, message):
            """Returns nothing to be awaited."""

        @classmethod
        def decode_json(cls, text_data):
            return text_data

    class Failing(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            raise ValueError

        def on_error(self, exception, message):
            """Returns nothing to be awaited."""

    clients = [await connect(each) for each in (Chat, Chat, Failing)]
    clients[0].says("{}")
    error = await clients[0].ended()
    assert str(error).startswith("Chat.decode_json must be 'async def'")
    assert "returned '{}'" in str(error)
    await layer.group_send("all", {"type": "note"})
    assert str(await clients[1].ended()).startswith("Chat.note must be 'async def'")
    clients[2].says("x")
    assert str(await clients[2].ended()).startswith("Failing.on_error must be 'async def'")


async def test_a_plain_def_that_returns_what_can_be_awaited_is_no_mistake(connect, layer, journal):
    def logged(function):
        def wrapper(self, *args, **kwargs):
            journal(function.__name__)
            return function(self, *args, **kwargs)

        return wrapper

    class Chat(AsyncWebsocketConsumer):
        def connect(self):
            return super().connect()

        @logged
        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data)

    class Louder(Chat):
        async def receive(self, text_data=None, bytes_data=None):
            await super().receive(text_data.upper())

    client = await connect(Louder)
    client.says("x")
    assert await client.hears() == "X"
    assert journal == ["receive"]


def test_handle_of_an_http_consumer_is_judged_as_well():
    chat = type("Poll", (AsyncHttpConsumer,), {"handle": plain})
    with pytest.raises(TypeError, match=r"Poll\.handle must be 'async def'"):
        chat().handle(b"")
