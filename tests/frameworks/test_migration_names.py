"""Every public name of Django Channels and of Fast Channels 1.1 is here, or its page says what is.

A class that is here has every public method and attribute, and takes every argument, that it has
there.
"""

import importlib
import inspect
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"

DJANGO_CHANNELS = {
    "channels": ["DEFAULT_CHANNEL_LAYER"],
    "channels.consumer": ["AsyncConsumer", "SyncConsumer", "get_handler_name"],
    "channels.generic.websocket": [
        "AsyncJsonWebsocketConsumer",
        "AsyncWebsocketConsumer",
        "JsonWebsocketConsumer",
        "WebsocketConsumer",
    ],
    "channels.generic.http": ["AsyncHttpConsumer"],
    "channels.exceptions": [
        "AcceptConnection",
        "ChannelFull",
        "DenyConnection",
        "InvalidChannelLayerError",
        "MessageTooLarge",
        "RequestAborted",
        "RequestTimeout",
        "StopConsumer",
    ],
    "channels.layers": [
        "BaseChannelLayer",
        "ChannelLayerManager",
        "InMemoryChannelLayer",
        "channel_layers",
        "get_channel_layer",
    ],
    "channels.routing": [
        "ChannelNameRouter",
        "ProtocolTypeRouter",
        "URLRouter",
        "get_default_application",
    ],
    "channels.auth": [
        "AuthMiddleware",
        "AuthMiddlewareStack",
        "BACKEND_SESSION_KEY",
        "HASH_SESSION_KEY",
        "SESSION_KEY",
        "UserLazyObject",
        "get_user",
        "login",
        "logout",
    ],
    "channels.sessions": [
        "CookieMiddleware",
        "InstanceSessionWrapper",
        "SessionMiddleware",
        "SessionMiddlewareStack",
    ],
    "channels.middleware": ["BaseMiddleware"],
    "channels.security.websocket": [
        "AllowedHostsOriginValidator",
        "OriginValidator",
        "WebsocketDenier",
    ],
    "channels.db": ["DatabaseSyncToAsync", "aclose_old_connections", "database_sync_to_async"],
    "channels.utils": ["await_many_dispatch", "name_that_thing"],
    "channels.worker": ["Worker"],
    "channels.testing": [
        "ApplicationCommunicator",
        "ChannelsLiveServerTestCase",
        "HttpCommunicator",
        "WebsocketCommunicator",
    ],
}

EVENTS = (
    "WebSocketConnectEvent WebSocketAcceptEvent WebSocketReceiveEvent WebSocketCloseEvent "
    "WebSocketDisconnectEvent HttpRequestEvent HttpResponseStartEvent HttpResponseBodyEvent "
    "HttpDisconnectEvent"
)
FAST_CHANNELS = {
    "consumer": "AsyncConsumer AsyncHttpConsumer AsyncWebsocketConsumer AsyncJsonWebsocketConsumer",
    "consumer.base": "AsyncConsumer get_handler_name",
    "consumer.http": "AsyncHttpConsumer",
    "consumer.websocket": "AsyncWebsocketConsumer AsyncJsonWebsocketConsumer",
    "exceptions": (
        "InvalidChannelLayerError AcceptConnection DenyConnection ChannelFull MessageTooLarge "
        "StopConsumer"
    ),
    "layers": (
        "BaseChannelLayer InMemoryChannelLayer ChannelLayerRegistry channel_layers "
        "get_channel_layer has_layers register_channel_layer unregister_channel_layer"
    ),
    "layers.base": "BaseChannelLayer",
    "layers.in_memory": "InMemoryChannelLayer",
    "layers.registry": (
        "ChannelLayerRegistry channel_layers get_channel_layer has_layers register_channel_layer "
        "unregister_channel_layer"
    ),
    "layers.redis": "RedisChannelLayer RedisPubSubChannelLayer",
    "layers.redis.core": "RedisChannelLayer ChannelFull ChannelLock BoundedQueue RedisLoopLayer",
    "layers.redis.pubsub": (
        "RedisPubSubChannelLayer RedisPubSubLoopLayer RedisSingleShardConnection"
    ),
    "layers.redis.serializers": (
        "SerializerDoesNotExist BaseMessageSerializer JSONSerializer MsgPackSerializer "
        "SerializersRegistry registry"
    ),
    "layers.redis.type_defs": "ChannelRawRedisHost ChannelDecodedRedisHost SymmetricEncryptionKeys",
    "layers.redis.utils": "consistent_hash wrap_close close_redis decode_hosts create_pool",
    "middleware": "BaseMiddleware OriginValidator WebsocketDenier",
    "middleware.base": "BaseMiddleware",
    "middleware.websocket": "OriginValidator WebsocketDenier",
    "testing": "ApplicationCommunicator HttpCommunicator WebsocketCommunicator",
    "testing.application": "ApplicationCommunicator",
    "testing.http": "HttpCommunicator",
    "testing.websocket": "WebsocketCommunicator",
    "type_defs": (
        "ChannelScope ChannelMessage ChannelHeaders ChannelCapacityPattern ChannelCapacityDict "
        "CompiledChannelCapacity CompiledChannelCapacities ASGIReceiveCallable ASGISendCallable "
        f"{EVENTS} ASGIApplication ASGIApplicationProtocol MiddlewareProtocol ChannelApplication"
    ),
    "utils": "await_many_dispatch is_same_domain",
}
REGISTRY = ("register", "unregister", "get", "list_aliases", "clear")

