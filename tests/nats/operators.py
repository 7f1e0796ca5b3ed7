"""An operator with accounts and users of its own, as ``nsc`` makes them: JWTs signed by nkeys."""

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import nkeys

UNLIMITED = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
STORED = ("mem_storage", "disk_storage", "streams", "consumer")
HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}


class Key:
    """An nkey."""

    def __init__(self, kind: int) -> None:
        self.seed: bytes = nkeys.encode_seed(os.urandom(32), kind)
        self.pair = nkeys.from_seed(bytearray(self.seed))
        self.public: str = self.pair.public_key.decode()

    def sign(self, subject: "Key", name: str, about: dict[str, Any]) -> str:
        """Return a JWT that says this of the subject."""
        claims = {
            "jti": os.urandom(8).hex(),
            "iat": int(time.time()),
            "iss": self.public,
            "name": name,
            "sub": subject.public,
            "nats": {"version": 2, **about},
        }
        parts = [_encoded(json.dumps(part).encode()) for part in (HEADER, claims)]
        signature = self.pair.sign(".".join(parts).encode())
        return ".".join([*parts, _encoded(signature)])


class Operator:
    """Trusts its accounts, which trust their users; the server knows all of them by heart."""

    def __init__(self) -> None:
        self._key = Key(nkeys.PREFIX_BYTE_OPERATOR)
        self._accounts: dict[str, str] = {}
        self._system = self.account("SYS")
        self.app = self.account("app")

    def account(self, name: str) -> Key:
        """Return a new account, which has JetStream unless it is the system's."""
        key = Key(nkeys.PREFIX_BYTE_ACCOUNT)
        limits = dict.fromkeys(UNLIMITED if name == "SYS" else UNLIMITED + STORED, -1)
        about = {"type": "account", "limits": {**limits, "wildcards": True}}
        self._accounts[key.public] = self._key.sign(key, name, about)
        return key

    @property
    def config(self) -> str:
        """What a server's configuration says of them."""
        jwt = self._key.sign(self._key, "operator", {"type": "operator"})
        known = "\n".join(f"{public}: {jwt}" for public, jwt in self._accounts.items())
        return (
            f"operator: {jwt}\nsystem_account: {self._system.public}\n"
            f"resolver: MEMORY\nresolver_preload: {{\n{known}\n}}"
        )

    def credentials(self, file: Path, account: Key, **permissions: Any) -> str:
        """Write a new user's credentials; return the file's name."""
        user = Key(nkeys.PREFIX_BYTE_USER)
        about = {"type": "user", "subs": -1, "data": -1, "payload": -1, **permissions}
        jwt, seed = account.sign(user, file.stem, about), user.seed.decode()
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
        return str(file)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
