"""Measures something and tells the dashboard: a script of its own, without an event loop."""

import random
import sys
import time

from layer import layer

name = sys.argv[1]
value = random.uniform(15, 25)
while True:
    value += random.gauss(0, 0.5)
    layer.sync.group_send("readings", {"type": "reading.new", "name": name, "value": value})
    time.sleep(1)
