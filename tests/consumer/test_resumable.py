"""Clients of WebSockets that subscribe, come back, and miss nothing, or are told."""

# ruff: noqa: RUF012  written as applications write it

import asyncio
import json

import pytest

from fast_channels import InMemoryChannelLayer, ResumableWebsocketConsumer, register_channel_layer
from fast_channels.consumer import Refused
from fast_channels.exceptions import BackendUnavailable, InvalidChannelLayerError
from fast_channels.layers import HistoryPolicy
from fast_channels.layers.registry import channel_layers

pytestmark = pytest.mark.timeout(20)


class Rooms(ResumableWebsocketConsumer):
    """Everybody may have every room; a room "me" is the user's own."""

    max_groups = 3
    max_name_length = 40

    async def authorize_group(self, name):
        if name.startswith("secret"):
            return None
        return "chat.ann" if name == "me" else f"chat.{name}"

    async def presence_for(self, name, wanted):
        return wanted if name != "shy" else None

    async def receive_json(self, content, **kwargs):
        await self.send_json({"heard": content})

    async def chat_loud(self, message):
        await self.forward(message, {"loud": message["n"]})


@pytest.fixture
async def layer():
    """A layer that keeps the groups "chat.*" except "chat.live*", for the consumers of a test."""
    made = register_channel_layer(
        "default",
        "memory://resumable",
        history={"chat.[!l]*": HistoryPolicy(keep=50), "chat.l[!i]*": HistoryPolicy()},
        capacity=10,
        presence_lease=1.5,
    )
    yield made
    await made.flush()
    await made.close()


def say(client, kind, group=None, **fields):
    client.says(json.dumps({"channels": kind, **({"group": group} if group else {}), **fields}))


async def heard(client):
    return json.loads(await client.hears())


async def subscribe(client, group, **fields):
    """Return the answer."""
    say(client, "subscribe", group, **fields)
    answer = await heard(client)
    assert answer["channels"] == "subscribed", answer
    assert answer["group"] == group
    return answer


async def messages(client, count):
    """Return the next messages as (group, number), and the last position."""
    found, position = [], None
    for _ in range(count):
        frame = await heard(client)
        assert frame["channels"] == "message", frame
        position = frame["position"]
        found.append((frame["group"], frame["data"].get("n")))
    return found, position


async def publish(layer, *numbers, group="chat.a", kind="chat.message"):
    for n in numbers:
        await layer.group_send(group, {"type": kind, "n": n})


async def test_a_client_that_comes_back_gets_what_it_missed_and_goes_on_live(layer, connect):
    client = await connect(Rooms)
    answer = await subscribe(client, "a")
    assert answer["recovered"] is True
    assert answer["durable"] is True
    await publish(layer, 0, 1)
    assert (await messages(client, 2))[0] == [("a", 0), ("a", 1)]
    position = (await messages_after(layer, client, 2))[1]
    await client.end()
    await publish(layer, *range(3, 33))

    client = await connect(Rooms)
    answer = await subscribe(client, "a", since=position)
    assert (answer["recovered"], answer["position"]) == (True, position)
    await publish(layer, 33)
    assert (await messages(client, 31))[0] == [("a", n) for n in range(3, 34)]


async def messages_after(layer, client, number):
    await publish(layer, number)
    return await messages(client, 1)


async def test_a_client_that_left_before_the_first_message_misses_nothing(layer, connect):
    for since in (None, "last:5"):
        client = await connect(Rooms)
        position = (await subscribe(client, f"b{since}".replace(":", "."), since=since))["position"]
        await client.end()
        group = f"chat.b{since}".replace(":", ".")
        await publish(layer, *range(9), group=group)
        client = await connect(Rooms)
        assert (await subscribe(client, group[5:], since=position))["recovered"] is True
        assert [n for _, n in (await messages(client, 9))[0]] == list(range(9))


async def test_the_newest_come_on_joining_where_they_are_asked_for(layer, connect):
    await publish(layer, *range(9))
    client = await connect(Rooms)
    answer = await subscribe(client, "a", since="last:3")
    assert (answer["recovered"], answer["position"]) == (True, None)
    assert (await messages(client, 3))[0] == [("a", 6), ("a", 7), ("a", 8)]


@pytest.mark.parametrize("lost", ["", "nonsense", "last:x", "last:9999", "trimmed", "other", "new"])
async def test_who_cannot_be_caught_up_is_told_and_gets_what_the_policy_says(layer, connect, lost):
    start = await layer.group_position("chat.a")
    await publish(layer, *range(60))  # 50 are kept
    since = {"trimmed": start, "other": await layer.group_position("chat.b")}.get(lost, lost)
    if lost == "new":  # the history was lost and begun anew
        since = await layer.group_position("chat.a")
        await layer.flush()
        await publish(layer, *range(58, 60))

    class Resyncing(Rooms):
        resync = "last:2"

    for consumer, expected in ((Rooms, []), (Resyncing, [58, 59])):
        client = await connect(consumer)
        answer = await subscribe(client, "a", since=since)
        assert answer["recovered"] is False
        await publish(layer, "next")
        found, _ = await messages(client, len(expected) + 1)
        if expected:
            expected = [59, "next"]  # the other client's "next" is one of the two
        assert [n for _, n in found] == [*expected, "next"]
        await client.end()


