"""The application that refuses every socket."""

from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.middleware import WebsocketDenier
from fast_channels.testing import WebsocketCommunicator


async def test_every_socket_is_refused_by_a_close_which_servers_turn_into_403():
    async with WebsocketCommunicator(WebsocketDenier.as_asgi(), "/") as client:
        assert await client.connect() == (False, 1000)
        assert client.denial is None


def test_it_is_a_consumer_that_uses_no_layer():
    assert issubclass(WebsocketDenier, AsyncWebsocketConsumer)
    assert WebsocketDenier.channel_layer_alias is None
