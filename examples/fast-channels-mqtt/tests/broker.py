"""A Mosquitto of our own: on a free port, to be killed and started again."""

import getpass
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

CONFIG = """\
listener {port} 127.0.0.1
allow_anonymous false
password_file {folder}/passwords
persistence false
set_tcp_nodelay true
log_dest file {folder}/log
user {user}
"""
USER, PASSWORD = "kit", "kit-secret"
START_SECONDS = 15.0


def program(name: str) -> str:
    """Return where the program is; Debian has the server outside a user's PATH."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError(f"{name} is not on PATH; run: apt-get install mosquitto")
    return found


class Mosquitto:
    """One ``mosquitto`` process, which wants a password; started again, it is on the same port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"mqtt://{USER}:{PASSWORD}@127.0.0.1:{self.port}"
        self.log = folder / "log"
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            CONFIG.format(port=self.port, folder=folder, user=getpass.getuser())
        )
        make = program("mosquitto_passwd")
        subprocess.run([make, "-c", "-b", folder / "passwords", USER, PASSWORD], check=True)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """It takes connections."""
        self._process = subprocess.Popen([program("mosquitto"), "-c", self._config])
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"mosquitto did not start: {self.log.read_text()}") from None
                time.sleep(0.01)

    def kill(self) -> None:
        """It is gone, as with ``kill -9``."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It holds its connections and does nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
