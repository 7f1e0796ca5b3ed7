"""What applications write, as types."""

from typing import Any, TypeAlias

ChannelDecodedRedisHost: TypeAlias = dict[str, Any]
"""A host as a dict: ``address``, ``host`` and ``port``, or ``sentinels`` and ``master_name``."""

ChannelRawRedisHost: TypeAlias = (
    ChannelDecodedRedisHost | tuple[str, int] | list[str | int] | str | bytes
)
"""One entry of ``hosts``."""

SymmetricEncryptionKeys: TypeAlias = list[str | bytes]
"""The first seals, any opens."""
