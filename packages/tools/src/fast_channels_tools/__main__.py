"""``python -m fast_channels_tools``: the command ``fast-channels``."""

from .command import main

if __name__ == "__main__":
    main()
