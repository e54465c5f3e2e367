"""`excguard serve`: the daemon, for launchd or a terminal."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from excguard import config as configuration
from excguard.cli import service_runner, simulated_kernel
from excguard.cli.service_runner import Failure, report_error
from excguard.config import Config, ConfigError
from excguard.files import atomic, errors, ownership
from excguard.files.escaping import printable
from excguard.files.off_loop import OffLoop
from excguard.launchd.job import Kind
from excguard.mach import host as mach_host
from excguard.pipeline.journal import JournalError
from excguard.process import interrupt, standard_streams
from excguard.service import needs_restart
from excguard.sinks.log import EventLog, open_standard_error
from excguard.sinks.registry import open_sinks
from excguard.web.endpoint import Endpoint

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_READING = 10.0  # seconds to read the configuration in
_WRITING = 1.0  # seconds to write the first line in


@click.command("serve")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help=f"Configuration (TOML).  [default: {configuration.default_path()}]",
)
@click.option(
    "--log",
    "log_path",
    type=click.Path(path_type=Path),
    help="Append the log to this file, whatever the configuration says.",
)
@click.option(
    "--pid-file", type=click.Path(path_type=Path), help="Keep the process id here, for newsyslog and others."
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Write the log as JSON lines, whatever the configuration says.",
)
def command(config_path: Path | None, log_path: Path | None, pid_file: Path | None, *, as_json: bool) -> None:
    """Start programs, watch them, and log and count every guard exception in them.

    Runs in the foreground, as launchd wants it, until no program is left to look after. The first line on
    standard output says where the live page, the log, the journal and the configuration are.

    \b
    Signals:
      SIGTERM, SIGINT   end: the programs are ended, and what waits is logged
      SIGHUP            read the configuration again; a wrong one changes nothing
      SIGUSR1           open the log again, after a rotation

    \b
    Examples:
      excguard serve
      excguard serve --config excguard.toml

    \b
    A configuration for a start:
      [[target]]
      name = "mail"
      command = ["/Applications/Mail.app/Contents/MacOS/Mail"]

    \b
    Exit status:
      0    stopped as asked, or no program is left
      2    the command line or the configuration is wrong
      125  excguard failed: no journal, no log, or no port for the metrics
    """  # noqa: D301 - click wants the real backspace
    daemon = _Daemon(config_path or configuration.default_path(), log_path, as_json=as_json)
    with service_runner.json_errors(wanted=as_json):
        try:
            with service_runner.one_line_errors():
                complete = daemon.serve(daemon.read_config(), pid_file)
        except ConfigError as error:
            raise click.UsageError(str(error)) from None
        if not complete:
            raise Failure(
                "the log could not be written to the end; the rest waits in the journal for the next start"
            )


class _Daemon:
    """One run of the daemon, and what its signals do."""

    def __init__(self, path: Path, log_path: Path | None, *, as_json: bool) -> None:
        """Read the configuration from ``path``; the other two override what it says of the log."""
        self._path = path
        self._log_path = log_path
        self._as_json = as_json
        self._reloading = asyncio.Lock()
        self._off_loop = OffLoop(_READING)
        self._tasks: set[asyncio.Task[None]] = set()
        self._endpoint: Endpoint | None = None
        self._complete = True

    def read_config(self) -> Config:
        """The configuration, with what the command line says on top. Raises ConfigError."""
        config = configuration.load(
            self._path, on_deprecated=service_runner.report_deprecated(as_json=self._as_json)
        )
        if not config.target and not config.watches_others:
            raise ConfigError(
                f"{self._path}: nothing to watch; add a [[target]] with a name and a command, "
                "or name processes in [crash_reports] or [unified_log]"
            )
        log = config.log
        if self._log_path is not None:
            log = msgspec.structs.replace(log, path=str(self._log_path.absolute()))
        if self._as_json:
            log = msgspec.structs.replace(log, format="json")
        return msgspec.structs.replace(config, log=log)

    def serve(self, config: Config, pid_file: Path | None) -> bool:
        """Serve to the end. False when the log did not take everything."""
        journal = Path(config.journal.path) if config.journal.path else _default_journal()
        if (problem := ownership.problem_for_this_process(journal)) is not None:
            raise JournalError(problem)
        with contextlib.ExitStack() as stack:
            simulated_kernel.start_if_needed()
            self._host = mach_host.running()
            self._config = config
            stack.enter_context(service_runner.signals_held((*_STOPPING, signal.SIGHUP, signal.SIGUSR1)))
            stack.callback(self._close_endpoint)
            with interrupt.Deferred():  # until the stack has it, nothing would close it
                with self._naming_the_log():
                    sinks = open_sinks(config, self._host, report_error)
                if not config.log.path:
                    sinks.append(open_standard_error(self._host, config.log, report_error))
                self._logs = [sink for sink in sinks if isinstance(sink, EventLog)]
                self._service, self._feed = service_runner.open_service(
                    config, self._host, sinks, journal=journal, check_in=service_name()
                )
                stack.callback(self._close_service)
            self._endpoint = self._open_endpoint(config)
            if pid_file is not None:
                stack.enter_context(_pid_file(pid_file))
            self._say_where(journal)
            service_runner.live(
                self._service,
                {
                    **dict.fromkeys(_STOPPING, lambda _: self._service.stop()),
                    signal.SIGHUP: self._on_hup,
                    signal.SIGUSR1: lambda _: self._reopen_log(),
                },
            )
        return self._complete

    def _say_where(self, journal: Path) -> None:
        """One line on standard output: where to look, and what was read."""
        endpoint = self._endpoint
        # The page of a Unix socket is for programs; the socket itself is what can be named.
        page = None if endpoint is None else f"{endpoint.url}/" if "://" in endpoint.url else endpoint.url
        where = {
            "page": page,
            "log": ", ".join(log.output.name for log in self._logs),
            "journal": str(journal),
            "configuration": str(self._path.absolute()),
        }
        if self._as_json:
            text = msgspec.json.encode(where).decode()
        else:
            shown = ", ".join(f"{name} {printable(value or 'off')}" for name, value in where.items())
            text = f"excguard: {shown}"
        standard_streams.write_output(f"{text}\n", patience=_WRITING)

    def _close_service(self) -> None:
        self._complete = service_runner.close(self._service)

    def _close_endpoint(self) -> None:
        if self._endpoint is not None:
            self._endpoint.close()

    def _open_endpoint(self, config: Config) -> Endpoint | None:
        try:
            return service_runner.open_endpoint(self._service, self._feed, config, self._host)
        except ConfigError as error:
            raise configuration.located(self._path, error.path, str(error)) from None
        except OSError as error:
            raise OSError(f"{error}; set metrics.listen in {self._path} to another address") from None

    @contextlib.contextmanager
    def _naming_the_log(self) -> Iterator[None]:
        """What goes wrong in its block is about ``log.path``, or about --log, which replaces it."""
        try:
            yield
        except OSError as error:
            if self._log_path is not None:
                text = f"--log: {errors.message(error)}"
            else:
                key = ("log", "path")
                text = str(configuration.located(self._path, key, f"log.path: {errors.message(error)}"))
            raise OSError(text) from None

    def _on_hup(self, _number: int) -> None:
        task = asyncio.get_running_loop().create_task(self._reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> None:
        """Go over to the configuration as it is now on disk; to all of it, or to none."""
        async with self._reloading:
            old, service, emit = self._config, self._service, self._service.pipeline.emit
            endpoint = None
            moved = False
            try:
                config = await self._off_loop.call(self.read_config)
                service.check(config)
                moved = config.metrics.listen != old.metrics.listen
                if moved:
                    endpoint = self._open_endpoint(config)
                if config.log.path and old.log.path:
                    with self._naming_the_log():
                        self._move_logs(Path(config.log.path))
            except (ConfigError, TimeoutError, *service_runner.SYSTEM_ERRORS) as error:
                if endpoint is not None:
                    endpoint.close()
                emit(
                    "error",
                    "configuration_rejected",
                    file=str(self._path),
                    line=error.line if isinstance(error, ConfigError) else None,
                    key=error.key if isinstance(error, ConfigError) else None,
                    error=service_runner.reason(error),
                )
                return
            self._config = config
            if moved:
                before, self._endpoint = self._endpoint, endpoint
                if before is not None:
                    await asyncio.to_thread(before.close)
            try:
                await service.reload(config)
            except service_runner.SYSTEM_ERRORS as error:
                emit(
                    "error",
                    "configuration_incomplete",
                    file=str(self._path),
                    error=service_runner.reason(error),
                )
            emit(
                "info",
                "configuration_reloaded",
                file=str(self._path),
                needs_restart=needs_restart(old, config),
            )

    def _reopen_log(self) -> None:
        try:
            self._move_logs(None)
        except OSError as error:
            self._service.pipeline.emit("error", "log_not_reopened", error=service_runner.reason(error))
        else:
            names = ", ".join(log.output.name for log in self._logs)
            self._service.pipeline.emit("info", "log_reopened", path=names)

    def _move_logs(self, path: Path | None) -> None:
        """Open the log again, at ``path`` or where it was. Raises OSError; nothing has changed then."""
        for log in self._logs:
            self._service.pipeline.call(log, log.reopen(path))


def service_name() -> str:
    """The Mach service that this process offers: its launchd job's, or that of the job it would be."""
    job = os.environ.get("XPC_SERVICE_NAME", "")  # set by launchd
    labels = [kind.label for kind in Kind]
    if job in labels:
        return job
    return (Kind.DAEMON if os.geteuid() == 0 else Kind.AGENT).label


def _default_journal() -> Path:
    """The journal in the state directory. One of excguard 0.1, beside the configuration, is moved there."""
    journal = configuration.default_journal_path()
    journal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    old = configuration.default_path().with_name("journal")
    if old != journal and old.exists() and not journal.exists():
        for path in old.parent.glob("journal*"):
            with contextlib.suppress(OSError):  # on another disk, say: then a new one is made
                path.rename(journal.parent / path.name)
    return journal


@contextlib.contextmanager
def _pid_file(path: Path) -> Iterator[None]:
    """Our process id in a file, for as long as we run. Raises OSError."""
    atomic.write(path, f"{os.getpid()}\n".encode(), mode=0o644)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