async def test_a_group_that_is_not_kept_is_live_and_a_return_is_no_recovery(layer, connect):
    client = await connect(Rooms)
    answer = await subscribe(client, "live")
    assert answer["recovered"] is True
    assert (answer["durable"], answer["position"]) == (False, None)
    await publish(layer, 1, group="chat.live")
    await publish(layer, [2], group="chat.live")  # nested
    assert await messages(client, 2) == ([("live", 1), ("live", [2])], None)
    await client.end()
    for since in ("", "last:5", "nonsense"):
        client = await connect(Rooms)
        assert (await subscribe(client, "live", since=since))["recovered"] is False
        await client.end()


async def test_messages_go_to_a_handler_or_to_the_client_with_all_that_they_say(layer, connect):
    client = await connect(Rooms)
    await subscribe(client, "a")
    await publish(layer, 1, kind="chat.loud")
    loud = await heard(client)
    assert (loud["channels"], loud["data"]) == ("message", {"loud": 1})
    for kind in ("chat.message", "receive.json", "send"):  # ours are out of reach
        await publish(layer, 2, kind=kind)
        frame = await heard(client)
        assert frame["data"] == {"type": kind, "n": 2}


async def test_what_the_client_says_without_the_key_is_the_applications(layer, connect):
    client = await connect(Rooms)
    for content in ({"type": "x"}, ["channels"], "channels", None, {"group": "a"}):
        client.says(json.dumps(content))
        assert await heard(client) == {"heard": content}
    say(client, "ping")
    assert await heard(client) == {"channels": "pong"}


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"channels": "subscribe", "group": "secret"}, "refused"),
        ({"channels": "subscribe", "group": "no such room"}, "refused"),
        ({"channels": "subscribe", "group": "shy", "presence": {}}, "refused"),
        ({"channels": "subscribe", "group": "x" * 41}, "malformed"),
        ({"channels": "subscribe", "group": ""}, "malformed"),
        ({"channels": "subscribe"}, "malformed"),
        ({"channels": "subscribe", "group": ["a"]}, "malformed"),
        ({"channels": "subscribe", "group": "a", "since": 7}, "malformed"),
        ({"channels": "subscribe", "group": "a", "since": "x" * 201}, "malformed"),
        ({"channels": "subscribe", "group": "a", "watch": 1}, "malformed"),
        ({"channels": "subscribe", "group": "a", "presence": "ann"}, "malformed"),
        ({"channels": "subscribe", "group": "a", "presence": {"x": "y" * 5000}}, "malformed"),
        ({"channels": "subscribe", "group": "a", "presence": {"x": 2**70}}, "malformed"),
        ({"channels": "unsubscribe", "group": None}, "malformed"),
        ({"channels": "presence", "group": "a", "presence": {}}, "malformed"),
        ({"channels": "launch"}, "malformed"),
        ({"channels": {}}, "malformed"),
    ],
)
async def test_what_cannot_be_done_is_answered_and_the_connection_goes_on(
    layer, connect, frame, code
):
    client = await connect(Rooms)
    client.says(json.dumps(frame))
    answer = await heard(client)
    assert (answer["channels"], answer["code"]) == ("error", code)
    group = frame.get("group")
    assert answer.get("group") == (group if isinstance(group, str) and len(group) < 41 else None)
    await subscribe(client, "a")


async def test_by_default_no_group_is_given(layer, connect):
    client = await connect(ResumableWebsocketConsumer)
    say(client, "subscribe", "a")
    assert (await heard(client))["code"] == "refused"


async def test_a_client_has_so_many_groups_and_each_once(layer, connect):
    client = await connect(Rooms)
    for name in ("me", "b", "c"):
        await subscribe(client, name)
    codes = []
    for name in ("b", "d"):
        say(client, "subscribe", name)
        codes.append((await heard(client))["code"])
    say(client, "unsubscribe", "c")
    assert await heard(client) == {"channels": "unsubscribed", "group": "c"}
    say(client, "subscribe", "ann")  # another name of "me"
    codes.append((await heard(client))["code"])
    assert codes == ["subscribed", "limit", "subscribed"]
    await subscribe(client, "d")


async def test_the_layers_own_limit_of_groups_refuses_as_well(connect):
    layer = InMemoryChannelLayer(max_groups=1)
    channel_layers.register("default", layer)
    client = await connect(Rooms)
    await subscribe(client, "b")
    say(client, "subscribe", "c")
    assert (await heard(client))["code"] == "limit"
    say(client, "unsubscribe", "b")
    assert (await heard(client))["channels"] == "unsubscribed"
    await subscribe(client, "c")
    await client.end()
    await layer.close()


