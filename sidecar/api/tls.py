"""The server's TLS: its own certificate, and clients' where an authority for them is given."""

from __future__ import annotations

import ssl
from functools import partial

from sidecar.config.http import ServerTlsConfig
from sidecar.renewed import Renewed


def server_context(config: ServerTlsConfig | None) -> ssl.SSLContext | None:
    """The context to serve HTTPS with; None where HTTP is served.

    A client's certificate is verified where it shows one, and is not asked of everybody, so
    that Prometheus may scrape without; the receivers ask for theirs. Files that are renewed
    count from the next connection on, for certificates live shorter than processes.
    Raises: OSError (`ssl.SSLError` is one) where a file cannot be used.
    """
    if config is None:
        return None
    files = (config.cert_file, config.key_file, config.client_ca_file)
    renewed = Renewed(files, partial(_context_of, config))
    context = renewed.get()

    def choose(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = renewed.get()

    context.sni_callback = choose  # Called without a name as well.
    return context


def _context_of(config: ServerTlsConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(config.cert_file, config.key_file)
    if config.client_ca_file is not None:
        context.load_verify_locations(config.client_ca_file)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
