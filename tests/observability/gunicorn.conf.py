"""As docs/observability.md has it, with the ports that the test found free."""

import os

from fast_channels_tools import prometheus

ports = [int(port) for port in os.environ["METRICS_PORTS"].split()]


def post_worker_init(worker):
    prometheus.install()
    prometheus.serve(ports, "127.0.0.1")
