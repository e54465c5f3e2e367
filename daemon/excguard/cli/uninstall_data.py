"""`excguard uninstall-data`: remove the files that excguard keeps for this user."""

import fcntl
import os
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import msgspec

from excguard import config as configuration
from excguard.files.errors import message
from excguard.files.escaping import printable
from excguard.launchd.job import Kind, Layout


@click.command("uninstall-data")
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@click.option("--keep-config", is_flag=True, help="Keep the configuration.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object. Needs --yes or --dry-run.")
def command(*, dry_run: bool, keep_config: bool, yes: bool, as_json: bool) -> None:
    """Remove the configuration, journals and logs that excguard keeps for this user, and its temporary files.

    Nothing is removed while an excguard uses one of these files, or while a launchd job is installed. Files
    whose paths you have chosen yourself, such as log.path, stay. `excguard recover` prints hits of
    interrupted runs; do that first.

    \b
    Examples:
      excguard uninstall-data --dry-run
      excguard uninstall-data --keep-config --yes

    \b
    Exit status:
      0    everything is removed, or listed
      1    something is in use, or could not be removed
      2    the command line is wrong
    """  # noqa: D301 - click wants the real backspace
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json needs --yes or --dry-run")
    found = list(_found(keep_config=keep_config))
    if not dry_run:
        _refuse_what_is_used(found)
    if not as_json:
        for path in found:
            click.echo(printable(str(path)))
        if not found:
            click.echo("Nothing to remove.")
    if found and not dry_run:
        if not yes:
            click.confirm("Remove all of this?", abort=True, err=True)
        for path in found:
            _remove(path)
    if as_json:
        text = msgspec.json.encode({"dry_run": dry_run, "paths": [str(path) for path in found]})
        click.echo(text.decode())


def _found(*, keep_config: bool) -> Iterator[Path]:
    """What there is to remove."""
    config = configuration.default_path()
    state = configuration.state_directory()
    for directory in dict.fromkeys((state, config.parent)):
        if keep_config and directory == config.parent:
            yield from sorted(path for path in _entries(directory) if path != config)
        elif _exists(directory):
            yield directory
    logs = Layout(Kind.AGENT, Path.home()).logs
    if _exists(logs):
        yield logs
    temporary = Path(tempfile.gettempdir())
    for pattern in ("excguard-run-*", "excsim-*"):
        yield from (path for path in sorted(temporary.glob(pattern)) if _is_left_over(path))
    # Of dashboards/demo.toml, which names /tmp.
    for directory in dict.fromkeys((temporary, Path("/tmp")) if sys.platform == "darwin" else (temporary,)):  # noqa: S108
        yield from (path for path in sorted(directory.glob("excguard-demo.*")) if _is_own(path, stat.S_ISREG))


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _is_left_over(directory: Path) -> bool:
    """Whether a temporary directory is this user's, and no simulated kernel listens in it."""
    if not _is_own(directory, stat.S_ISDIR):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(directory / "socket"))
        except TimeoutError:  # it listens, and is busy
            return False
        except OSError:
            return True
    return False


def _is_own(path: Path, kind: Callable[[int], bool]) -> bool:
    """Whether it is of that kind and this user's; no longer there is neither."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return kind(status.st_mode) and status.st_uid == os.geteuid()


def _refuse_what_is_used(found: list[Path]) -> None:
    for kind in Kind:
        property_list = Layout(kind, Path.home()).property_list
        if property_list.exists():
            raise click.ClickException(
                f"{property_list}: the launchd job is installed; remove it first: excguard launchd uninstall"
            )
    for path in found:
        for journal in path.rglob("journal*") if path.is_dir() else [path]:
            if journal.is_file() and not journal.is_symlink() and _is_locked(journal):
                raise click.ClickException(
                    f"{printable(str(journal))}: in use by a running excguard; stop it first"
                )


def _is_locked(journal: Path) -> bool:
    """Whether an excguard has the journal open (native/journal_open.c locks it)."""
    try:
        descriptor = os.open(journal, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove(path: Path) -> None:
    """Remove a file, or a directory with everything in it; what a symbolic link leads to stays."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        raise click.ClickException(message(error)) from None
