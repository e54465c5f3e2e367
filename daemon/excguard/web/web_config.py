"""The web configuration file: TLS and passwords for the endpoint, in the form of Prometheus' own exporters.

The form is that of exporter-toolkit (docs/web-configuration.md there), so one file serves excguard,
node_exporter and the rest. What Python's ssl cannot do is refused with a sentence, never ignored. File names
are relative to the folder of the web configuration.

The file, and the certificates that it names, are looked at for every connection and request and read again
when they have changed. A change that cannot be used closes the door: requests fail until it is mended, since
going on with the old file could let in somebody who was just taken out of it.
"""

import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from excguard.web.tls import TLS, WebConfigError, tls_context

_Hash = Annotated[str, Meta(pattern=r"^\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}$")]
_Duration = Annotated[str, Meta(pattern=r"^([0-9]+(ms|s|m|h))+$")]
_HeaderText = Annotated[str, Meta(pattern=r"^[\x20-\x7e]*$")]


class Headers(Struct, frozen=True, forbid_unknown_fields=True, rename={}):
    """``http_server_config.headers``: added to every response."""

    content_security_policy: _HeaderText = msgspec.field(default="", name="Content-Security-Policy")
    frame_options: Literal["", "deny", "sameorigin"] = msgspec.field(default="", name="X-Frame-Options")
    content_type_options: Literal["", "nosniff"] = msgspec.field(default="", name="X-Content-Type-Options")
    xss_protection: _HeaderText = msgspec.field(default="", name="X-XSS-Protection")
    transport_security: _HeaderText = msgspec.field(default="", name="Strict-Transport-Security")


class HTTP(Struct, frozen=True, forbid_unknown_fields=True):
    """``http_server_config``. HTTP/2 is never spoken, which a client finds out by itself."""

    http2: bool = True
    headers: Headers = Headers()


class RateLimit(Struct, frozen=True, forbid_unknown_fields=True):
    """``rate_limit``: a token bucket for all requests together."""

    interval: _Duration = "0s"
    burst: Annotated[int, Meta(ge=0)] = 0


class WebFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    tls_server_config: TLS | None = None
    http_server_config: HTTP = HTTP()
    basic_auth_users: dict[str, _Hash] = {}
    rate_limit: RateLimit = RateLimit()


class WebConfig:
    """What the file says, checked, with its certificates loaded."""

    def __init__(self, path: Path, file: WebFile) -> None:
        """Load what ``file``, read from ``path``, names. Raises WebConfigError."""
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
        """Whether a stranger is kept out: by a password, or by having to show a certificate."""
        return bool(self.users) or (self.tls is not None and self.tls.verify_mode is ssl.CERT_REQUIRED)

    def allows(self, certificate: Mapping[str, object] | None) -> bool:
        """Whether the client's certificate is of one of the names that are let in; True when all are."""
        if not self.allowed_sans:
            return True
        names = certificate.get("subjectAltName", ()) if certificate else ()
        return any(name in self.allowed_sans for _, name in names)  # type: ignore[attr-defined]


class WebConfigFile:
    """The file as it is now."""

    def __init__(self, path: Path) -> None:
        """Read ``path`` for the first time. Raises WebConfigError."""
        self._path = path
        self.tls: ssl.SSLContext | None = None
        """As of the last time that the file could be used: a refusal has to be encrypted, too."""
        self._read: tuple[dict[Path, object], WebConfig | WebConfigError] | None = None
        self.current()

    def current(self) -> WebConfig:
        """What the file says now. Raises WebConfigError when it cannot be used as it is now."""
        if self._read is None or any(_stamp(path) != stamp for path, stamp in self._read[0].items()):
            watched = {self._path: _stamp(self._path)}  # taken first: a change while we read shows next time
            found: WebConfig | WebConfigError
            try:
                file = _read(self._path)
                watched |= {path: _stamp(path) for path in _named_files(self._path, file)}
                found = WebConfig(self._path, file)
                self.tls = found.tls
            except WebConfigError as error:
                found = error
            self._read = watched, found
        if isinstance(self._read[1], WebConfigError):
            raise self._read[1]
        return self._read[1]


def _read(path: Path) -> WebFile:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise WebConfigError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    try:
        # An empty file is one that asks for nothing.
        return msgspec.yaml.decode(raw, type=WebFile | None) or WebFile()
    except msgspec.ValidationError as error:
        raise WebConfigError(f"{path}: {_explain(str(error))}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise WebConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error


_EXPLAINED = {
    "basic_auth_users": "a table of user names with bcrypt hashes of cost 4 to 15 (htpasswd -nBC 10 NAME)",
    "interval": 'a duration such as "1s" or "100ms"',
    "burst": "a whole number, 0 or more",
}


def _explain(message: str) -> str:
    """A msgspec error as key, what was wrong, what is allowed; never the value, which may be a secret."""
    problem, _, where = message.partition(" - at `$")
    key = re.sub(r"\[\.\.\.\]", "", where.rstrip("`")).strip(".")
    unknown = re.search(r"unknown field `(.*)`", problem)
    if unknown:
        return f"{key + ': ' if key else ''}unknown key {unknown[1]}"
    for name, allowed in _EXPLAINED.items():
        if name in key:
            return f"{key}: cannot be used; allowed: {allowed}"
    return f"{key or 'the file'}: {problem[:1].lower()}{problem[1:]}"


def _named_files(path: Path, file: WebFile) -> Iterator[Path]:
    tls = file.tls_server_config
    for name in (tls.cert_file, tls.key_file, tls.client_ca_file) if tls else ():
        if name:
            yield path.parent / name


def _stamp(path: Path) -> object:
    """Something that changes when the file does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _seconds(duration: str) -> float:
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|s|m|h)", duration))
