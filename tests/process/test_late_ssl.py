"""asyncio works without ssl, and with it as soon as it is wanted; each in a Python of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support import openssl

if TYPE_CHECKING:
    from pathlib import Path

BEGIN = """
import sys
from excguard.process import late_ssl
late_ssl.import_asyncio()
import asyncio
"""


def run(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", BEGIN + program, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_asyncio_is_imported_without_openssl() -> None:
    connection = """
async def main():
    async def answer(reader, writer):
        writer.write(b"answer to " + await reader.readline())
        writer.close()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"a question\\n")
    print((await reader.readline()).decode(), "_ssl" in sys.modules, "ssl" in sys.modules)
    writer.close()
    server.close()
asyncio.run(main())
"""
    assert run(connection) == "answer to a question\n False False\n"


@openssl.needs_openssl
def test_tls_works_once_it_was_asked_for(tmp_path: Path) -> None:
    openssl.self_signed(tmp_path)
    connection = """
late_ssl.use_tls()
late_ssl.use_tls()
import ssl
async def main():
    async def answer(reader, writer):
        writer.write(b"answer to " + await reader.readline())
        await writer.drain()
        writer.close()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    trusting = ssl.create_default_context(cafile=sys.argv[1])
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=trusting)
    writer.write(b"a question\\n")
    print((await reader.readline()).decode(), writer.get_extra_info("cipher")[1])
    writer.close()
    server.close()
asyncio.run(main())
"""
    assert (
        run(connection, str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
        == "answer to a question\n TLSv1.3\n"
    )
