"""Programs that use one layer in every way that loops, threads and processes allow.

``python scenarios.py <name> <url of a TCPBroker> [argument ...]`` runs one of them. Each asserts
that what was sent arrived, and ends as programs do. Its test looks at what it left behind.
"""

import logging
import sys

import endings
import forks
import loops
from talking import make

logging.getLogger("asyncio").setLevel(logging.ERROR)  # not: "executing ... took 0.1 s"

if __name__ == "__main__":
    name, url, *arguments = sys.argv[1:]
    [scenario] = [getattr(each, name) for each in (endings, forks, loops) if hasattr(each, name)]
    layer = make(url)  # as an application's, it is there until the process ends
    scenario(layer, *arguments)
