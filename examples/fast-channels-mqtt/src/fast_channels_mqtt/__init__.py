"""MQTT brokers for Fast Channels: groups and direct messages."""

from fast_channels_mqtt.backend import MqttBackend
from fast_channels_mqtt.layer import MqttChannelLayer, mqtt_layer

__all__ = ["MqttBackend", "MqttChannelLayer", "mqtt_layer"]
