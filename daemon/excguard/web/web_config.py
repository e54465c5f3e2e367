"""The web configuration file: TLS and passwords for the endpoint, in the form of Prometheus' own exporters.

The format is that of exporter-toolkit (docs/web-configuration.md there), so one file can be shared by
excguard, node_exporter and others. Settings that Python's ssl does not support are an error, never ignored.
File names are relative to the directory of the web configuration.

The file, and the certificates that it names, are checked for changes at each connection and request, and read
again after a change. After an invalid change requests fail until it is fixed: the previous file could grant
access to a user whom the change has removed.
"""

import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from excguard.files import bounded, errors, ownership
from excguard.web.errors import WebConfigError
from excguard.web.tls import TLS, tls_context

_MAX_BYTES = 256 * 1024

_Hash = Annotated[str, Meta(pattern=r"^\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}$")]
_Duration = Annotated[str, Meta(pattern=r"^([0-9]{1,9}(ms|s|m|h)){1,4}$")]
_HeaderText = Annotated[str, Meta(pattern=r"^[\x20-\x7e]*$")]


class Headers(Struct, frozen=True, forbid_unknown_fields=True, rename={}):
    """``http_server_config.headers``: added to every response."""

    content_security_policy: _HeaderText = msgspec.field(default="", name="Content-Security-Policy")
    frame_options: Literal["", "deny", "sameorigin"] = msgspec.field(default="", name="X-Frame-Options")
    content_type_options: Literal["", "nosniff"] = msgspec.field(default="", name="X-Content-Type-Options")
    xss_protection: _HeaderText = msgspec.field(default="", name="X-XSS-Protection")
    transport_security: _HeaderText = msgspec.field(default="", name="Strict-Transport-Security")


class HTTP(Struct, frozen=True, forbid_unknown_fields=True):
    """``http_server_config``. HTTP/2 is not supported; clients negotiate HTTP/1.1."""

    http2: bool = True
    headers: Headers = Headers()


class RateLimit(Struct, frozen=True, forbid_unknown_fields=True):
    """``rate_limit``: a token bucket for all requests together."""

    interval: _Duration = "0s"
    burst: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class WebFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    tls_server_config: TLS | None = None
    http_server_config: HTTP = HTTP()
    basic_auth_users: dict[str, _Hash] = {}
    rate_limit: RateLimit = RateLimit()


class WebConfig:
    """The content of the file, validated, with its certificates loaded."""

    def __init__(self, path: Path, file: WebFile) -> None:
        """Load the certificates of ``file``, which was read from ``path``. Raises WebConfigError."""
        self.file = file
        self.headers: Mapping[str, str] = {
            key: value for key, value in msgspec.to_builtins(file.http_server_config.headers).items() if value
        }
        self.users = file.basic_auth_users
        self.tls: ssl.SSLContext | None = None
        self.allowed_sans = frozenset[str]()
        if file.tls_server_config is not None:
            self.tls = tls_context(path, file.tls_server_config)
            self.allowed_sans = frozenset(file.tls_server_config.client_allowed_sans)
        self.interval = _seconds(file.rate_limit.interval)
        self.burst = file.rate_limit.burst

    @property
    def protects(self) -> bool:
        """Whether clients have to authenticate, with a password or a certificate."""
        return bool(self.users) or (self.tls is not None and self.tls.verify_mode is ssl.CERT_REQUIRED)

    def allows(self, certificate: Mapping[str, object] | None) -> bool:
        """Whether the client's certificate has one of the allowed names; True when all are allowed."""
        if not self.allowed_sans:
            return True
        names = certificate.get("subjectAltName", ()) if certificate else ()
        return any(name in self.allowed_sans for _, name in names)  # type: ignore[attr-defined]


class WebConfigFile:
    """The file, read again after each change."""

    def __init__(self, path: Path) -> None:
        """Read ``path`` for the first time. Raises WebConfigError."""
        self._path = path
        self.tls: ssl.SSLContext | None = None
        """That of the last valid content: the response that reports an error must be encrypted, too."""
        self._read: tuple[dict[Path, object], WebConfig | WebConfigError] | None = None
        self.current()

    def current(self) -> WebConfig:
        """The current content. Raises WebConfigError when it is invalid."""
        if self._read is None or any(_stamp(path) != stamp for path, stamp in self._read[0].items()):
            watched = {
                self._path: _stamp(self._path)
            }  # first: a change during the read is found at the next call
            found: WebConfig | WebConfigError
            try:
                _refuse_of_others(self._path)
                file = _read(self._path)
                for path in _named_files(self._path, file):
                    watched[path] = _stamp(path)
                    if path.is_file():  # others are refused with the certificates
                        _refuse_of_others(path)
                found = WebConfig(self._path, file)
                self.tls = found.tls
            except WebConfigError as error:
                found = error
            except Exception as error:  # noqa: BLE001 - what the parsers do not expect
                found = WebConfigError(f"{self._path}: invalid: {_one_line(error)}")
            self._read = watched, found
        if isinstance(self._read[1], WebConfigError):
            raise self._read[1]
        return self._read[1]


def _refuse_of_others(path: Path) -> None:
    """Raise WebConfigError if this process is root and another user can change the file: it gives access."""
    try:
        problem = ownership.problem_for_this_process(path)
    except OSError as error:
        raise WebConfigError(f"{path}: cannot be read: {errors.reason(error)}") from error
    if problem is not None:
        raise WebConfigError(problem)


def _read(path: Path) -> WebFile:
    try:
        raw = bounded.read(path, _MAX_BYTES)
    except OSError as error:
        raise WebConfigError(f"{path}: cannot be read: {errors.reason(error)}") from error
    try:
        # An empty file is valid, and sets nothing.
        return msgspec.yaml.decode(raw, type=WebFile | None) or WebFile()
    except msgspec.ValidationError as error:
        raise WebConfigError(f"{path}: {_explain(str(error))}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise WebConfigError(f"{path}: invalid YAML: {_one_line(error)}") from error


_EXPLAINED = {
    "basic_auth_users": "a table of user names with bcrypt hashes of cost 4 to 15 (htpasswd -nBC 10 NAME)",
    "interval": 'a duration such as "1s" or "100ms"',
    "burst": "a whole number from 0 to 1000000",
}


def _explain(message: str) -> str:
    """A msgspec error as key, problem, allowed values; never the value, which may be a secret."""
    problem, _, where = message.partition(" - at `$")
    key = re.sub(r"\[\.\.\.\]", "", where.rstrip("`")).strip(".")
    unknown = re.search(r"unknown field `(.*)`", problem)
    if unknown:
        return f"{key + ': ' if key else ''}unknown key {unknown[1]}"
    for name, allowed in _EXPLAINED.items():
        if name in key:
            return f"{key}: invalid; allowed: {allowed}"
    return f"{key or 'the file'}: {problem[:1].lower()}{problem[1:]}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _named_files(path: Path, file: WebFile) -> Iterator[Path]:
    tls = file.tls_server_config
    for name in (tls.cert_file, tls.key_file, tls.client_ca_file) if tls else ():
        if name:
            yield path.parent / name


def _stamp(path: Path) -> object:
    """A value that is different after a change of the file."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # ValueError: not a possible path
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _seconds(duration: str) -> float:
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|s|m|h)", duration))
