"""Where Fast Channels 1.1 had the types of what its Redis layers take."""

from typing import TYPE_CHECKING

from fast_channels.layers.redis import hand_on

if TYPE_CHECKING:
    from fast_channels_redis import (
        ChannelDecodedRedisHost,
        ChannelRawRedisHost,
        SymmetricEncryptionKeys,
    )

__all__ = ["ChannelDecodedRedisHost", "ChannelRawRedisHost", "SymmetricEncryptionKeys"]

__getattr__ = hand_on(__name__, __all__)
