"""`excguard serve`: the daemon, for launchd or a terminal."""

import contextlib
import signal
from pathlib import Path

import click

from excguard import config as configuration
from excguard import sim
from excguard.cli import lifetime
from excguard.cli.lifetime import Failure
from excguard.config import Config, ConfigError
from excguard.mach import host as mach_host
from excguard.service import Service

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@click.command("serve", short_help="Watch programs day and night: the daemon.")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help=f"Configuration (TOML).  [default: {configuration.default_path()}]",
)
@click.option(
    "--json", "as_json", is_flag=True, help="JSON lines in the log, whatever the configuration says."
)
def command(config_path: Path | None, *, as_json: bool) -> None:
    """Start the programs of the configuration, watch them, and log and count every guard exception in them.

    Runs in the foreground, as launchd wants it, until no program is left to look after. SIGTERM, SIGINT and
    SIGHUP end it: the programs are stopped, everything that waits is logged, and the exit status is 0.

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
      125  excguard failed: the journal, the log or the port of the metrics cannot be had
    """  # noqa: D301 - click wants the real backspace
    path = config_path or configuration.default_path()
    try:
        config = configuration.load(path)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    if not config.target:
        raise click.UsageError(f"{path}: nothing to watch; add a [[target]] with a name and a command")
    try:
        with lifetime.one_line_errors():
            told = _serve(config, as_json=as_json)
    except ConfigError as error:
        raise click.UsageError(f"{path}: {error}") from None
    if not told:
        raise Failure(
            "the log could not be written to the end; the rest waits in the journal for the next start"
        )


def _serve(config: Config, *, as_json: bool) -> bool:
    """Serve to the end. False when the log would not take everything."""
    journal = Path(config.journal.path) if config.journal.path else configuration.default_journal_path()
    if not config.journal.path:
        journal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        sim.start_if_needed()
        host = mach_host.running()
        form = "json" if as_json else config.log.format
        log = (
            lifetime.file_log(Path(config.log.path), host, form)
            if config.log.path
            else lifetime.stderr_log(host, form)
        )
        stack.callback(log.output.close)
        service = Service(config, host, [log], journal=journal)
        try:
            endpoint = lifetime.open_endpoint(service, config, host)
            if endpoint is not None:
                stack.callback(endpoint.close)
            lifetime.live(service, _STOPPING, lambda _number: service.stop())
        finally:
            told = service.close()
    return told
