"""Middleware passes connections on, each with a scope of its own."""

from typing import Any

import pytest

from fast_channels.middleware import BaseMiddleware
from fast_channels.testing import ApplicationCommunicator


async def show_user(scope: Any, receive: Any, send: Any) -> None:
    scope["seen"] = True
    await send({"type": "user", "user": scope.get("user")})


class AddUser(BaseMiddleware):
    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        return await super().__call__({**scope, "user": "ann"}, receive, send)


async def test_what_a_middleware_adds_reaches_the_inner_application():
    async with ApplicationCommunicator(AddUser(show_user), {"type": "test"}) as client:
        assert await client.receive_output() == {"type": "user", "user": "ann"}


async def test_what_the_inner_application_changes_does_not_reach_the_outer_scope():
    scope = {"type": "test"}
    async with ApplicationCommunicator(BaseMiddleware(show_user), scope) as client:
        assert await client.receive_output() == {"type": "user", "user": None}
    assert scope == {"type": "test"}


async def test_what_the_inner_application_returns_is_returned():
    async def application(scope: Any, receive: Any, send: Any) -> str:
        return "result"

    assert await BaseMiddleware(application)({}, None, None) == "result"  # type: ignore[arg-type]


def test_the_inner_application_is_an_attribute():
    assert BaseMiddleware(show_user).inner is show_user


def test_what_is_no_application_is_refused():
    class Chat:
        @classmethod
        def as_asgi(cls) -> None: ...

    with pytest.raises(TypeError, match=r"pass Chat\.as_asgi\(\)"):
        BaseMiddleware(Chat)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be callable, and None is not"):
        BaseMiddleware(None)  # type: ignore[arg-type]
