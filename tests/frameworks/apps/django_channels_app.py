"""Django with Django Channels: our consumer behind their routers and middleware."""

# ruff: noqa: E402  Django is set up before what needs it is imported

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "apps.django_settings")

from django.core.asgi import get_asgi_application

django = get_asgi_application()

from apps.chat import Chat
from asgiref.sync import async_to_sync
from channels.auth import AuthMiddlewareStack
from channels.consumer import SyncConsumer
from channels.layers import get_channel_layer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.management import call_command
from django.urls import path

call_command("migrate", verbosity=0)


class Numbers(SyncConsumer):
    """Channels' own consumer, for jobs that ``runworker`` takes."""

    def double(self, message):
        answer = {"type": "doubled", "number": 2 * message["number"]}
        async_to_sync(get_channel_layer("shared").send)(message["reply"], answer)


routes = URLRouter([path("ws/<str:room>", Chat.as_asgi(greeting="django"))])
application = ProtocolTypeRouter(
    {
        "http": django,
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(routes)),
        "channel": ChannelNameRouter({"numbers": Numbers.as_asgi()}),
    }
)
