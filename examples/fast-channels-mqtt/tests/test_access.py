"""URLs, and brokers that do not let us in or fall silent."""

import asyncio

import pytest
from broker import Mosquitto
from fast_channels.exceptions import BackendUnavailable

from fast_channels_mqtt import MqttChannelLayer, mqtt_layer


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mqtt://", "host ''"),
        ("http://host", "scheme 'http'"),
        ("mqtt://host/topic", "after the port 'topic'"),
        ("mqtt://ann:secret@host?clean=1", "after the port 'clean=1'"),
    ],
)
def test_a_url_of_another_form_is_an_error_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ValueError, match="an MQTT URL is mqtt") as raised:
        mqtt_layer(url)
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_wrong_password_is_told_at_once(mosquitto: Mosquitto) -> None:
    layer = MqttChannelLayer(f"mqtt://kit:wrong-one@127.0.0.1:{mosquitto.port}")

    async def main() -> None:
        async with asyncio.timeout(2):
            with pytest.raises(BackendUnavailable, match="Not authorized") as raised:
                await layer.open()
            assert "wrong-one" not in str(raised.value)
        await layer.close()

    asyncio.run(main())


def test_a_broker_that_falls_silent_is_an_error_and_found_again(mosquitto: Mosquitto) -> None:
    layer = MqttChannelLayer(mosquitto.url, gaps=True, send_timeout=30.0)

    async def main() -> None:
        async with layer.channel() as channel:
            await layer.group_add("room", channel.name)
            mosquitto.freeze()
            try:
                with pytest.raises(BackendUnavailable, match="perhaps sent"):
                    await layer.group_send("room", {"type": "lost"})
                while layer.stats()["gaps"] == 0:
                    try:
                        await layer.group_send("room", {"type": "lost"})
                    except BackendUnavailable as error:
                        if "nothing was sent" in str(error):  # the connection was given up
                            mosquitto.thaw()
            finally:
                mosquitto.thaw()
            assert await channel.receive() == {"type": "channels.gap", "group": "room"}
        await layer.close()

    async def limited() -> None:
        async with asyncio.timeout(30):
            await main()

    asyncio.run(limited())
