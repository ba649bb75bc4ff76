"""Certificates that are renewed while pronoia runs are used, and a renewal that is not over harms nothing."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sidecar.api.tls import server_context
from sidecar.config.http import ServerTlsConfig, TlsConfig
from sidecar.errors import PullError
from sidecar.prometheus.tls import renewed_context
from sidecar.renewed import Renewed


def test_files_are_read_when_they_change_and_kept_where_they_cannot_be(tmp_path: Path) -> None:
    file, n_read = tmp_path / "file", 0

    def make() -> str:
        nonlocal n_read
        n_read += 1
        if "broken" in (text := file.read_text()):
            raise ValueError("broken")
        return text

    renewed = Renewed([file, None], make, failure=ValueError)
    with pytest.raises(FileNotFoundError):
        renewed.get()
    file.write_text("one")
    assert [renewed.get(), renewed.get()] == ["one", "one"]
    assert n_read == 2
    file.write_text("broken")
    with capture_logs() as logs:
        assert [renewed.get(), renewed.get()] == ["one", "one"]
    assert n_read == 3, "not at every connection"
    assert [(one["log_level"], one["files"]) for one in logs] == [("warning", str(file))]
    file.unlink()
    assert renewed.get() == "one"
    file.write_text("two")
    assert renewed.get() == "two"


def certificate(directory: Path, name: str) -> bytes:
    """Makes one with its key; its content."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "tls.key")
    subprocess.run(
        ["openssl", "req", "-x509", *key, "-days", "2", "-subj", f"/CN={name}", "-out", "tls.crt"],
        check=True,
        capture_output=True,
        cwd=directory,
    )
    return ssl.PEM_cert_to_DER_cert((directory / "tls.crt").read_text())


@pytest.mark.parametrize("server_name", [None, "localhost"], ids=["by its address", "by its name"])
async def test_a_renewed_certificate_is_shown_at_the_next_connection(
    tmp_path: Path, server_name: str | None
) -> None:
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE

    async def shown(port: int) -> bytes | None:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trust, server_hostname=server_name or ""
        )
        connection = writer.get_extra_info("ssl_object")
        writer.close()
        found: bytes | None = connection.getpeercert(binary_form=True)
        return found

    first = certificate(tmp_path, "first")
    config = ServerTlsConfig(cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key")
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=server_context(config)
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await shown(port) == first
        second = certificate(tmp_path, "second")
        assert await shown(port) == second
        (tmp_path / "tls.key").write_text("half of it")
        assert await shown(port) == second


def test_towards_a_server_a_renewed_certificate_is_used_too(tmp_path: Path) -> None:
    config = TlsConfig(cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key")
    renewed = renewed_context(config)
    with pytest.raises(PullError, match=r"tls\.crt"):
        renewed.get()
    certificate(tmp_path, "first")
    first = renewed.get()
    assert renewed.get() is first
    certificate(tmp_path, "second")
    assert renewed.get() is not first
