"""A program that breaks the rules of Mach on purpose: for demonstrations, tests and first steps.

::

    excguard run -- python3 -m excguard.misuse double_deallocate
    python3 -m excguard.misuse --list

Each misuse is a function below, named after the mistake that people make; its description is the first line
of its text. Run without excguard on a Mac, the fatal ones end this program as they would any other.
"""

import argparse
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

from excguard.mach.errors import symbolic_name
from excguard.native import ffi, lib

_WRONG_GUARD = 0xBAD
_GUARD = 0x600D
# The environment variable that makes a program of the simulated kernel a hardened one (excsim.h). A Mac's
# kernel looks at the program's entitlements, and takes no notice of it.
_HARDENED = "EXCSIM_HARDENED"
# A name that no port has: names are an index and a generation, and no name space grows this far.
_NO_SUCH_NAME = 0x7FFF_FF03


class Answer(NamedTuple):
    """What came of a misuse, if the program still lives to tell."""

    port: int  # the name that was misused
    function: str
    kern_return: int


class Misuse(NamedTuple):
    """One way of breaking a rule."""

    flavor: str  # the guard that the kernel raises for it
    fatal: bool  # whether it always ends the program
    hardened: bool  # whether only hardened programs are not allowed to do it
    commit: Callable[[], Answer]

    @property
    def mistake(self) -> str:
        """What is done wrong, in one sentence."""
        return (self.commit.__doc__ or "").splitlines()[0]


MISUSES: dict[str, Misuse] = {}
"""Every misuse by its name."""


def _misuse(
    flavor: str, *, fatal: bool = False, hardened: bool = False
) -> Callable[[Callable[[], Answer]], Callable[[], Answer]]:
    def register(commit: Callable[[], Answer]) -> Callable[[], Answer]:
        MISUSES[commit.__name__] = Misuse(flavor, fatal, hardened, commit)
        return commit

    return register


# ---- rights that are not there ----


@_misuse("INVALID_NAME")
def double_deallocate() -> Answer:
    """Release a send right twice: the second time its name stands for nothing."""
    port = _port()
    _must(lib.mach_port_mod_refs(_self(), port, lib.MACH_PORT_RIGHT_RECEIVE, -1))
    _must(lib.mach_port_deallocate(_self(), port))  # the send right is a dead name by now
    return Answer(port, "mach_port_deallocate", lib.mach_port_deallocate(_self(), port))


@_misuse("INVALID_RIGHT")
def deallocate_receive_right() -> Answer:
    """Release a port that one receives from as if it were a send right."""
    port = _port(send=False)
    return Answer(port, "mach_port_deallocate", lib.mach_port_deallocate(_self(), port))


@_misuse("INVALID_VALUE")
def release_too_many() -> Answer:
    """Take three references from a send right that has one."""
    port = _port()
    return Answer(
        port, "mach_port_mod_refs", lib.mach_port_mod_refs(_self(), port, lib.MACH_PORT_RIGHT_SEND, -3)
    )


# ---- guarded ports ----


@_misuse("DESTROY", fatal=True)
def destroy_guarded() -> Answer:
    """Destroy a port that somebody has guarded, without knowing the guard."""
    port = _port(lib.MPO_CONTEXT_AS_GUARD, send=False)
    return Answer(port, "mach_port_destruct", lib.mach_port_destruct(_self(), port, 0, _WRONG_GUARD))


@_misuse("SET_CONTEXT", fatal=True)
def set_context_of_guarded() -> Answer:
    """Change the context of a port whose context is its strict guard."""
    port = _port(lib.MPO_CONTEXT_AS_GUARD | lib.MPO_STRICT, send=False)
    return Answer(port, "mach_port_set_context", lib.mach_port_set_context(_self(), port, _WRONG_GUARD))


