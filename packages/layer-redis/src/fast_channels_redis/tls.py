"""TLS as redis-py's ``ssl_*`` options describe it, the same for every release of redis-py."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

TLS_OPTIONS: Final = (
    "ssl_keyfile",
    "ssl_certfile",
    "ssl_password",
    "ssl_cert_reqs",
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_ca_data",
    "ssl_check_hostname",
    "ssl_min_version",
    "ssl_ciphers",
)

REQUIREMENTS: Final = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


def tls_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """Return the context; the server's certificate and name are checked unless told otherwise.

    Raises ``ValueError`` for files that cannot be read or do not fit.
    """
    given = options.get("ssl_context")
    if given is not None:
        if not isinstance(given, ssl.SSLContext):
            raise TypeError(f"ssl_context must be an ssl.SSLContext, got {type(given).__name__}")
        return given
    wanted = options.get("ssl_cert_reqs", "required")
    required = wanted if isinstance(wanted, ssl.VerifyMode) else REQUIREMENTS.get(str(wanted))
    if required is None:
        raise ValueError(f"ssl_cert_reqs must be none, optional or required, got {wanted!r}")
    files = [options.get(f"ssl_{name}") for name in ("ca_certs", "ca_path", "ca_data")]
    context = ssl.create_default_context()
    name = options.get("ssl_check_hostname", True)
    context.check_hostname = required != ssl.CERT_NONE and name not in (False, "False", "false")
    context.verify_mode = required
    try:
        for file in (options.get(f"ssl_{each}") for each in ("ca_certs", "certfile", "keyfile")):
            if file:
                Path(file).read_bytes()  # whose error names the file, which that of ssl does not
        if any(files):
            context.load_verify_locations(*files)
        if options.get("ssl_certfile") or options.get("ssl_keyfile"):
            context.load_cert_chain(
                options.get("ssl_certfile") or options["ssl_keyfile"],
                options.get("ssl_keyfile"),
                options.get("ssl_password"),
            )
        if options.get("ssl_ciphers"):
            context.set_ciphers(options["ssl_ciphers"])
    except OSError as error:
        raise ValueError(f"the TLS files of a redis host cannot be used: {error}") from error
    if options.get("ssl_min_version") is not None:
        context.minimum_version = options["ssl_min_version"]
    return context
