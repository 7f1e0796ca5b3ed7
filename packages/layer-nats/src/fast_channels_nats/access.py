"""Who we are to a server: what CONNECT says besides the client's own data.

Files are read at every connect, so that renewed credentials are used without a restart.
"""

import base64
import re
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from fast_channels.exceptions import BackendUnavailable

_BLOCK = re.compile(r"-{3,}BEGIN ([A-Z ]+)-{3,}\s*(\S+)\s*-{3,}END \1-{3,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What lets us in; nothing where the server asks for nothing."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    nkey: str | None = None
    """A file with the seed of an nkey."""

    credentials: str | None = None
    """A file with a user's JWT and the seed of its nkey."""

    @property
    def given(self) -> bool:
        """There is anything."""
        return any((self.user, self.token, self.nkey, self.credentials))

    def fields(self, nonce: str) -> dict[str, Any]:
        """Return what CONNECT says of us; raises ``BackendUnavailable`` for unusable files."""
        if self.credentials is not None:
            text = _read(self.credentials)
            blocks = dict(_BLOCK.findall(text))
            jwt, seed = blocks.get("NATS USER JWT"), blocks.get("USER NKEY SEED")
            if jwt is None or seed is None:
                raise BackendUnavailable(
                    f"{self.credentials} is no credentials file: it lacks a NATS USER JWT or a "
                    "USER NKEY SEED block"
                )
            return {"jwt": jwt, "sig": _sign(self.credentials, seed, nonce)[1]}
        if self.nkey is not None:
            seed = _read(self.nkey).strip()
            public, signature = _sign(self.nkey, seed, nonce)
            return {"nkey": public, "sig": signature}
        if self.token is not None:
            return {"auth_token": self.token}
        if self.user is not None:
            return {"user": self.user, "pass": self.password or ""}
        return {}

    def hide(self, text: str) -> str:
        """Return the text without our secrets."""
        for secret in (self.password, self.token):
            if secret:
                text = text.replace(secret, "***")
        return text


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BackendUnavailable(f"{path} cannot be read: {type(error).__name__}") from None


def _sign(path: str, seed: str, nonce: str) -> tuple[str, str]:
    """Return the public key and the signature. No error shows the seed."""
    try:
        # Not at the top: most servers ask for no key, and nkeys has no types.
        pair: Any = import_module("nkeys").from_seed(seed.encode())
        signature = base64.urlsafe_b64encode(pair.sign(nonce.encode())).rstrip(b"=")
        public: bytes = pair.public_key
    except Exception as error:  # nkeys has several, and binascii has its own
        raise BackendUnavailable(f"{path} has no usable seed: {type(error).__name__}") from None
    return public.decode(), signature.decode()
