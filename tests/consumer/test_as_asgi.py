"""A consumer becomes an ASGI application, takes arguments, and finds its layer."""

# ruff: noqa: RUF012  consumers are written here as applications write them

import inspect

import httpx
import pytest

from fast_channels import AsyncConsumer, AsyncWebsocketConsumer, register_channel_layer
from fast_channels.exceptions import InvalidChannelLayerError, LayerNotFound

pytestmark = pytest.mark.timeout(20)


async def test_as_asgi_hands_its_arguments_to_the_consumer_of_each_connection(connect):
    class Consumer(AsyncWebsocketConsumer):
        def __init__(self, room, **kwargs):
            super().__init__(**kwargs)
            self.room = room

        async def receive(self, text_data=None, bytes_data=None):
            await self.send(f"{self.room} {text_data}")

    lobby, attic = Consumer.as_asgi(room="lobby"), Consumer.as_asgi(room="attic")
    for application, room in ((lobby, "lobby"), (attic, "attic"), (lobby, "lobby")):
        client = await connect(application)
        client.says("x")
        assert await client.hears() == f"{room} x"


async def test_as_asgi_sets_attributes_that_the_class_has(connect):
    class Consumer(AsyncWebsocketConsumer):
        greeting = "hello"

        async def connect(self):
            await self.accept()
            await self.send(self.greeting)

    application = Consumer.as_asgi(greeting="good day")
    client = await connect(application)
    assert await client.hears() == "good day"
    assert Consumer.greeting == "hello"


@pytest.mark.parametrize("name", ["room", "_private", "scope"])
async def test_an_argument_that_the_class_does_not_know_is_an_error_that_names_it(connect, name):
    class Consumer(AsyncWebsocketConsumer):
        _private = 1

    client = await connect(Consumer.as_asgi(**{name: "x"}))
    error = await client.ended()
    assert type(error) is TypeError
    assert str(error).startswith(f"Consumer has no attribute '{name}' to set")


def test_an_application_knows_its_consumer_as_in_django_channels():
    application = AsyncWebsocketConsumer.as_asgi(groups=["a"])
    assert application.consumer_class is AsyncWebsocketConsumer
    assert application.consumer_initkwargs == {"groups": ["a"]}
    assert "AsyncWebsocketConsumer" in repr(application)


def test_an_application_is_an_object_which_starlette_does_not_take_for_an_endpoint():
    application = AsyncConsumer.as_asgi()
    assert callable(application)
    assert not inspect.isfunction(application)
    assert not inspect.ismethod(application)
    assert not inspect.isclass(application)


async def test_each_connection_has_an_instance_of_its_own(connect):
    class Consumer(AsyncWebsocketConsumer):
        count = 0

        async def receive(self, text_data=None, bytes_data=None):
            self.count += 1
            await self.send(f"{self.count} {self.scope['path']}")

    application = Consumer.as_asgi()
    first, second = await connect(application, "/first"), await connect(application, "/second")
    for client in (first, first, second):
        client.says("x")
    assert [await first.hears(), await first.hears()] == ["1 /first", "2 /first"]
    assert await second.hears() == "1 /second"


async def test_a_list_of_groups_is_not_shared_between_instances(connect, layer, journal):
    class Consumer(AsyncWebsocketConsumer):
        groups = ["all"]

        async def connect(self):
            self.groups.append(self.scope["path"].strip("/"))
            await self.channel_layer.group_add(self.groups[-1], self.channel_name)
            await self.accept()

        async def disconnect(self, code):
            journal(self.groups)

    for name in ("first", "second"):
        client = await connect(Consumer, f"/{name}")
        assert set(layer.groups) == {"all", name}
        await client.end()
        assert layer.groups == {}
    assert journal == [["all", "first"], ["all", "second"]]
    assert Consumer.groups == ["all"]


@pytest.mark.parametrize("declared", [None, ["early"]])
async def test_a_consumer_may_add_groups_in_its_constructor(connect, layer, declared):
    """As in Django Channels, where ``groups`` is a list once ``__init__`` has run."""

    class Consumer(AsyncWebsocketConsumer):
        groups = declared

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.groups.append("late")

    for _ in range(2):
        client = await connect(Consumer)
        assert sorted(layer.groups) == [*(declared or ()), "late"]
        await client.end()
        assert layer.groups == {}
    assert Consumer.groups in (None, ["early"])


