"""Values that have the right type and cannot work: alone, together, or on this machine."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from excguard.config.messages import ConfigError, target_key, wrong
from excguard.config.settings import (
    CAPACITY,
    COMMAND,
    DIRECTORY,
    ENVIRONMENT,
    LISTEN,
    MAX_TARGETS,
    SECRET_URL,
    UNIX,
    URL,
    Config,
    Delivery,
    Registration,
    Reply,
    Target,
)
from excguard.knowledge.exception_behavior import Behavior
from excguard.knowledge.guard_behavior import GuardBehavior

# What no path, argument or variable of a process can hold: they end at the first NUL.
NUL = "\0"

_MAX_SOCKET_PATH = 103  # bytes; sun_path of macOS has 104 (sys/un.h) and Linux' 108, with the NUL


def check(config: Config) -> None:
    """Refuse values that have the right type and cannot work.

    Raises:
        ConfigError: "key: what is wrong; what is allowed", for the first such value.
    """
    for problem in _problems(config):
        raise ConfigError(problem)


def parse_listen(listen: str) -> tuple[str, int] | Path | None:
    """The address of ``metrics.listen``; None when it is invalid.

    ``"HOST:PORT"`` is (host, port), without the brackets of an IPv6 host; port 0 lets the system choose a
    free one. ``"unix:/PATH"`` is the path of a Unix socket.
    """
    if listen.startswith(UNIX):
        path = listen.removeprefix(UNIX)
        possible = path.startswith("/") and NUL not in path and len(os.fsencode(path)) <= _MAX_SOCKET_PATH
        return Path(path) if possible else None
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:\[\]/]+)):([0-9]{1,5})", listen, re.ASCII)
    if match is None or int(match[3]) > 0xFFFF:
        return None
    return match[1] or match[2], int(match[3])


def is_url(text: str) -> bool:
    """Whether a text is an address of http or https, with a host."""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
    return valid and text.isascii() and all(character > " " for character in text)


def _problems(config: Config) -> Iterator[str]:
    if config.metrics.listen and not parse_listen(config.metrics.listen):
        yield wrong("metrics.listen", config.metrics.listen, str(LISTEN.description))
    for key, path in (
        ("log.path", config.log.path),
        ("metrics.web_config", config.metrics.web_config),
        ("journal.path", config.journal.path),
        ("webhook.url_file", config.webhook.url_file),
        ("webhook.secret_file", config.webhook.secret_file),
    ):
        if NUL in path:
            yield f"{key}: a path cannot hold a NUL character"
    capacity = config.journal.capacity
    if capacity & (capacity - 1):
        yield wrong("journal.capacity", capacity, str(CAPACITY.description))
    if any(NUL in directory for directory in config.crash_reports.directories):
        yield "crash_reports.directories: a path cannot hold a NUL character"
    yield from _address_problems(config)
    if any(NUL in word for word in config.unified_log.command):
        yield "unified_log.command: an argument cannot hold a NUL character"
    yield from _pair_problems("reply", config.behavior, config.reply)
    if len(config.target) > MAX_TARGETS:
        yield f"target: {len(config.target)} targets; allowed: at most {MAX_TARGETS}"
    names: set[str] = set()
    for number, target in enumerate(config.target, start=1):
        key = target_key(number, target.name)
        if target.name in names:
            yield f"{key} name: another target has this name; each target needs its own"
        names.add(target.name)
        yield from _target_problems(key, target)


def _address_problems(config: Config) -> Iterator[str]:
    if config.otlp.endpoint and not is_url(config.otlp.endpoint):
        yield wrong("otlp.endpoint", config.otlp.endpoint, str(URL.description))
    if config.webhook.url and not is_url(config.webhook.url):
        # The path is a secret: it is not repeated.
        yield f"webhook.url: not valid; allowed: {SECRET_URL.description}"
    if config.webhook.url and config.webhook.url_file:
        yield "webhook: url and url_file are both set; leave one out"


def _target_problems(key: str, target: Target) -> Iterator[str]:
    for place, text in (("name", target.name), ("directory", target.directory)):
        if NUL in text:
            yield f"{key} {place}: cannot hold a NUL character"
    if not target.command[0]:
        yield wrong(f"{key} command", list(target.command), str(COMMAND.description))
    if any(NUL in part for part in target.command):
        yield f"{key} command: an argument cannot hold a NUL character"
    for name, value in target.environment.items():
        if not name or "=" in name or NUL in name + value:
            yield wrong(f"{key} environment", {name: value}, f"{ENVIRONMENT.description}, and no NUL in it")
    if target.directory and not Path(target.directory).is_dir():
        yield wrong(f"{key} directory", target.directory, str(DIRECTORY.description))
    if target.restart_delay > target.restart_delay_max:
        yield (
            f"{key} restart_delay: {target.restart_delay:g} s is more than restart_delay_max "
            f"({target.restart_delay_max:g} s); it is the first delay"
        )
    yield from _guard_behavior_problems(key, target)
    yield from _pair_problems(f"{key} reply", target.behavior, target.reply)


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
            yield f"{key} guard_behavior: since macOS 12 a program cannot set {refused.text()}; leave it out"
    if target.registration is Registration.SPAWN and target.delivery is not Delivery.CLIENT:
        yield (
            f'{key} guard_behavior: only the program itself can set it: use registration = "rendezvous" or '
            '"both", and build excguard_client.c into the program'
        )


def _pair_problems(key: str, behavior: Behavior, reply: Reply) -> Iterator[str]:
    if reply is Reply.CONSUME and behavior is Behavior.STATE_IDENTITY_PROTECTED:
        yield (
            f'{key}: "consume" cannot be combined with behavior "state_identity_protected": a success reply '
            "of that behavior makes the kernel write the thread's state back, which excguard never does; use "
            'reply = "forward", or behavior = "identity_protected"'
        )
