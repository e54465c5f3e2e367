"""The configuration file: what may stand in it, and one clear line for whatever may not.

The file is TOML. Every key has a default, so an empty file (and no file, for ``excguard run``) will do.
`config.toml` at the root of the repository shows each key with its default and meaning; a test holds the two
together.

A key that nobody knows, a value of the wrong type and a value that cannot work all stop the start with one
line that names the file, the key, what was wrong and what is allowed.
"""

import difflib
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import msgspec
from msgspec import Meta, Struct, inspect

from excguard.knowledge.guard_behavior import GuardBehavior

BehaviorName = Literal["identity_protected", "state_identity_protected"]
ReplyName = Literal["forward", "consume"]
AttachName = Literal["spawn", "rendezvous", "both"]
RestartName = Literal["never", "on_failure", "always"]
LogFormat = Literal["auto", "console", "json"]

# The description of a field is the "allowed" half of an error about it.
_NAME = Meta(description="text of one character or more, different for each target", min_length=1)
_COMMAND = Meta(description='a list of text, the program first: ["/usr/bin/true", "argument"]', min_length=1)
_PATH = Meta(description="a path; relative ones start at the folder of the configuration file")
_FOLDER = Meta(description="the path of a folder that exists")
_ENVIRONMENT = Meta(description='a table of text: { NAME = "value" }, with no "=" in the names')
_FIRST = Meta(description="a whole number from 0 to 100000", ge=0, le=100_000)
_WINDOW = Meta(description="seconds, from 1 to 86400", ge=1.0, le=86_400.0)
_LISTEN = Meta(description='"HOST:PORT" such as "127.0.0.1:12012" or "[::1]:12012", or "" for no endpoint')
_SWITCH = Meta(description="true or false")
_CAPACITY = Meta(description="a power of two from 1024 to 16777216", ge=1 << 10, le=1 << 24)
_GUARD_BEHAVIOR = Meta(description='names such as "MP_DELIVER|MP_FATAL", or "" to leave it as it is')
_DELAY = Meta(description="seconds, from 0 to 3600", ge=0.0, le=3600.0)
_FOLDERS = Meta(description='a list of paths: ["~/Library/Logs/DiagnosticReports"]')
_PROCESSES = Meta(
    description='a list of names of programs, "*" and "?" in them for any text: ["Mail", "My*"]'
)
_LOG_COMMAND = Meta(description='a list of text: ["/usr/bin/log", "show", "--style", "ndjson"]')

MAX_TARGETS = 128  # EXCGUARD_MAX_TARGETS of native/receiver.h; a test compares them

# What no path, argument or variable of a process can hold: they end at the first NUL.
_NUL = "\0"


class ConfigError(ValueError):
    """A configuration that cannot be used, in one line: file, key, what was wrong, what is allowed."""


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """``[log]``: where the log goes and how much of a storm it shows."""

    format: LogFormat = "auto"
    path: Annotated[str, _PATH] = ""
    first: Annotated[int, _FIRST] = 10
    window: Annotated[float, _WINDOW] = 60.0


class Metrics(Struct, frozen=True, forbid_unknown_fields=True):
    """``[metrics]``: the endpoint that Prometheus scrapes."""

    listen: Annotated[str, _LISTEN] = "127.0.0.1:12012"
    web_config: Annotated[str, _PATH] = ""
    allow_unprotected: Annotated[bool, _SWITCH] = False


class Journal(Struct, frozen=True, forbid_unknown_fields=True):
    """``[journal]``: the file that carries hits from the receiver to the log, even over a crash."""

    path: Annotated[str, _PATH] = ""
    capacity: Annotated[int, _CAPACITY] = 65_536


class CrashReports(Struct, frozen=True, forbid_unknown_fields=True):
    """``[crash_reports]``: hits that only ReportCrash can tell of."""

    enabled: bool = True
    folders: Annotated[tuple[str, ...], _FOLDERS] = ()
    processes: Annotated[tuple[str, ...], _PROCESSES] = ()
    wait: Annotated[float, _DELAY] = 0.0


