"""The HTTP side of the Django applications."""

from apps.chat import announce, inside
from django.http import JsonResponse
from django.urls import path


async def look_inside(request):
    return JsonResponse(inside())


async def announce_to_room(request, room):
    await announce(room, request.GET["text"], int(request.GET.get("times", 1)))
    return JsonResponse(inside())


urlpatterns = [
    path("inside", look_inside),
    path("announce/<str:room>", announce_to_room),
]
