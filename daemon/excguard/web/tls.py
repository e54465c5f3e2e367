"""The TLS part of the web configuration, as a context for Python's ssl."""

import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct

_VERIFIED = "RequireAndVerifyClientCert"


class WebConfigError(ValueError):
    """A web configuration that cannot be used, in one line: file, key, what was wrong, what to do."""


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
    """The context that ``tls``, found in the file ``path``, asks for. Raises WebConfigError."""
    for key, words in _refused(tls):
        raise WebConfigError(f"{path}: tls_server_config.{key}: {words}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.maximum_version = _VERSIONS[tls.max_version]
    context.set_alpn_protocols(["http/1.1"])
    if not tls.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    key = ""
    try:
        key = "cert_file"
        context.load_cert_chain(
            path.parent / tls.cert_file, path.parent / tls.key_file, password=_no_password
        )
        key = "cipher_suites"
        if tls.cipher_suites:
            context.set_ciphers(":".join(_openssl_name(name) for name in tls.cipher_suites))
        key = "client_ca_file"
        if tls.client_ca_file or tls.client_ca:
            context.load_verify_locations(
                cafile=path.parent / tls.client_ca_file if tls.client_ca_file else None,
                cadata=tls.client_ca or None,
            )
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise WebConfigError(f"{path}: tls_server_config.{key}: cannot be used: {_reason(error)}") from error
    context.verify_mode = {
        "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
        _VERIFIED: ssl.CERT_REQUIRED,
    }.get(tls.client_auth_type, ssl.CERT_NONE)
    return context


def _refused(tls: TLS) -> Iterator[tuple[str, str]]:
    """The keys whose values cannot be used, and why."""
    for key in ("cert", "key"):
        if getattr(tls, key):
            yield key, f"is not supported; put it into a file and name that in {key}_file"
    for key in ("cert_file", "key_file"):
        if not getattr(tls, key):
            yield key, "is missing; TLS needs a certificate and its key"
    if tls.curve_preferences:
        yield "curve_preferences", "is not supported; leave it out"
    if _VERSIONS[tls.min_version] > _VERSIONS[tls.max_version]:
        yield "min_version", f"{tls.min_version} is above max_version {tls.max_version}"
    if tls.client_auth_type in {"RequestClientCert", "RequireAnyClientCert"}:
        yield "client_auth_type", f"certificates are never accepted unchecked; use {_VERIFIED}"
    verifies = tls.client_auth_type in {"VerifyClientCertIfGiven", _VERIFIED}
    if verifies != bool(tls.client_ca_file or tls.client_ca):
        words = "is missing; it says whom to trust" if verifies else f"needs client_auth_type: {_VERIFIED}"
        yield "client_ca_file", words
    if tls.client_allowed_sans and tls.client_auth_type != _VERIFIED:
        yield "client_allowed_sans", f"needs client_auth_type: {_VERIFIED}"


def _no_password() -> str:
    """Instead of OpenSSL's prompt on the terminal."""
    raise ValueError("the key is encrypted; store it without a passphrase")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        # Some have no reason but a text of their own.
        return (getattr(error, "reason", None) or str(error.args[0])).lower().replace("_", " ").rstrip(".")
    if isinstance(error, OSError):
        return f"{error.filename or ''} {(error.strerror or str(error)).lower()}".strip()
    return str(error)


def _openssl_name(name: str) -> str:
    """Go's name of a cipher suite (the IANA one) as OpenSSL's: TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256."""
    short = name.removeprefix("TLS_").replace("_WITH_", "_")
    short = re.sub(r"AES_(\d+)_CBC", r"AES\1", short)
    short = re.sub(r"AES_(\d+)", r"AES\1", short)
    short = re.sub(r"CHACHA20_POLY1305_SHA256", "CHACHA20_POLY1305", short)
    short = re.sub(r"^RSA_(?!.*ECDHE)", "", short)
    return short.replace("_", "-")