class UnifiedLog(Struct, frozen=True, forbid_unknown_fields=True):
    """``[unified_log]``: hits that only the kernel's lines in the unified log tell of."""

    enabled: bool = False
    processes: Annotated[tuple[str, ...], _PROCESSES] = ()
    command: Annotated[tuple[str, ...], _LOG_COMMAND] = ()


class Target(Struct, frozen=True, forbid_unknown_fields=True):
    """``[[target]]``: one program to watch. A ``behavior`` or ``reply`` of None is that of the top level."""

    name: Annotated[str, _NAME]
    command: Annotated[tuple[str, ...], _COMMAND]
    directory: Annotated[str, _FOLDER] = ""
    environment: Annotated[dict[str, str], _ENVIRONMENT] = {}
    restart: RestartName = "on_failure"
    restart_delay: Annotated[float, _DELAY] = 1.0
    restart_delay_max: Annotated[float, _DELAY] = 60.0
    stop_timeout: Annotated[float, _DELAY] = 5.0
    behavior: BehaviorName | None = None
    reply: ReplyName | None = None
    attach: AttachName = "spawn"
    guard_behavior: Annotated[str, _GUARD_BEHAVIOR] = ""


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. Paths are absolute once `load` has returned it."""

    behavior: BehaviorName = "identity_protected"
    reply: ReplyName = "forward"
    log: Log = Log()
    metrics: Metrics = Metrics()
    journal: Journal = Journal()
    crash_reports: CrashReports = CrashReports()
    unified_log: UnifiedLog = UnifiedLog()
    target: tuple[Target, ...] = ()

    @property
    def watches_others(self) -> bool:
        """Whether there is something to do without any target: programs that nobody starts here."""
        reports, log = self.crash_reports, self.unified_log
        return bool((reports.enabled and reports.processes) or (log.enabled and log.processes))

    def behavior_of(self, target: Target) -> BehaviorName:
        """The exception behavior that ``target``'s port is registered with."""
        return target.behavior or self.behavior

    def reply_of(self, target: Target) -> ReplyName:
        """How ``target``'s exceptions are answered."""
        return target.reply or self.reply


def default_path() -> Path:
    """Where ``serve`` looks when no ``--config`` is given: the user's folder for application data."""
    return Path(click.get_app_dir("excguard")) / "config.toml"


def default_journal_path() -> Path:
    """Where the journal of ``serve`` lies when ``journal.path`` is empty."""
    return Path(click.get_app_dir("excguard")) / "journal"


def load(path: Path) -> Config:
    """Read and check a configuration file.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or holds something that excguard cannot use.
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{path}: cannot be read: {reason}; name another file with --config") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; TOML files are UTF-8 text") from error
    return parse(text, file=str(path), folder=path.absolute().parent)


def parse(text: str, *, file: str, folder: Path) -> Config:
    """Check the text of a configuration file.

    Args:
        text: TOML.
        file: how errors call it.
        folder: where relative paths start.

    Raises:
        ConfigError: see `load`.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{file}: not TOML: {_one_line(str(error))}; see https://toml.io for its syntax"
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{file}: not a configuration: nested too deeply") from error
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file}: {_explain(raw, str(error))}") from error
    config = _absolute(config, folder)
    try:
        check(config)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
    return config


def check(config: Config) -> None:
    """Refuse what is well typed and cannot work all the same.

    Raises:
        ConfigError: "key: what was wrong; what is allowed", for the first such thing.
    """
    for problem in _problems(config):
        raise ConfigError(problem)


def parse_listen(listen: str) -> tuple[str, int] | None:
    """``"HOST:PORT"`` as (host, port), the brackets of an IPv6 host taken off; None when it is none.

    Port 0 asks the system for a free one.
    """
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:\[\]/]+)):([0-9]{1,5})", listen, re.ASCII)
    if match is None or int(match[3]) > 0xFFFF:
        return None
    return match[1] or match[2], int(match[3])