async def test_a_subscription_that_is_renewed_gives_each_message_once(layer, connect):
    client = await connect(Rooms)
    start = (await subscribe(client, "a"))["position"]
    await subscribe(client, "live")
    await publish(layer, 0)
    _, position = await messages(client, 1)
    # All at once: the messages are there when the consumer comes to the three requests.
    client.writable.clear()
    say(client, "ping")
    for name in ("a", "live"):
        say(client, "unsubscribe", name)
    say(client, "subscribe", "a", since=position)
    await asyncio.sleep(0)
    await publish(layer, 1, 2, 3)
    await publish(layer, 4, group="chat.live")
    client.writable.set()
    kinds = [(await heard(client))["channels"] for _ in range(4)]
    assert kinds == ["pong", "unsubscribed", "unsubscribed", "subscribed"]
    assert (await messages(client, 3))[0] == [("a", 1), ("a", 2), ("a", 3)]
    say(client, "unsubscribe", "a")
    await heard(client)
    await subscribe(client, "a", since=start)
    assert [n for _, n in (await messages(client, 4))[0]] == [0, 1, 2, 3]


async def test_a_gap_is_told_by_the_clients_name_of_the_group(layer, connect):
    client = await connect(Rooms)
    await subscribe(client, "live")
    await subscribe(client, "me")
    for backend in layer.open_backends:
        backend._inbox.gap(BackendUnavailable("gone for a moment"))
    assert await heard(client) == {"channels": "gap", "group": "live"}
    await publish(layer, 1, group="chat.ann")
    assert (await messages(client, 1))[0] == [("me", 1)]


async def test_who_is_there_is_listed_and_kept_up_to_date(layer, connect):
    ann, bob = await connect(Rooms), await connect(Rooms)
    me = (await subscribe(ann, "a", presence={"user": "ann"}, watch=True))["me"]
    state = await heard(ann)
    assert state["state"] == {me: {"user": "ann"}}
    joined = await heard(ann)
    assert joined["joins"] == {me: {"user": "ann"}}
    him = (await subscribe(bob, "a", presence={"user": "bob"}))["me"]
    joined = {"channels": "presence", "group": "a", "joins": {him: {"user": "bob"}}, "replaces": {}}
    assert await heard(ann) == joined
    say(bob, "presence", "a", presence={"user": "Bob"})
    changed = await heard(ann)
    assert (changed["joins"], changed["replaces"]) == ({him: {"user": "Bob"}}, {him: him})
    await publish(layer, 1)
    assert (await messages(bob, 1))[0] == [("a", 1)]  # who does not watch is told nothing else
    assert (await messages(ann, 1))[0] == [("a", 1)]
    await bob.end()
    left = await heard(ann)  # after the hold
    assert left["leaves"] == {him: {"user": "Bob"}}


async def test_an_unknown_message_to_the_channel_or_an_own_group_is_an_error(layer, connect):
    class Own(Rooms):
        groups = ["chat.own"]

    for group in (None, "chat.own"):
        client = await connect(Own)
        name = (await subscribe(client, "a"))["me"]
        if group is None:
            await layer.send(name, {"type": "chat.odd"})
        else:
            await layer.group_send(group, {"type": "chat.odd"})
        assert await client.hears_close() == 1011
        assert "chat.odd" in str(await client.ended())


class Flaky(InMemoryChannelLayer):
    """A layer whose broker does not answer."""

    fails = True

    async def group_add(self, group, channel, **role):
        if self.fails:
            raise BackendUnavailable("the broker did not answer within 5 s")
        await super().group_add(group, channel, **role)

    async def presence(self, group):
        raise BackendUnavailable("the broker did not answer within 5 s")


async def test_while_the_broker_does_not_answer_the_client_is_told_to_try_again(connect):
    layer = Flaky()
    channel_layers.register("default", layer)
    client = await connect(Rooms)
    say(client, "subscribe", "a", watch=True)
    answer = await heard(client)
    assert (answer["code"], answer["group"]) == ("unavailable", "a")
    layer.fails = False
    await subscribe(client, "a", watch=True)  # nobody can say who is there, and it goes on
    await publish(layer, 1)
    assert (await heard(client))["data"]["n"] == 1
    layer.fails = True
    say(client, "presence", "a", presence={"user": "ann"})
    assert (await heard(client))["code"] == "unavailable"
    await client.end()
    await layer.close()


async def test_a_refusal_may_say_why(layer, connect):
    class Picky(Rooms):
        async def authorize_group(self, name):
            raise Refused("not on Sundays", "closed")

    client = await connect(Picky)
    say(client, "subscribe", "a")
    answer = {"channels": "error", "code": "closed", "detail": "not on Sundays", "group": "a"}
    assert await heard(client) == answer


async def test_a_layer_that_cannot_resume_is_named(connect):
    channel_layers.clear()
    client = await connect(Rooms)
    assert isinstance(await client.ended(), InvalidChannelLayerError)
