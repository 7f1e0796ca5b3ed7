"""The channel layer that applications register by name or URL."""

from typing import Any

from fast_channels.layers import BaseChannelLayer

from fast_channels_mqtt.backend import MqttBackend
from fast_channels_mqtt.broker import Broker


class MqttChannelLayer(BaseChannelLayer):
    """A layer over one MQTT broker: ``mqtt://user:password@host:1883``, or ``mqtts://``."""

    def __init__(self, url: str = "mqtt://localhost", **options: Any) -> None:
        super().__init__(**options)
        self._broker = Broker(url)

    def create_backend(self) -> MqttBackend:
        """Return a backend with a connection of its own."""
        return MqttBackend(self._broker)


def mqtt_layer(url: str = "mqtt://localhost", **options: Any) -> MqttChannelLayer:
    """Return the layer for ``url``: the entry points ``mqtt`` and ``mqtts``."""
    return MqttChannelLayer(url, **options)
