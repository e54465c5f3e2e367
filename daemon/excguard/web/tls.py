"""The TLS part of the web configuration, as a context of Python's ssl."""

import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct

from excguard.files import bounded, errors
from excguard.process import late_ssl
from excguard.web.errors import WebConfigError

MAX_BYTES = 1 << 20  # of a file with certificates or a key
_VERIFIED = "RequireAndVerifyClientCert"


class TLS(Struct, frozen=True, forbid_unknown_fields=True):
    """``tls_server_config``."""

    cert_file: str = ""
    key_file: str = ""
    client_auth_type: Literal[
        "",
        "NoClientCert",
        "RequestClientCert",
        "RequireAnyClientCert",
        "VerifyClientCertIfGiven",
        "RequireAndVerifyClientCert",
    ] = "NoClientCert"
    client_ca: str = ""
    client_ca_file: str = ""
    client_allowed_sans: tuple[str, ...] = ()
    min_version: Literal["TLS10", "TLS11", "TLS12", "TLS13"] = "TLS12"
    max_version: Literal["TLS10", "TLS11", "TLS12", "TLS13"] = "TLS13"
    cipher_suites: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: tuple[str, ...] = ()
    cert: str = ""
    key: str = ""


_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}


def tls_context(path: Path, tls: TLS) -> ssl.SSLContext:
    """The context for ``tls``, which was read from the file ``path``. Raises WebConfigError."""
    for key, problem in _problems(tls):
        raise WebConfigError(f"{path}: tls_server_config.{key}: {problem}")
    late_ssl.use_tls()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.maximum_version = _VERSIONS[tls.max_version]
    context.set_alpn_protocols(["http/1.1"])
    if not tls.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    key = ""
    try:
        for key in ("cert_file", "key_file"):
            # OpenSSL would wait for a FIFO, and read a device without end.
            bounded.read(path.parent / getattr(tls, key), MAX_BYTES)
        key = "cert_file"
        context.load_cert_chain(
            path.parent / tls.cert_file, path.parent / tls.key_file, password=_no_password
        )
        key = "cipher_suites"
        if tls.cipher_suites:
            context.set_ciphers(":".join(_openssl_name(name) for name in tls.cipher_suites))
        key = "client_ca_file"
        if tls.client_ca_file:
            authorities = bounded.read(path.parent / tls.client_ca_file, MAX_BYTES)
            context.load_verify_locations(cadata=authorities.decode("ascii", "replace"))
        key = "client_ca"
        if tls.client_ca:
            context.load_verify_locations(cadata=tls.client_ca)
    except (OSError, ValueError, TypeError) as error:  # ssl.SSLError is an OSError; TypeError: not ASCII
        raise WebConfigError(f"{path}: tls_server_config.{key}: {_reason(error)}") from error
    context.verify_mode = {
        "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
        _VERIFIED: ssl.CERT_REQUIRED,
    }.get(tls.client_auth_type, ssl.CERT_NONE)
    return context


def _problems(tls: TLS) -> Iterator[tuple[str, str]]:
    """The keys with unusable values, and why they are unusable."""
    yield from _file_problems(tls)
    if tls.curve_preferences:
        yield "curve_preferences", "is not supported; remove it"
    if _VERSIONS[tls.min_version] > _VERSIONS[tls.max_version]:
        yield "min_version", f"{tls.min_version} is above max_version {tls.max_version}"
    if tls.client_auth_type in {"RequestClientCert", "RequireAnyClientCert"}:
        yield "client_auth_type", f"unverified certificates are never accepted; use {_VERIFIED}"
    verifies = tls.client_auth_type in {"VerifyClientCertIfGiven", _VERIFIED}
    if verifies and not (tls.client_ca_file or tls.client_ca):
        yield "client_ca_file", "is missing; it names the certificate authorities to trust"
    if not verifies and (tls.client_ca_file or tls.client_ca):
        yield "client_ca_file", f"requires client_auth_type: {_VERIFIED}"
    if tls.client_allowed_sans and tls.client_auth_type != _VERIFIED:
        yield "client_allowed_sans", f"requires client_auth_type: {_VERIFIED}"


def _file_problems(tls: TLS) -> Iterator[tuple[str, str]]:
    for key in ("cert", "key"):
        if getattr(tls, key):
            yield key, f"is not supported; put it into a file and set {key}_file"
    for key in ("cert_file", "key_file"):
        if not getattr(tls, key):
            yield key, "is missing; TLS needs a certificate and its key"
    for key in ("cert_file", "key_file", "client_ca_file"):
        if "\0" in getattr(tls, key):
            yield key, "a path cannot contain a NUL character"


def _no_password() -> str:
    """Prevents OpenSSL from asking on the terminal."""
    raise ValueError("the key is encrypted; store it without a passphrase")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        # Some have a text instead of a reason, with the place in CPython's sources.
        text = re.sub(r" \(_ssl\.c:\d+\)", "", getattr(error, "reason", None) or str(error.args[-1]))
        return "invalid PEM" if "PEM lib" in text else text.lower().replace("_", " ").rstrip(".")
    return errors.message(error) if isinstance(error, OSError) else str(error)


def _openssl_name(name: str) -> str:
    """The IANA name of a cipher suite, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, as OpenSSL's name."""
    short = name.removeprefix("TLS_").replace("_WITH_", "_")
    short = re.sub(r"AES_(\d+)_CBC", r"AES\1", short)
    short = re.sub(r"AES_(\d+)", r"AES\1", short)
    short = re.sub(r"CHACHA20_POLY1305_SHA256", "CHACHA20_POLY1305", short)
    short = re.sub(r"^RSA_(?!.*ECDHE)", "", short)
    return short.replace("_", "-")
