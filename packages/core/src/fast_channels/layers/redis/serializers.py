"""Where Fast Channels 1.1 had serializers: messages travel in one wire format now."""

from fast_channels.layers.redis import hand_on

__getattr__ = hand_on(
    __name__,
    (),
    gone=(
        "SerializerDoesNotExist",
        "BaseMessageSerializer",
        "JSONSerializer",
        "MsgPackSerializer",
        "SerializersRegistry",
        "registry",
    ),
    instead="messages travel in one wire format, which encryption_keys=[...] of a layer seals",
)