def _problems(config: Config) -> Iterator[str]:
    if config.metrics.listen and not parse_listen(config.metrics.listen):
        yield _wrong("metrics.listen", config.metrics.listen, str(_LISTEN.description))
    for key, path in (
        ("log.path", config.log.path),
        ("metrics.web_config", config.metrics.web_config),
        ("journal.path", config.journal.path),
    ):
        if _NUL in path:
            yield f"{key}: a path cannot hold a NUL character"
    capacity = config.journal.capacity
    if capacity & (capacity - 1):
        yield _wrong("journal.capacity", capacity, str(_CAPACITY.description))
    if any(_NUL in folder for folder in config.crash_reports.folders):
        yield "crash_reports.folders: a path cannot hold a NUL character"
    if any(_NUL in word for word in config.unified_log.command):
        yield "unified_log.command: an argument cannot hold a NUL character"
    yield from _pair_problems("reply", config.behavior, config.reply)
    if len(config.target) > MAX_TARGETS:
        yield f"target: {len(config.target)} of them; allowed: {MAX_TARGETS} at most"
    names: set[str] = set()
    for number, target in enumerate(config.target, start=1):
        key = _target_key(number, target.name)
        if target.name in names:
            yield f"{key} name: another target has this name already; each target needs its own"
        names.add(target.name)
        yield from _target_problems(key, config, target)


def _target_problems(key: str, config: Config, target: Target) -> Iterator[str]:
    for place, text in (("name", target.name), ("directory", target.directory)):
        if _NUL in text:
            yield f"{key} {place}: cannot hold a NUL character"
    if not target.command[0]:
        yield _wrong(f"{key} command", list(target.command), str(_COMMAND.description))
    if any(_NUL in part for part in target.command):
        yield f"{key} command: an argument cannot hold a NUL character"
    for name, value in target.environment.items():
        if not name or "=" in name or _NUL in name + value:
            yield _wrong(f"{key} environment", {name: value}, f"{_ENVIRONMENT.description}, and no NUL in it")
    if target.directory and not Path(target.directory).is_dir():
        yield _wrong(f"{key} directory", target.directory, str(_FOLDER.description))
    if target.restart_delay > target.restart_delay_max:
        yield (
            f"{key} restart_delay: {target.restart_delay:g} s is more than restart_delay_max "
            f"({target.restart_delay_max:g} s); it is where the delay starts to grow from"
        )
    yield from _guard_behavior_problems(key, target)
    yield from _pair_problems(f"{key} reply", config.behavior_of(target), config.reply_of(target))


def _guard_behavior_problems(key: str, target: Target) -> Iterator[str]:
    if not target.guard_behavior:
        return
    try:
        flags = GuardBehavior.parse(target.guard_behavior)
    except ValueError as error:
        yield f"{key} guard_behavior: {error}"
    else:
        # task_exc_guard_no_set_mask, osfmk/kern/task.c since xnu-8019
        if refused := flags & (GuardBehavior.MP_ONCE | GuardBehavior.VM_ONCE):
            yield f"{key} guard_behavior: no program can set {refused.text()} since macOS 12; leave it out"
    if target.attach == "spawn":
        yield (
            f'{key} guard_behavior: only the program itself can set it; attach = "rendezvous" or "both" lets '
            "it (with excguard_client.c built in)"
        )


def _pair_problems(key: str, behavior: BehaviorName, reply: ReplyName) -> Iterator[str]:
    if reply == "consume" and behavior == "state_identity_protected":
        yield (
            f'{key}: "consume" cannot go with behavior "state_identity_protected": a success reply of that '
            "behavior makes the kernel write the thread's state back, which excguard never does; use "
            'reply = "forward", or behavior = "identity_protected"'
        )


