"""`excguard config`: where the configuration is, whether it is valid, and what it says."""

from pathlib import Path
from typing import Any

import click
import msgspec

from excguard import config as configuration
from excguard.cli.group import Group
from excguard.cli.service_runner import report_error
from excguard.config import Config, ConfigError
from excguard.files.escaping import printable

_PATH = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    help=f"Configuration (TOML).  [default: {configuration.default_path()}]",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object.")


@click.group("config", cls=Group)
def command() -> None:
    """Check and show the configuration of `excguard serve` and `excguard run`.

    excguard-config(5) and config.toml in the repository describe its keys.

    \b
    Examples:
      excguard config check
      excguard config check --config excguard.toml
      excguard config show --json | jq .metrics.listen
    """  # noqa: D301 - click wants the real backspace


@command.command("check", short_help="Say whether the configuration is valid.")
@_PATH
@_JSON
def check_command(path: Path | None, *, as_json: bool) -> None:
    """Say whether the configuration is valid, and which line to fix.

    \b
    Exit status:
      0    it is valid
      2    it is invalid, or cannot be read
    """  # noqa: D301 - click wants the real backspace
    path = path or configuration.default_path()
    deprecated: list[str] = []
    found: dict[str, Any] = {"path": str(path), "valid": True, "error": None, "line": None, "key": None}
    try:
        config = configuration.load(path, on_deprecated=deprecated.append)
    except ConfigError as error:
        if not as_json:
            raise click.UsageError(str(error)) from None
        found |= {"valid": False, "error": str(error), "line": error.line, "key": error.key, "targets": []}
    else:
        found["targets"] = [target.name for target in config.target]
        if not as_json:
            for line in deprecated:
                report_error(line)
            click.echo(f"{printable(str(path))}: valid; {_watched(config)}")
    if as_json:
        click.echo(msgspec.json.encode({**found, "deprecated": deprecated}))
    raise SystemExit(0 if found["valid"] else 2)


@command.command("show", short_help="Show the value of every key.")
@_PATH
@_JSON
def show_command(path: Path | None, *, as_json: bool) -> None:
    """Show the value of every key, as TOML: the defaults too, and with absolute paths.

    webhook.url, which is a secret, is not shown.

    \b
    Exit status:
      0    it was printed
      2    it is invalid, or cannot be read
    """  # noqa: D301 - click wants the real backspace
    path = path or configuration.default_path()
    try:
        config = configuration.load(path, on_deprecated=report_error)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    if config.webhook.url:
        config = msgspec.structs.replace(
            config, webhook=msgspec.structs.replace(config.webhook, url="(not shown)")
        )
    if as_json:
        click.echo(msgspec.json.encode(config))
        return
    import tomlkit  # noqa: PLC0415 - for this command alone

    click.echo(f"# {printable(str(path.absolute()))}, and the defaults of what is not in it.")
    click.echo(tomlkit.dumps(msgspec.to_builtins(config)), nl=False)


@command.command("path", short_help="Show where the configuration is looked for.")
@_JSON
def path_command(*, as_json: bool) -> None:
    """Show the path of the configuration that `excguard serve` reads without --config.

    \b
    Exit status:
      0    also when the file does not exist
    """  # noqa: D301 - click wants the real backspace
    path = configuration.default_path()
    click.echo(msgspec.json.encode({"path": str(path), "exists": path.exists()}) if as_json else str(path))


def _watched(config: Config) -> str:
    names = ", ".join(printable(target.name) for target in config.target)
    if names:
        return f"watches {names}"
    if config.watches_others:
        return "watches the processes that its sources name"
    return "has nothing to watch: `excguard serve` needs a [[target]]"
