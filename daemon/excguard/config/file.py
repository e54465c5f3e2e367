"""Reading a configuration file: TOML, old names of keys, defaults of the top level, absolute paths."""

import os
import pwd
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from excguard.config.checks import NUL, problems
from excguard.config.lines import KeyPath, line_of
from excguard.config.messages import ConfigError, Problem, explain, one_line, target_key
from excguard.config.settings import UNIX, Config
from excguard.files import bounded, bounded_toml, errors, ownership

# Table, old name and new name of each key that was renamed.
_RENAMED = (
    ("crash_reports", "folders", "directories"),
    ("target", "attach", "registration"),
)


MAX_SIZE = 1 << 20
"""Bytes of a configuration file."""


def default_path() -> Path:
    """Where ``serve`` looks when no ``--config`` is given: the user's directory for configurations."""
    return _directory("XDG_CONFIG_HOME", ".config") / "config.toml"


def default_journal_path() -> Path:
    """Where the journal of ``serve`` lies when ``journal.path`` is empty."""
    return state_directory() / "journal"


def runs_directory() -> Path:
    """Where ``run`` keeps its journals until it has logged everything."""
    return state_directory() / "runs"


def state_directory() -> Path:
    """The user's directory for what programs keep between two starts."""
    return _directory("XDG_STATE_HOME", ".local/state")


def _directory(variable: str, default: str) -> Path:
    """Excguard's directory in the one of the XDG base directory specification; on macOS in Apple's.

    An empty or relative variable counts as unset, as the specification has it.
    """
    if sys.platform == "darwin":
        return Path(click.get_app_dir("excguard"))
    named = Path(os.environ.get(variable, ""))
    return (named if named.is_absolute() else _home() / default) / "excguard"


def _home() -> Path:
    """The user's home; ``/`` for a user who has none, as in some containers.

    An empty or relative ``HOME`` counts as unset: what lies there would depend on the working directory.
    """
    named = Path(os.environ.get("HOME", ""))
    if named.is_absolute():
        return named
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path("/")


def load(path: Path, *, on_deprecated: Callable[[str], None] | None = None) -> Config:
    """Read and check a configuration file.

    Args:
        path: the file.
        on_deprecated: called with one line for each key that has a new name; the old one still works.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has an invalid key or value; or this process is
            root, and another user can change the file, whose commands are run.
    """
    try:
        if (problem := ownership.problem_for_this_process(path)) is not None:
            raise ConfigError(problem)
        text = bounded.read(path, MAX_SIZE).decode()
    except OSError as error:
        create = "create it, or " if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(
            f"{path}: cannot be read: {errors.reason(error)}; {create}name another file with --config"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; TOML files are UTF-8 text") from error
    return parse(text, file=str(path), directory=path.absolute().parent, on_deprecated=on_deprecated)


def parse(
    text: str, *, file: str, directory: Path, on_deprecated: Callable[[str], None] | None = None
) -> Config:
    """Check the text of a configuration file.

    Args:
        text: TOML.
        file: its name in errors.
        directory: where relative paths start.
        on_deprecated: see `load`.

    Raises:
        ConfigError: see `load`.
    """
    try:
        raw = bounded_toml.loads(text)
    except bounded_toml.TomlError as error:
        raise ConfigError(
            f"{file}: not TOML: {one_line(str(error))}; see https://toml.io for its syntax", line=error.line
        ) from error
    for problem in _rename_old_keys(raw, lambda line: on_deprecated and on_deprecated(f"{file}: {line}")):
        raise _error(file, text, problem)
    _inherit(raw)
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise _error(file, text, explain(raw, str(error))) from error
    config = _absolute(config, directory)
    for problem in problems(config):
        raise _error(file, text, problem)
    return config


def located(path: Path, key: KeyPath, text: str) -> ConfigError:
    """The error about a key of a file that `load` has read, and that turned out to be impossible later.

    Args:
        path: the file.
        key: the key.
        text: what is wrong with it, its name included.
    """
    try:
        contents = bounded.read(path, MAX_SIZE).decode()
    except (OSError, UnicodeDecodeError):  # it has been changed since
        contents = ""
    import tomllib  # noqa: PLC0415 - compiles patterns, for this alone

    try:
        return _error(str(path), contents, Problem(key, text))
    except tomllib.TOMLDecodeError:
        return _error(str(path), "", Problem(key, text))


def _error(file: str, text: str, problem: Problem) -> ConfigError:
    line = line_of(text, problem.path)
    place = f"{file}: " if line is None else f"{file}: line {line}: "
    return ConfigError(place + problem.text, problem.path, line)


def _rename_old_keys(raw: dict[str, Any], report: Callable[[str], None]) -> Iterator[Problem]:
    """Give the keys of ``raw`` that have old names their new ones, and report a line about each.

    Yields:
        what is wrong where both names are there.
    """
    for table, old, new in _RENAMED:
        for path, place, values in _tables(raw, table):
            if old not in values:
                continue
            if new in values:
                text = f"{place}: {old} and {new} are the same key; remove {old}, its old name"
                yield Problem((*path, old), text)
            values[new] = values.pop(old)
            report(f"{place}: {old} is deprecated; it is now named {new}")


def _tables(raw: dict[str, Any], table: str) -> Iterator[tuple[KeyPath, str, dict[str, Any]]]:
    """Every table of that name, with how errors name it."""
    found = raw.get(table)
    if isinstance(found, dict):
        yield (table,), f"[{table}]", found
    elif isinstance(found, list):
        for index, entry in enumerate(found):
            if isinstance(entry, dict):
                name = entry.get("name")
                yield (table, index), target_key(index + 1, name if isinstance(name, str) else ""), entry


def _inherit(raw: dict[str, Any]) -> None:
    """Put the top level's behavior and reply into the targets that have none of their own."""
    for _, _, target in _tables(raw, "target"):
        for key in ("behavior", "reply"):
            if key in raw:
                target.setdefault(key, raw[key])


def _absolute(config: Config, directory: Path) -> Config:
    """``config`` with its paths made absolute."""
    replace = msgspec.structs.replace

    def path(text: str) -> str:
        if not text or NUL in text:
            return text
        try:
            return str(directory / Path(text).expanduser())
        except RuntimeError:  # "~name/..." of a user who does not exist stays unchanged
            return str(directory / text)

    def listen(text: str) -> str:
        return UNIX + path(text.removeprefix(UNIX)) if text.startswith(UNIX) else text

    return replace(
        config,
        log=replace(config.log, path=path(config.log.path)),
        metrics=replace(
            config.metrics, listen=listen(config.metrics.listen), web_config=path(config.metrics.web_config)
        ),
        journal=replace(config.journal, path=path(config.journal.path)),
        crash_reports=replace(
            config.crash_reports, directories=tuple(path(entry) for entry in config.crash_reports.directories)
        ),
        webhook=replace(
            config.webhook,
            url_file=path(config.webhook.url_file),
            secret_file=path(config.webhook.secret_file),
        ),
        target=tuple(
            replace(
                target,
                directory=path(target.directory),
                # A bare name is searched on PATH, as in a shell.
                command=(
                    path(target.command[0]) if "/" in target.command[0] else target.command[0],
                    *target.command[1:],
                ),
            )
            for target in config.target
        ),
    )