def _absolute(config: Config, folder: Path) -> Config:
    """``config`` with its paths made absolute."""
    replace = msgspec.structs.replace

    def path(text: str) -> str:
        if not text or _NUL in text:
            return text
        try:
            return str(folder / Path(text).expanduser())
        except RuntimeError:  # "~nobody/..." of a user who does not exist stays what it is
            return str(folder / text)

    return replace(
        config,
        log=replace(config.log, path=path(config.log.path)),
        metrics=replace(config.metrics, web_config=path(config.metrics.web_config)),
        journal=replace(config.journal, path=path(config.journal.path)),
        crash_reports=replace(
            config.crash_reports, folders=tuple(path(folder) for folder in config.crash_reports.folders)
        ),
        target=tuple(
            replace(
                target,
                directory=path(target.directory),
                # A bare name is looked for on PATH, as a shell does.
                command=(
                    path(target.command[0]) if "/" in target.command[0] else target.command[0],
                    *target.command[1:],
                ),
            )
            for target in config.target
        ),
    )


def _explain(raw: Mapping[str, Any], message: str) -> str:
    """A msgspec error in the words of the file: key, what was wrong, what is allowed."""
    found = re.fullmatch(r"(?s)(.*?)(?: - at `\$(.*)`)?", message)
    problem, where = (found[1], found[2] or "") if found else (message, "")
    value: Any = raw
    kind: inspect.Type = inspect.type_info(Config)
    key = ""
    for name, index in re.findall(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]", where):
        kind = _inner(kind, name)
        if name:
            key = f"{key}{'.' if key and not key.endswith(' ') else ''}{name}"
            value = value.get(name) if isinstance(value, Mapping) else None
        elif index != "...":
            value = value[int(index)] if isinstance(value, list) else value
            if key == "target":
                given = value.get("name") if isinstance(value, Mapping) else None
                key = _target_key(int(index) + 1, given if isinstance(given, str) else "") + " "
            else:
                key = f"{key}[{int(index) + 1}]"
    key = key.strip()
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", problem, re.DOTALL)
    missing = re.fullmatch(r"Object missing required field `(.*)`", problem, re.DOTALL)
    bare = _bare(kind)
    if unknown and isinstance(bare, inspect.StructType):
        fields = [field.encode_name for field in bare.fields]
        near = difflib.get_close_matches(unknown[1], fields, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        place = f"{key}: " if key else ""
        return f"{place}unknown key {_shown(unknown[1])}; {hint}allowed: {', '.join(fields)}"
    if missing:
        return f"{key}: {missing[1]} is missing; each [[target]] needs a name and a command"
    return _wrong(key or "the file", value, _allowed(kind))


def _inner(kind: inspect.Type, name: str) -> inspect.Type:
    """The type that a step of an error's path leads to: a table's field; a list's element without ``name``.

    An element that has no description of its own keeps the one of its list.
    """
    bare = _bare(kind)
    if isinstance(bare, inspect.StructType):
        return next(field.type for field in bare.fields if field.encode_name == name)
    if isinstance(bare, inspect.VarTupleType) and isinstance(_bare(bare.item_type), inspect.StructType):
        return bare.item_type
    return kind


def _bare(kind: inspect.Type) -> inspect.Type:
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def _allowed(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.Metadata) and kind.extra_json_schema:
        return str(kind.extra_json_schema["description"])
    if isinstance(kind, inspect.BoolType):
        return "true or false"
    if isinstance(kind, inspect.UnionType):
        kind = next(one for one in kind.types if not isinstance(one, inspect.NoneType))
    if isinstance(kind, inspect.LiteralType):
        *most, last = (json.dumps(value) for value in kind.values)
        return f"{', '.join(most)} or {last}" if most else last
    if isinstance(kind, inspect.StructType):
        return "a table with the keys " + ", ".join(field.encode_name for field in kind.fields)
    return "a list of [[target]] tables"


def _wrong(key: str, value: object, allowed: str) -> str:
    return f"{key}: {_shown(value)} cannot be used; allowed: {allowed}"


def _target_key(number: int, name: str) -> str:
    return f"[[target]] {_shown(name)}" if name else f"[[target]] number {number}"


def _shown(value: object) -> str:
    """A value as TOML would have it, on one line and no longer than one can read."""
    if isinstance(value, float) and not math.isfinite(value):
        text = str(value)
    else:
        text = json.dumps(value, default=str, ensure_ascii=False)
    text = _one_line(text)
    return text if len(text) <= 60 else text[:57] + "..."


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