GONE = {
    "layers.redis.core": "ChannelLock BoundedQueue RedisLoopLayer",
    "layers.redis.pubsub": "RedisPubSubLoopLayer RedisSingleShardConnection",
    "layers.redis.serializers": FAST_CHANNELS["layers.redis.serializers"],
    "layers.redis.utils": "wrap_close close_redis decode_hosts create_pool",
}
"""Insides of 1.1's Redis layer that are no more: importing one says what to use instead."""


@pytest.fixture(autouse=True)
def in_place():
    """Nothing runs here."""


def names_in(text):
    """Return what stands between backticks."""
    return set(re.findall(r"`([^`]+)`", text))


def tables(page):
    """Return the page's two tables: of names that are here, and of those that have a substitute."""
    text = (DOCS / page).read_text(encoding="utf-8").partition("## Where every name is")[2]
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = [line.strip("|\n").split("|") for line in table.splitlines()[2:]]
        found.append([[cell.strip() for cell in row] for row in rows])
    here, instead = found
    return here, instead


def places():
    """Return where the page says that each name of Django Channels is: a module, or None."""
    here, instead = tables("from-django-channels.md")
    found = {}
    for theirs, ours in here:
        module, names = re.match(r"`([\w.]+)`: (.*)", theirs).groups()
        found |= {(module, name): ours.strip("`") for name in names_in(names)}
    for theirs, ours in instead:
        match = re.match(r"`([\w.]+)`: (.*)", theirs)
        assert ours, theirs
        if match:
            found |= {(match[1], name): None for name in names_in(match[2])}
    return found


PLACES = places()
ALL = [(module, name) for module, names in DJANGO_CHANNELS.items() for name in names]
HERE = [each for each in ALL if PLACES.get(each)]


def test_the_page_says_of_every_name_of_django_channels_where_it_is():
    assert [each for each in ALL if each not in PLACES] == []
    assert len(HERE) > 25


@pytest.mark.parametrize(("module", "name"), HERE)
def test_a_name_of_django_channels_is_where_the_page_says(module, name):
    assert hasattr(importlib.import_module(PLACES[module, name]), name)


def public_names(module):
    """Return the names that a module of Django Channels defines itself."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }


@pytest.mark.parametrize("module", DJANGO_CHANNELS)
def test_no_name_of_the_installed_django_channels_is_left_out(module):
    defined = public_names(importlib.import_module(module))
    assert defined - set(DJANGO_CHANNELS[module]) == set()


def classes():
    for module, name in HERE:
        theirs = getattr(importlib.import_module(module), name)
        if inspect.isclass(theirs):
            yield pytest.param(module, name, id=f"{module}.{name}")


def pair(module, name):
    """Return the class there and the class here."""
    theirs = getattr(importlib.import_module(module), name)
    return theirs, getattr(importlib.import_module(PLACES[module, name]), name)


NOT_TAKEN = {
    "Worker": (
        "application_checker application_checker_interval application_exception application_send "
        "delete_application_instance delete_oldest_application_instance "
        "get_or_create_application_instance handle listener"
    ),
    **dict.fromkeys(
        ("ApplicationCommunicator", "HttpCommunicator", "WebsocketCommunicator"),
        "input_queue output_queue",
    ),
}
"""Insides of asgiref, on which theirs are built."""


@pytest.mark.parametrize(("module", "name"), list(classes()))
def test_a_class_has_what_it_has_in_django_channels(module, name):
    theirs, ours = pair(module, name)
    public = {attribute for attribute in dir(theirs) if not attribute.startswith("_")}
    missing = {attribute for attribute in public if not hasattr(ours, attribute)}
    assert missing == set(NOT_TAKEN.get(name, "").split())


@pytest.mark.parametrize(("module", "name"), list(classes()))
def test_a_class_takes_what_it_takes_in_django_channels(module, name):
    theirs, ours = pair(module, name)
    if issubclass(theirs, Exception):
        return
    functions = [
        attribute
        for attribute, value in inspect.getmembers(theirs, inspect.isroutine)
        if (not attribute.startswith("_") or attribute == "__init__") and hasattr(ours, attribute)
    ]
    for function in functions:
        try:
            there = inspect.signature(getattr(theirs, function))
            here = inspect.signature(getattr(ours, function))
        except ValueError:
            continue  # a slot of object's
        taken = {parameter.kind for parameter in here.parameters.values()}
        for parameter in there.parameters.values():
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            by_name = parameter.name in here.parameters or parameter.VAR_KEYWORD in taken
            assert by_name or parameter.VAR_POSITIONAL in taken, (function, str(there), str(here))


@pytest.mark.parametrize("module", FAST_CHANNELS)
def test_a_name_of_fast_channels_1_1_is_where_it_was_or_the_page_says_what_is(module):
    here, instead = tables("from-fast-channels.md")
    gone = set(GONE.get(module, "").split())
    names = set(FAST_CHANNELS[module].split()) - gone
    found = importlib.import_module(f"fast_channels.{module}")
    assert {name for name in names if not hasattr(found, name)} == set()
    told = set().union(*(names_in(" ".join(row)) for row in here))
    assert names <= told
    if gone:
        [row] = [left for left, _ in instead if f"`fast_channels.{module}`" in left]
        assert names_in(row) == {f"fast_channels.{module}", *gone}
    for name in gone:
        with pytest.raises(
            ImportError, match=rf"^fast_channels\.{module}\.{name} went with .*; \w"
        ):
            getattr(found, name)


def test_the_registry_has_the_methods_of_1_1():
    from fast_channels.layers import ChannelLayerRegistry

    assert all(hasattr(ChannelLayerRegistry, name) for name in REGISTRY)
