"""TLS towards a server: whom to trust, and which certificate to show."""

from __future__ import annotations

import ssl
from functools import partial

from sidecar.config.http import TlsConfig
from sidecar.errors import PullError, PullReason
from sidecar.renewed import Renewed


def renewed_context(config: TlsConfig) -> Renewed[ssl.SSLContext]:
    """The context that a configuration describes, of its files as they are whenever it is asked for."""
    files = (config.ca_file, config.cert_file, config.key_file)
    return Renewed(files, partial(tls_context, config), failure=PullError)


def tls_context(config: TlsConfig) -> ssl.SSLContext:
    """The TLS context that a configuration describes.

    Raises: PullError where a file of it cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=str(config.ca_file) if config.ca_file else None)
        if config.cert_file is not None:
            context.load_cert_chain(config.cert_file, config.key_file)
    except (OSError, ssl.SSLError) as error:
        # The errors of OpenSSL name no file.
        files = ", ".join(str(one) for one in (config.ca_file, config.cert_file, config.key_file) if one)
        raise PullError(PullReason.UNREACHABLE, f"TLS files cannot be used ({files}): {error}") from error
    if config.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
