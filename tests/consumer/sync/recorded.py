"""Sync consumers that write down what they get; ``note`` and ``free`` are given by ``as_asgi``."""

# ruff: noqa: RUF012  consumers are written here as applications write them

from fast_channels import WebsocketConsumer

PATIENCE = 5.0


def wait(event):
    assert event.wait(PATIENCE)


class Recorded(WebsocketConsumer):
    """In the group "all"; ``note`` and ``free`` are given by ``as_asgi``."""

    groups = ["all"]
    note = None
    free = None

    def receive(self, text_data=None, bytes_data=None):
        self.note(text_data)

    def group_note(self, message):
        self.note(message["text"])

    def disconnect(self, code):
        self.note(f"disconnect {code}")


class Working(Recorded):
    """Works at a frame until ``free`` is set."""

    def receive(self, text_data=None, bytes_data=None):
        self.note(text_data)
        wait(self.free)
        self.note("worked")
