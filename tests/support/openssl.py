"""Certificates for tests."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="no openssl to make certificates with: apt-get install openssl"
)


def self_signed(directory: Path) -> ssl.SSLContext:
    """Make cert.pem and key.pem of 127.0.0.1 in a directory; a context of clients that trust it."""
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=excguard"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        cwd=directory,
        check=True,
        capture_output=True,
    )
    return ssl.create_default_context(cafile=str(directory / "cert.pem"))
