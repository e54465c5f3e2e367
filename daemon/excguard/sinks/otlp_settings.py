"""Where OTLP goes and how: the standard variables OTEL_EXPORTER_OTLP_LOGS_... and OTEL_EXPORTER_OTLP_....

Source: opentelemetry.io/docs/specs/otel/protocol/exporter.
"""

import re
import ssl
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote

from excguard.config.checks import is_url
from excguard.files import errors

_PREFIX: Final = "OTEL_EXPORTER_OTLP_"
_DEFAULT_ENDPOINT: Final = "http://localhost:4318"
_DEFAULT_TIMEOUT_MS: Final = 10_000
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class SettingsError(OSError):
    """A variable of the environment has a value that cannot work; the message names it."""


class Settings(NamedTuple):
    """What the environment and the configuration say.

    Attributes:
        url: where records are sent.
        headers: of each request.
        timeout: seconds.
        compress: whether requests are compressed with gzip.
        context: certificates; None for those of the system.
        resource: attributes of every resource, from OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME.
    """

    url: str
    headers: Mapping[str, str]
    timeout: float
    compress: bool
    context: ssl.SSLContext | None
    resource: Mapping[str, str]


def read(endpoint: str, environment: Mapping[str, str]) -> Settings:
    """Read the standard variables.

    Args:
        endpoint: base address from the configuration; "" for that of the environment.
        environment: as `os.environ`.

    Raises:
        SettingsError: a value cannot work, or a certificate cannot be read.
    """

    def of(name: str) -> str:
        """The variable for logs, else the one for all signals; an empty one counts as unset."""
        return environment.get(f"{_PREFIX}LOGS_{name}") or environment.get(f"{_PREFIX}{name}") or ""

    protocol = of("PROTOCOL")
    if protocol not in {"", "http/json", "http/protobuf"}:  # a receiver of OTLP/HTTP takes both encodings
        raise SettingsError(
            f"{_PREFIX}PROTOCOL: {protocol!r}; excguard sends http/json: set that, and a port for HTTP"
        )
    compression = of("COMPRESSION")
    if compression not in {"", "gzip", "none"}:
        raise SettingsError(f'{_PREFIX}COMPRESSION: {compression!r}; allowed: "gzip", "none"')
    timeout = of("TIMEOUT") or str(_DEFAULT_TIMEOUT_MS)
    if not (timeout.isascii() and timeout.isdigit() and 0 < int(timeout[:9]) <= 600_000):
        raise SettingsError(f"{_PREFIX}TIMEOUT: {timeout!r}; allowed: milliseconds, from 1 to 600000")
    found = Settings(
        url=_url(endpoint, environment),
        headers=_headers(of("HEADERS")),
        timeout=int(timeout) / 1000,
        compress=compression != "none",
        context=_context(of("CERTIFICATE"), of("CLIENT_CERTIFICATE"), of("CLIENT_KEY")),
        resource=_pairs(environment.get("OTEL_RESOURCE_ATTRIBUTES", ""), "OTEL_RESOURCE_ATTRIBUTES"),
    )
    if service := environment.get("OTEL_SERVICE_NAME"):
        return found._replace(resource={**found.resource, "service.name": service})
    return found


def _url(endpoint: str, environment: Mapping[str, str]) -> str:
    """The address of the signal; only the variable for logs has it whole."""
    base, name = endpoint, "otlp.endpoint"
    for variable in (f"{_PREFIX}LOGS_ENDPOINT", f"{_PREFIX}ENDPOINT"):
        if not base:
            base, name = environment.get(variable, ""), variable
    base = base or _DEFAULT_ENDPOINT
    if not is_url(base):
        raise SettingsError(f'{name}: {base!r}; expected an address such as "http://localhost:4318"')
    return base if name == f"{_PREFIX}LOGS_ENDPOINT" else f"{base.rstrip('/')}/v1/logs"


def _headers(text: str) -> dict[str, str]:
    """The headers, which have to be ones that HTTP can send (RFC 9110, 5.1 and 5.5)."""
    found = _pairs(text, f"{_PREFIX}HEADERS")
    for name, value in found.items():
        if not _HEADER_NAME.fullmatch(name) or not value.isascii():
            raise SettingsError(f"{_PREFIX}HEADERS: {name!r} cannot be sent: names are words, values ASCII")
    return found


def _pairs(text: str, name: str) -> dict[str, str]:
    """``key=value,key=value`` with values in percent encoding (the format of W3C Baggage)."""
    found = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = pair.partition("=")
        value = unquote(value.strip())
        if not equals or not key.strip():
            raise SettingsError(f"{name}: {key!r} is not followed by =VALUE")
        if not (key + value).isprintable():
            raise SettingsError(f"{name}: the value of {key!r} has control characters")
        found[key.strip()] = value
    return found


def _context(certificate: str, client: str, key: str) -> ssl.SSLContext | None:
    if key and not client:
        raise SettingsError(f"{_PREFIX}CLIENT_KEY: needs {_PREFIX}CLIENT_CERTIFICATE beside it")
    if not (certificate or client):
        return None
    name, files = "CERTIFICATE", certificate
    try:
        context = ssl.create_default_context(cafile=certificate or None)
        if client:
            name, files = "CLIENT_CERTIFICATE, CLIENT_KEY", f"{client}, {key}" if key else client
            context.load_cert_chain(client, key or None)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = errors.reason(error) if isinstance(error, OSError) else str(error)
        raise SettingsError(f"{_PREFIX}{name}: {files}: {reason}") from None
    return context