@_misuse("UNGUARDED", fatal=True)
def unguard_unguarded() -> Answer:
    """Take the guard off a port that has none."""
    port = _port(send=False)
    return Answer(port, "mach_port_unguard", lib.mach_port_unguard(_self(), port, _GUARD))


@_misuse("INCORRECT_GUARD", fatal=True)
def unguard_with_wrong_guard() -> Answer:
    """Take the guard off a port with the wrong value."""
    port = _port(lib.MPO_CONTEXT_AS_GUARD, send=False)
    return Answer(port, "mach_port_unguard", lib.mach_port_unguard(_self(), port, _WRONG_GUARD))


@_misuse("INVALID_ARGUMENT")
def guard_twice() -> Answer:
    """Guard a port that is guarded already."""
    port = _port(lib.MPO_CONTEXT_AS_GUARD, send=False)
    return Answer(port, "mach_port_guard", lib.mach_port_guard(_self(), port, _WRONG_GUARD, 0))


# ---- messages ----


@_misuse("SEND_INVALID_RIGHT")
def send_right_that_cannot_be_made() -> Answer:
    """Put a new send right to a port into a message, without owning the port."""
    result = _send(_port(), carry=(_self(), lib.MACH_MSG_TYPE_MAKE_SEND))
    return Answer(_self(), "mach_msg", result)


@_misuse("SEND_INVALID_REPLY")
def reply_to_nowhere() -> Answer:
    """Ask for the reply to a message on a port that does not exist."""
    return Answer(
        _NO_SUCH_NAME,
        "mach_msg",
        _send(_port(), reply=(_NO_SUCH_NAME, lib.MACH_MSG_TYPE_MAKE_SEND_ONCE)),
    )


@_misuse("SEND_INVALID_VOUCHER")
def send_bad_voucher() -> Answer:
    """Send a message with a voucher that is none."""
    return Answer(
        _NO_SUCH_NAME, "mach_msg", _send(_port(), voucher=(_NO_SUCH_NAME, lib.MACH_MSG_TYPE_MOVE_SEND))
    )


@_misuse("IMMOVABLE", fatal=True)
def move_immovable() -> Answer:
    """Send away a port that must stay in its task."""
    port = _port(lib.MPO_IMMOVABLE_RECEIVE, send=False)
    return Answer(port, "mach_msg", _send(_port(), carry=(port, lib.MACH_MSG_TYPE_MOVE_RECEIVE)))


@_misuse("RCV_INVALID_NAME")
def receive_on_send_right() -> Answer:
    """Wait for messages on a port that one has only a send right to."""
    header = ffi.new("mach_msg_header_t *")
    options = lib.MACH_RCV_MSG | lib.MACH_RCV_TIMEOUT
    result = lib.mach_msg(header, options, 0, ffi.sizeof("mach_msg_header_t"), _self(), 0, 0)
    return Answer(_self(), "mach_msg", result)


@_misuse("INVALID_OPTIONS", fatal=True)
def send_to_kernel_only() -> Answer:
    """Send a message to the kernel without waiting for its answer in the same call."""
    return Answer(_self(), "mach_msg", _send(_self()))


@_misuse("SERVICE_PORT_VIOLATION_FATAL", fatal=True)
def give_service_away() -> Answer:
    """Send the receive right of a launchd service to somebody else."""
    port = ffi.new("mach_port_t *")
    _must(lib.bootstrap_check_in(lib.bootstrap_port, b"org.excguard.misuse", port))
    return Answer(port[0], "mach_msg", _send(_port(), carry=(port[0], lib.MACH_MSG_TYPE_MOVE_RECEIVE)))


# ---- notifications ----


@_misuse("KERN_FAILURE")
def watch_destruction_twice() -> Answer:
    """Ask for a port's destruction to be told to two ports."""
    port = _port(send=False)
    _must(_notify(port, lib.MACH_NOTIFY_PORT_DESTROYED, _port(send=False)))
    result = _notify(port, lib.MACH_NOTIFY_PORT_DESTROYED, _port(send=False))
    return Answer(port, "mach_port_request_notification", result)


