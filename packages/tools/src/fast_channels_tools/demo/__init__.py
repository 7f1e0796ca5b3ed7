"""A chat that anyone can start: ``python -m fast_channels_tools.demo``, then open the page twice."""
