"""Which of several hosts a name lives on: the same for every process that lists the same hosts."""

from functools import lru_cache
from zlib import crc32


def consistent_hash(value: str | bytes, ring_size: int) -> int:
    """Return the index of the host, below ``ring_size``.

    A host more at the end of the list moves only the names that it gets (jump consistent hash, by
    Lamping and Veach).
    """
    if ring_size == 1:
        return 0
    key = crc32(value.encode() if isinstance(value, str) else value) * 0x9E37_79B9_7F4A_7C15
    index, jump = -1, 0
    while jump < ring_size:
        index = jump
        key = (key * 2_862_933_555_777_941_757 + 1) & 0xFFFF_FFFF_FFFF_FFFF
        jump = int((index + 1) * ((1 << 31) / ((key >> 33) + 1)))
    return index


shard_of = lru_cache(maxsize=16_384)(consistent_hash)
"""``consistent_hash``, remembered: the same names come with every message."""
