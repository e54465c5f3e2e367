"""Values that have the right type and cannot work: alone, together, or on this machine."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from excguard.config.messages import ConfigError, Problem, target_key, wrong
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
    for problem in problems(config):
        raise ConfigError(problem.text)


def problems(config: Config) -> Iterator[Problem]:
    """Every value that has the right type and cannot work, with its key."""
    if config.metrics.listen and not parse_listen(config.metrics.listen):
        path = ("metrics", "listen")
        yield Problem(path, wrong("metrics.listen", config.metrics.listen, str(LISTEN.description)))
    for path, what, texts in (
        (("log", "path"), "a path", (config.log.path,)),
        (("metrics", "web_config"), "a path", (config.metrics.web_config,)),
        (("journal", "path"), "a path", (config.journal.path,)),
        (("webhook", "url_file"), "a path", (config.webhook.url_file,)),
        (("webhook", "secret_file"), "a path", (config.webhook.secret_file,)),
        (("crash_reports", "directories"), "a path", config.crash_reports.directories),
        (("unified_log", "command"), "an argument", config.unified_log.command),
    ):
        if NUL in "".join(texts):
            yield Problem(path, f"{'.'.join(path)}: {what} cannot hold a NUL character")
    capacity = config.journal.capacity
    if capacity & (capacity - 1):
        text = wrong("journal.capacity", capacity, str(CAPACITY.description))
        yield Problem(("journal", "capacity"), text)
    yield from _address_problems(config)
    for text in _pair_problems("reply", config.behavior, config.reply):
        yield Problem(("reply",), text)
    if len(config.target) > MAX_TARGETS:
        text = f"target: {len(config.target)} targets; allowed: at most {MAX_TARGETS}"
        yield Problem(("target", MAX_TARGETS), text)
    names: set[str] = set()
    for index, target in enumerate(config.target):
        prefix = target_key(index + 1, target.name)
        if target.name in names:
            text = f"{prefix} name: another target has this name; each target needs its own"
            yield Problem(("target", index, "name"), text)
        names.add(target.name)
        for key, text in _target_problems(target):
            yield Problem(("target", index, key), f"{prefix} {text}")


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


def _address_problems(config: Config) -> Iterator[Problem]:
    if config.otlp.endpoint and not is_url(config.otlp.endpoint):
        text = wrong("otlp.endpoint", config.otlp.endpoint, str(URL.description))
        yield Problem(("otlp", "endpoint"), text)
    if config.webhook.url and not is_url(config.webhook.url):
        # The path is a secret: it is not repeated.
        text = f"webhook.url: not valid; allowed: {SECRET_URL.description}"
        yield Problem(("webhook", "url"), text)
    if config.webhook.url and config.webhook.url_file:
        yield Problem(("webhook", "url_file"), "webhook: url and url_file are both set; leave one out")


def _target_problems(target: Target) -> Iterator[tuple[str, str]]:
    """Key, and "key: what is wrong; what is allowed"."""
    for key, what, texts in (
        ("name", "", (target.name,)),
        ("directory", "", (target.directory,)),
        ("command", "an argument ", target.command),
    ):
        if NUL in "".join(texts):
            yield key, f"{key}: {what}cannot hold a NUL character"
    if not target.command[0]:
        yield "command", wrong("command", list(target.command), str(COMMAND.description))
    for name, value in target.environment.items():
        if not name or "=" in name or NUL in name + value:
            allowed = f"{ENVIRONMENT.description}, and no NUL in it"
            yield "environment", wrong("environment", {name: value}, allowed)
    if target.directory and not Path(target.directory).is_dir():
        yield "directory", wrong("directory", target.directory, str(DIRECTORY.description))
    if target.restart_delay > target.restart_delay_max:
        text = (
            f"restart_delay: {target.restart_delay:g} s is more than restart_delay_max "
            f"({target.restart_delay_max:g} s); it is the first delay"
        )
        yield "restart_delay", text
    for text in _guard_behavior_problems(target):
        yield "guard_behavior", f"guard_behavior: {text}"
    for text in _pair_problems("reply", target.behavior, target.reply):
        yield "reply", text


def _guard_behavior_problems(target: Target) -> Iterator[str]:
    if not target.guard_behavior:
        return
    try:
        flags = GuardBehavior.parse(target.guard_behavior)
    except ValueError as error:
        yield str(error)
    else:
        # task_exc_guard_no_set_mask, osfmk/kern/task.c since xnu-8019
        if refused := flags & (GuardBehavior.MP_ONCE | GuardBehavior.VM_ONCE):
            yield f"since macOS 12 a program cannot set {refused.text()}; leave it out"
    if target.registration is Registration.SPAWN and target.delivery is not Delivery.CLIENT:
        yield (
            'only the program itself can set it: use registration = "rendezvous" or '
            '"both", and build excguard_client.c into the program'
        )


def _pair_problems(key: str, behavior: Behavior, reply: Reply) -> Iterator[str]:
    if reply is Reply.CONSUME and behavior is Behavior.STATE_IDENTITY_PROTECTED:
        yield (
            f'{key}: "consume" cannot be combined with behavior "state_identity_protected": a success reply '
            "of that behavior makes the kernel write the thread's state back, which excguard never does; use "
            'reply = "forward", or behavior = "identity_protected"'
        )
