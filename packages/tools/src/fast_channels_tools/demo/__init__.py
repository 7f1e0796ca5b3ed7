"""A chat that anyone can start, by ``python -m fast_channels_tools.demo``."""
