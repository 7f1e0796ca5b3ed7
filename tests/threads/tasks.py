"""What test_servers.py has Celery run: the layer is used before the pool's processes are forked."""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_process_shutdown
from tcp_broker import TCPLayer

FOLDER = os.environ["QUEUES"]

app = Celery("tasks", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": FOLDER,
        "data_folder_out": FOLDER,
        "control_folder": f"{FOLDER}/control",
        "polling_interval": 0.05,
    },
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)
layer = TCPLayer(os.environ["BROKER"])


@app.task
def tell(n: int) -> None:
    layer.sync.group_send("all", {"type": "test.message", "n": n, "process": os.getpid()})


@worker_process_shutdown.connect
def say_goodbye(**_: Any) -> None:
    layer.sync.close()  # Celery ends these processes by os._exit, which closes sockets abruptly


layer.sync.group_send("all", {"type": "test.import", "process": os.getpid()})
