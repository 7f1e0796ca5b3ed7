"""Who writes and reads a session's frames: in the open, or sealed."""

from collections.abc import Callable
from functools import partial

from fast_channels.exceptions import InvalidChannelLayerError
from fast_channels.layers.codec import Frames, OpenFrames
from fast_channels.layers.options import LayerOptions


def frame_maker(options: LayerOptions) -> Callable[[], Frames]:
    """Return what makes the frames of a session; loads the cipher only where it is asked for."""
    if options.encryption_keys is None:
        return OpenFrames
    try:
        from fast_channels.layers.sealing import SealedFrames
    except ImportError as error:
        raise InvalidChannelLayerError(
            "encryption_keys needs the package cryptography, which cannot be imported "
            f"({error}); run: pip install 'fast-channels[crypto]'"
        ) from error
    return partial(SealedFrames, options.encryption_keys, options.accept_plain)