@_misuse("INVALID_NOTIFICATION_REQ", fatal=True)
def watch_destruction_of_immovable() -> Answer:
    """Ask to be told of the destruction of a port that must stay in its task."""
    port = _port(lib.MPO_IMMOVABLE_RECEIVE, send=False)
    result = _notify(port, lib.MACH_NOTIFY_PORT_DESTROYED, _port(send=False))
    return Answer(port, "mach_port_request_notification", result)


@_misuse("INVALID_NOTIFICATION_PORT")
def notify_exception_port() -> Answer:
    """Have notifications sent to a port that was made for exceptions."""
    port = _port(lib.MPO_EXCEPTION_PORT, send=False)
    result = _notify(_port(), lib.MACH_NOTIFY_NO_SENDERS, port)
    return Answer(port, "mach_port_request_notification", result)


# ---- what only hardened programs may not do ----


@_misuse("MOD_REFS", fatal=True, hardened=True)
def deallocate_own_task() -> Answer:
    """Release the send right to one's own task, which must never go."""
    refs = ffi.new("mach_port_urefs_t *")
    _must(lib.mach_port_get_refs(_self(), _self(), lib.MACH_PORT_RIGHT_SEND, refs))
    result = 0
    for _ in range(refs[0]):
        result = lib.mach_port_deallocate(_self(), _self())
    return Answer(_self(), "mach_port_deallocate", result)


@_misuse("EXCEPTION_BEHAVIOR_ENFORCE", fatal=True, hardened=True)
def register_insecure_handler() -> Answer:
    """Ask for exception messages that carry ports with power over the program."""
    port = _port(lib.MPO_EXCEPTION_PORT)
    behavior = ffi.cast("exception_behavior_t", lib.EXCEPTION_DEFAULT | lib.MACH_EXCEPTION_CODES)
    result = lib.task_set_exception_ports(_self(), lib.EXC_MASK_GUARD, port, behavior, 0)
    return Answer(port, "task_set_exception_ports", result)


@_misuse("INVALID_MPO_ENTITLEMENT", fatal=True, hardened=True)
def make_port_of_the_entitled() -> Answer:
    """Make a port of a type that needs an entitlement."""
    options = ffi.new("mach_port_options_t *")
    options.flags = lib.MPO_CONNECTION_PORT_WITH_PORT_ARRAY
    name = ffi.new("mach_port_name_t *")
    return Answer(0, "mach_port_construct", lib.mach_port_construct(_self(), options, 0, name))


@_misuse("REQUIRE_REPLY_PORT_SEMANTICS", fatal=True, hardened=True)
def reply_to_ordinary_port() -> Answer:
    """Ask a service that insists on reply ports to reply to an ordinary port."""
    port = _port()
    service = _port(lib.MPO_ENFORCE_REPLY_PORT_SEMANTICS)
    return Answer(port, "mach_msg", _send(service, reply=(port, lib.MACH_MSG_TYPE_MAKE_SEND_ONCE)))


def _self() -> int:
    return int(lib.mach_task_self())


def _port(flags: int = 0, *, send: bool = True) -> int:
    """A new port, with a send right unless ``send`` is off; never given back: this process ends soon."""
    options = ffi.new("mach_port_options_t *")
    options.flags = flags | (lib.MPO_INSERT_SEND_RIGHT if send else 0)
    name = ffi.new("mach_port_name_t *")
    _must(lib.mach_port_construct(_self(), options, _GUARD if flags & lib.MPO_CONTEXT_AS_GUARD else 0, name))
    return int(name[0])


def _notify(port: int, what: int, receiver: int) -> int:
    """Ask for a notification about ``port`` to be sent to ``receiver``; what the kernel answered."""
    previous = ffi.new("mach_port_t *")
    once = lib.MACH_MSG_TYPE_MAKE_SEND_ONCE
    return int(lib.mach_port_request_notification(_self(), port, what, 0, receiver, once, previous))