async def test_groups_can_be_given_to_as_asgi(connect, layer):
    groups = ["a", "b"]
    client = await connect(AsyncWebsocketConsumer.as_asgi(groups=groups))
    assert set(layer.groups) == {"a", "b"}
    await client.end()
    assert groups == ["a", "b"]


@pytest.mark.parametrize("kind", ["lifespan", "channel"])
async def test_a_scope_that_is_no_websocket_is_refused_and_no_handler_runs(layer, kind):
    class Consumer(AsyncWebsocketConsumer):
        groups = ["all"]

        async def connect(self):
            raise AssertionError("called")

        async def disconnect(self, code):
            raise AssertionError("called")

    async def receive():
        raise AssertionError("called")

    with pytest.raises(ValueError, match=f"Consumer does not serve scopes of type '{kind}'"):
        await Consumer.as_asgi()({"type": kind}, receive, receive)
    assert layer.stats()["channels"] == 0


async def test_a_plain_http_request_for_a_websocket_is_answered_with_426(layer):
    class Consumer(AsyncWebsocketConsumer):
        async def connect(self):
            raise AssertionError("called")

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(Consumer.as_asgi()), base_url="http://test"
    ) as client:
        response = await client.get("/")
    assert (response.status_code, response.headers["upgrade"]) == (426, "websocket")
    assert response.text == "this address speaks WebSocket\n"
    assert layer.stats()["channels"] == 0


async def test_a_bare_consumer_serves_everything_but_the_lifespan(connect, journal):
    class Consumer(AsyncConsumer):
        async def websocket_connect(self, message):
            journal(self.scope["type"])
            await self.send({"type": "websocket.accept"})

    await connect(Consumer, type="anything")
    assert journal == ["anything"]
    with pytest.raises(ValueError, match="does not serve scopes of type 'lifespan'"):
        await Consumer.as_asgi()({"type": "lifespan"}, None, None)


# --- which layer ----------------------------------------------------------------------------------


async def test_without_any_layer_a_consumer_works_and_has_none(connect):
    class Consumer(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send(f"{text_data} {self.channel_layer}")

    client = await connect(Consumer)
    client.says("x")
    assert await client.hears() == "x None"


async def test_the_default_layer_is_used_where_there_is_one(connect, layer):
    class Consumer(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send(f"{self.channel_layer is layer} {'!' in self.channel_name}")

    client = await connect(Consumer)
    client.says("x")
    assert await client.hears() == "True True"


async def test_an_alias_names_another_layer(connect, layer):
    other = register_channel_layer("other", "memory://")

    class Consumer(AsyncWebsocketConsumer):
        channel_layer_alias = "other"
        groups = ["all"]

    client = await connect(Consumer)
    assert list(other.groups) == ["all"]
    assert layer.groups == {}
    await client.end()
    await other.close()


async def test_no_alias_means_no_layer(connect, layer):
    class Consumer(AsyncWebsocketConsumer):
        channel_layer_alias = None

        async def receive(self, text_data=None, bytes_data=None):
            await self.send(str(self.channel_layer))

    client = await connect(Consumer)
    client.says("x")
    assert await client.hears() == "None"


@pytest.mark.parametrize("way", ["class", "as_asgi"])
async def test_an_alias_that_is_not_registered_fails_at_once_with_a_suggestion(connect, layer, way):
    register_channel_layer("chat", layer)

    class Consumer(AsyncWebsocketConsumer):
        pass

    if way == "class":
        Consumer.channel_layer_alias = "chta"
        application = Consumer.as_asgi()
    else:
        application = Consumer.as_asgi(channel_layer_alias="chta")
    client = await connect(application)
    error = await client.ended()
    assert type(error) is LayerNotFound
    assert str(error).startswith(
        "no channel layer is registered as 'chta'; registered: 'default', 'chat'; "
        "did you mean 'chat'? "
    )
    assert client.sent == []


async def test_an_application_that_says_default_itself_needs_the_layer(connect):
    class Consumer(AsyncWebsocketConsumer):
        channel_layer_alias = "default"

    error = await (await connect(Consumer)).ended()
    assert type(error) is LayerNotFound
    assert "no channel layer is registered as 'default'; registered: none" in str(error)


async def test_groups_without_a_layer_are_an_error_that_says_what_to_do(connect):
    class Consumer(AsyncWebsocketConsumer):
        groups = ["all"]

    error = await (await connect(Consumer)).ended()
    assert type(error) is InvalidChannelLayerError
    assert str(error) == (
        "Consumer has groups, but no channel layer is registered as 'default'; "
        "call register_channel_layer() at start-up"
    )
