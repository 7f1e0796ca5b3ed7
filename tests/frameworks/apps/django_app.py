"""Django alone: its ASGI application for HTTP, our routers for the rest."""

# ruff: noqa: E402  Django is set up before what needs it is imported

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "apps.django_settings")

from django.core.asgi import get_asgi_application

django = get_asgi_application()

from apps.chat import Chat, serve_lifespan
from django.urls import path

from fast_channels.routing import ProtocolTypeRouter, URLRouter


async def life(scope, receive, send):
    """Django has no lifespan of its own."""
    await serve_lifespan(receive, send)


routes = URLRouter([path("ws/<str:room>", Chat.as_asgi(greeting="django"))])
application = ProtocolTypeRouter({"http": django, "websocket": routes, "lifespan": life})
