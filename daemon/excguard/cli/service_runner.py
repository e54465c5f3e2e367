"""What `run`, `serve` and `demo` share: opening the log and the endpoint, signals, and errors in one line."""

import asyncio
import contextlib
import errno
import signal
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from excguard.cli import FAILED
from excguard.cli.simulated_kernel import SimulatedKernelError
from excguard.config import Config, ConfigError, parse_listen
from excguard.files import errors
from excguard.mach.errors import MachError, UnsupportedReleaseError
from excguard.mach.host import Host
from excguard.pipeline.hit import rfc3339
from excguard.pipeline.journal import JournalError
from excguard.pipeline.sink import Level, Sink
from excguard.process import interrupt, standard_streams
from excguard.service import ReceiverStoppedError, Service
from excguard.web.endpoint import Endpoint
from excguard.web.errors import UnprotectedError, WebConfigError
from excguard.web.exposition import Exposition
from excguard.web.live_feed import LiveFeed

if TYPE_CHECKING:
    from excguard.web.web_config import WebConfigFile

# What can go wrong with the system, as opposed to with what was asked for.
SYSTEM_ERRORS = (
    JournalError,
    SimulatedKernelError,
    MachError,
    ReceiverStoppedError,
    UnsupportedReleaseError,
    OSError,
)

_PATIENCE = 1.0  # seconds


def report_error(text: str) -> None:
    """Write one line, with excguard's name, to standard error; given up when that is not being read."""
    standard_streams.write_error(f"excguard: {text}\n", patience=_PATIENCE)


def report_error_as_json(text: str) -> None:
    """The same where standard error carries JSON: the event ``excguard_error``."""
    write_event("error", "excguard_error", text)


def write_event(level: Level, name: str, error: str) -> None:
    """One event on standard error, in the form of the log's."""
    event = error_event(error, level, name)
    standard_streams.write_error(f"{msgspec.json.encode(event).decode()}\n", patience=_PATIENCE)


def error_event(error: str, level: Level = "error", name: str = "excguard_error") -> dict[str, str]:
    """An event about an error."""
    return {"timestamp": rfc3339(time.time_ns()), "level": level, "event": name, "error": error}


def report_deprecated(*, as_json: bool) -> Callable[[str], None]:
    """What `config.load` calls for a key with an old name: one line, or one event."""

    def report(text: str) -> None:
        if as_json:
            write_event("warning", "configuration_deprecated", text)
        else:
            report_error(text)

    return report


def write_stderr(text: str) -> None:
    """Write to standard error, however slowly it is read; a failure is ignored."""
    standard_streams.write_error(text)


def reason(error: BaseException) -> str:
    """An error as one line."""
    if isinstance(error, OSError) and error.strerror:
        return errors.message(error)
    return " ".join(str(error).split()) or type(error).__name__


def open_service(
    config: Config,
    host: Host,
    sinks: list[Sink],
    *,
    journal: Path,
    **options: Any,  # noqa: ANN401 - passed on
) -> tuple[Service, LiveFeed]:
    """A service, and the feed of its live page as one more sink.

    Args:
        config: as for `Service.open`.
        host: likewise.
        sinks: likewise.
        journal: likewise.
        options: likewise.

    Raises:
        what `Service.open` raises.
    """
    feed = LiveFeed(kernel=host.kernel, release=f"macOS {host.release}")
    service = Service.open(config, host, [*sinks, feed], journal=journal, **options)
    feed.connect(service)
    return service, feed


def open_endpoint(service: Service, feed: LiveFeed, config: Config, host: Host) -> Endpoint | None:
    """The HTTP endpoint that ``config`` describes; None when it describes none.

    Raises:
        OSError: the address is invalid or in use.
        ConfigError: the web configuration is invalid, or other machines would have access without
            authentication.
    """
    listen = parse_listen(config.metrics.listen)
    if listen is None:
        return None
    try:
        web_config = _web_config(config)
        endpoint = Endpoint(
            listen,
            Exposition(service, kernel=host.kernel, release=f"macOS {host.release}"),
            feed,
            service.ready,
            web_config=web_config,
            allow_unprotected=config.metrics.allow_unprotected,
            on_problem=lambda event, error: service.pipeline.emit("error", event, error=error),
        )
    except WebConfigError as error:
        raise ConfigError(f"metrics.web_config: {error}", ("metrics", "web_config")) from error
    except UnprotectedError as error:
        raise ConfigError(f"metrics.listen: {error}", ("metrics", "listen")) from error
    except OSError as error:
        text = f"no metrics on {config.metrics.listen}: {errors.reason(error)}"
        if error.errno == errno.EADDRINUSE and isinstance(listen, tuple):
            text += f" (`lsof -nP -iTCP:{listen[1]} -sTCP:LISTEN` shows by which program)"
        raise OSError(text) from error
    service.pipeline.emit("info", "metrics_listening", url=endpoint.metrics_url)
    return endpoint


def _web_config(config: Config) -> "WebConfigFile | None":
    if not config.metrics.web_config:
        return None
    from excguard.web.web_config import WebConfigFile  # noqa: PLC0415 - with YAML and TLS behind it

    return WebConfigFile(Path(config.metrics.web_config))


@contextlib.contextmanager
def signals_held(numbers: Iterable[int]) -> Iterator[None]:
    """Hold signals back until `live` handles them.

    One that ended the process while it opens would leave things undone, such as an attached process without
    its former handler.

    SIGINT is not for here: see `interrupt.Deferred`. Threads that are made meanwhile never receive the
    signals.
    """
    held = set(numbers) - {signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held)


def live(
    service: Service,
    on_signals: Mapping[int, Callable[[int], None]],
    afterwards: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run the service to its end; each of the signals calls its function with its number meanwhile.

    Args:
        service: is not closed here.
        on_signals: by number.
        afterwards: awaited when the service has run.
    """

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for number, on_signal in on_signals.items():
            loop.add_signal_handler(number, on_signal, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, on_signals)  # see `signals_held`
        await service.run()
        if afterwards is not None:
            await afterwards()

    asyncio.run(run())


def close(service: Service) -> bool:
    """Close the service, and let Ctrl-C wait for it: there are hits to be logged. As `Service.close`."""
    with interrupt.Deferred():
        return service.close()


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns what goes wrong in its block into a `Failure`, internal errors included.

    Errors of the command line and the configuration pass: they end with another status.
    """
    try:
        yield
    except (click.ClickException, ConfigError):
        raise
    except SYSTEM_ERRORS as error:
        raise Failure(reason(error)) from None
    except MemoryError:
        raise Failure("out of memory") from None
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        raise Failure(
            f"internal error, please report it: {type(error).__name__}: {error} ({where})"
        ) from error


@contextlib.contextmanager
def json_errors(*, wanted: bool) -> Iterator[None]:
    """If ``wanted``, the error that ends its block is written by `report_error_as_json`; its status stays."""
    try:
        yield
    except click.ClickException as error:
        if not wanted:
            raise
        report_error_as_json(" ".join(error.format_message().split()))
        raise click.exceptions.Exit(error.exit_code) from None


class Failure(click.ClickException):
    """Excguard itself could not do what it was asked for."""

    exit_code = FAILED