def _must(kern_return: int) -> None:
    """For what leads up to the mistake and is none."""
    if kern_return:
        raise SystemExit(f"cannot get as far as the misuse: {symbolic_name(kern_return)}")


def _send(
    port: int,
    *,
    carry: tuple[int, int] | None = None,
    reply: tuple[int, int] = (0, 0),
    voucher: tuple[int, int] = (0, 0),
) -> int:
    """Send a message to ``port`` that bears the given (name, disposition) pairs; what mach_msg answered.

    The layouts are those of mach/message.h: mach_msg_header_t, mach_msg_body_t, mach_msg_port_descriptor_t.
    """
    bits = lib.MACH_MSG_TYPE_COPY_SEND | reply[1] << 8 | voucher[1] << 16 | (1 << 31 if carry else 0)
    size = 24 + (16 if carry else 0)
    message = struct.pack("<IIIIIi", bits, size, port, reply[0], voucher[0], 1)
    if carry:
        message += struct.pack("<IIIHBB", 1, carry[0], 0, 0, carry[1], 0)
    buffer = ffi.new("char[]", message)
    header = ffi.cast("mach_msg_header_t *", buffer)
    return int(lib.mach_msg(header, lib.MACH_SEND_MSG | lib.MACH_SEND_TIMEOUT, size, 0, 0, 0, 0))


# ---- the program ----


def main(arguments: list[str] | None = None) -> int:
    """Commit the misuses that ``arguments`` (those of this process by default) name."""
    parser = argparse.ArgumentParser(
        prog="python3 -m excguard.misuse",
        description="Break the rules of Mach on purpose, to see what excguard makes of it.",
        epilog="Example: excguard run -- python3 -m excguard.misuse double_deallocate",
    )
    parser.add_argument("misuse", nargs="*", help='what to do, in this order; "all" is each of them once')
    parser.add_argument("--times", type=int, default=1, metavar="N", help="how often (default: 1)")
    parser.add_argument("--quiet", action="store_true", help="do not tell what the kernel answered")
    parser.add_argument("--list", action="store_true", help="show what there is")
    options = parser.parse_args(arguments)
    if options.list:
        for name, misuse in MISUSES.items():
            print(f"{name:31} {misuse.flavor:29} {misuse.mistake}")  # noqa: T201 - what was asked for
        return 0
    unknown = [name for name in options.misuse if name not in (*MISUSES, "all")]
    if unknown or not options.misuse:
        parser.error(
            f"unknown misuse {unknown[0]!r}; --list shows them" if unknown else "no misuse; --list shows them"
        )
    for _ in range(options.times):
        for name in options.misuse:
            if name != "all":
                _commit(name, quiet=options.quiet)
                continue
            for one, misuse in MISUSES.items():
                if misuse.fatal:
                    _commit_elsewhere(one, {}, quiet=options.quiet)
                else:
                    _commit(one, quiet=options.quiet)
    return 0


def _commit(name: str, *, quiet: bool) -> None:
    misuse = MISUSES[name]
    if misuse.hardened and not os.environ.get(_HARDENED):
        _commit_elsewhere(name, {_HARDENED: "1"}, quiet=quiet)
        return
    answer = misuse.commit()
    if not quiet:
        told = f"{answer.function} -> {symbolic_name(answer.kern_return)}"
        print(f"{name}: pid {os.getpid()}, port {answer.port:#x}: {told}", flush=True)  # noqa: T201


def _commit_elsewhere(name: str, environment: dict[str, str], *, quiet: bool) -> None:
    """In a process of its own, which may end by it."""
    command = [sys.executable, "-m", "excguard.misuse", name, *(["--quiet"] if quiet else [])]
    subprocess.run(command, env={**os.environ, **environment}, check=False)  # noqa: S603 - ourselves


if __name__ == "__main__":
    sys.exit(main())
