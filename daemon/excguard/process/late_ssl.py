"""asyncio without ssl, for a daemon that may never need it.

asyncio imports ssl wherever that can be imported, and with it OpenSSL: 5 MB. Its modules work without, apart
from TLS (base_events.py, selector_events.py and sslproto.py, CPython 3.11 to 3.14).
"""

import importlib
import sys


def import_asyncio() -> None:
    """Import asyncio without ssl, where neither was imported before."""
    if "asyncio" in sys.modules or "ssl" in sys.modules:
        return
    sys.modules["ssl"] = None  # type: ignore[assignment]  # an ImportError
    try:
        importlib.import_module("asyncio")
    finally:
        del sys.modules["ssl"]


def use_tls() -> None:
    """Give asyncio ssl, if it is without: to be called before a connection uses TLS."""
    import ssl  # noqa: PLC0415 - the point of this module
    from asyncio import base_events, selector_events, sslproto  # noqa: PLC0415 - likewise

    for module in (base_events, selector_events):
        if getattr(module, "ssl", ssl) is None:
            module.ssl = ssl  # type: ignore[attr-defined]
    if getattr(sslproto, "ssl", ssl) is None:
        importlib.reload(sslproto)  # in place: selector_events has the module, not its names
