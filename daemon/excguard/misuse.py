"""A program that breaks the rules of Mach on purpose: for demonstrations, tests and first steps.

::

    excguard run -- python3 -m excguard.misuse double_deallocate
    python3 -m excguard.misuse --list

Each misuse is a function below, named after the mistake; its description is the first line of its docstring.
Without excguard on a Mac, the fatal ones end this program as they would end any other.
"""

import signal

if __name__ == "__main__":
    # It has nothing to release; during the imports below a KeyboardInterrupt would be a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from excguard.knowledge import flavors, releases
from excguard.knowledge.exception_behavior import Behavior
from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.mach import exception_ports, guard_behavior, host
from excguard.mach.errors import MachError, symbolic_name
from excguard.mach.ports import SendRight
from excguard.native import ffi, lib

_WRONG_GUARD = 0xBAD
_GUARD = 0x600D
# Environment variables that make a program of the simulated kernel a hardened one, of level 1 or 2, or one
# whose task port is pinned (excsim.h). A Mac's kernel goes by entitlements and boot arguments instead.
_HARDENED = {"EXCSIM_HARDENED": "1"}
_HARDENED_MORE = {"EXCSIM_HARDENED": "2"}
_PINNED = {"EXCSIM_PINNED": "1"}
# The environment variable with the Mach service of the second program, where a misuse takes one.
_ACCOMPLICE = "EXCGUARD_MISUSE_ACCOMPLICE"
_SERVICE = "org.excguard.misuse"
# MACH_MSG_PHYSICAL_COPY and MACH_MSG_OOL_PORTS_DESCRIPTOR of mach/message.h.
_PHYSICAL_COPY, _OOL_PORTS_DESCRIPTOR = 0, 2
# A name that no port has: names are an index and a generation, and no name space grows this far.
_NO_SUCH_NAME = 0x7FFF_FF03


class Answer(NamedTuple):
    """The result of a misuse, if the program survived it."""

    port: int  # the name that was misused
    function: str
    kern_return: int


class Misuse(NamedTuple):
    """One way of breaking a rule."""

    flavor: str  # the guard that the kernel raises for it
    fatal: bool  # whether it always ends the program
    environment: Mapping[str, str]  # what only programs that have this are not allowed to do
    accomplice: "Callable[[Receive], None] | None"  # the part of a second program
    commit: Callable[[], Answer]

    @property
    def ordinary(self) -> bool:
        """Whether any program can do it, without a second one."""
        return not self.environment and self.accomplice is None

    def exists(self, release: int) -> bool:
        """Whether a release (as numbered by `knowledge.releases`) has the guard."""
        return any(one.name == self.flavor and one.first <= release <= one.last for one in flavors.table())

    @property
    def mistake(self) -> str:
        """What is done wrong, in one sentence."""
        return (self.commit.__doc__ or "").splitlines()[0]


MISUSES: dict[str, Misuse] = {}
"""Every misuse by its name."""


def _misuse(
    flavor: str,
    *,
    fatal: bool = False,
    environment: Mapping[str, str] | None = None,
    accomplice: "Callable[[Receive], None] | None" = None,
) -> Callable[[Callable[[], Answer]], Callable[[], Answer]]:
    def register(commit: Callable[[], Answer]) -> Callable[[], Answer]:
        MISUSES[commit.__name__] = Misuse(flavor, fatal, environment or {}, accomplice, commit)
        return commit

    return register


# ---- rights that are not there ----


@_misuse("INVALID_NAME")
def double_deallocate() -> Answer:
    """Release a send right twice: the second time the name is unknown."""
    port = _port()
    _must(lib.mach_port_mod_refs(_self(), port, lib.MACH_PORT_RIGHT_RECEIVE, -1))
    _must(lib.mach_port_deallocate(_self(), port))  # the send right is a dead name by now
    return Answer(port, "mach_port_deallocate", lib.mach_port_deallocate(_self(), port))


@_misuse("INVALID_RIGHT")
def deallocate_receive_right() -> Answer:
    """Release a receive right as if it were a send right."""
    port = _port(send=False)
    return Answer(port, "mach_port_deallocate", lib.mach_port_deallocate(_self(), port))


@_misuse("INVALID_VALUE")
def release_too_many() -> Answer:
    """Release three references of a send right that has one."""
    port = _port()
    return Answer(
        port, "mach_port_mod_refs", lib.mach_port_mod_refs(_self(), port, lib.MACH_PORT_RIGHT_SEND, -3)
    )


# ---- guarded ports ----


@_misuse("DESTROY", fatal=True)
def destroy_guarded() -> Answer:
    """Destroy a guarded port with the wrong guard value."""
    port = _port(lib.MPO_CONTEXT_AS_GUARD, send=False)
    return Answer(port, "mach_port_destruct", lib.mach_port_destruct(_self(), port, 0, _WRONG_GUARD))


@_misuse("SET_CONTEXT", fatal=True)
def set_context_of_guarded() -> Answer:
    """Change the context of a port whose context is its strict guard."""
    port = _port(lib.MPO_CONTEXT_AS_GUARD | lib.MPO_STRICT, send=False)
    return Answer(port, "mach_port_set_context", lib.mach_port_set_context(_self(), port, _WRONG_GUARD))


@_misuse("UNGUARDED", fatal=True)
def unguard_unguarded() -> Answer:
    """Unguard a port that is not guarded."""
    port = _port(send=False)
    return Answer(port, "mach_port_unguard", lib.mach_port_unguard(_self(), port, _GUARD))


@_misuse("INCORRECT_GUARD", fatal=True)
def unguard_with_wrong_guard() -> Answer:
    """Unguard a port with the wrong guard value."""
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
    """Make a send right in a message without having the receive right."""
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
    """Send a message with a voucher that does not exist."""
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
    """Receive on a port without having its receive right."""
    header = ffi.new("mach_msg_header_t *")
    options = lib.MACH_RCV_MSG | lib.MACH_RCV_TIMEOUT
    result = lib.mach_msg(header, options, 0, ffi.sizeof("mach_msg_header_t"), _self(), 0, 0)
    return Answer(_self(), "mach_msg", result)


@_misuse("INVALID_OPTIONS", fatal=True)
def send_to_kernel_only() -> Answer:
    """Send a message to the kernel without receiving its reply in the same call."""
    return Answer(_self(), "mach_msg", _send(_self()))


@_misuse("SERVICE_PORT_VIOLATION_FATAL", fatal=True)
def give_service_away() -> Answer:
    """Send away the receive right of a launchd service."""
    port = ffi.new("mach_port_t *")
    _must(lib.bootstrap_check_in(lib.bootstrap_port, _SERVICE.encode(), port))
    return Answer(port[0], "mach_msg", _send(_port(), carry=(port[0], lib.MACH_MSG_TYPE_MOVE_RECEIVE)))


# ---- notifications ----


@_misuse("KERN_FAILURE")
def watch_destruction_twice() -> Answer:
    """Request the notification of a port's destruction for two ports."""
    port = _port(send=False)
    _must(_notify(port, lib.MACH_NOTIFY_PORT_DESTROYED, _port(send=False)))
    result = _notify(port, lib.MACH_NOTIFY_PORT_DESTROYED, _port(send=False))
    return Answer(port, "mach_port_request_notification", result)


@_misuse("INVALID_NOTIFICATION_REQ", fatal=True)
def watch_destruction_of_immovable() -> Answer:
    """Request the notification of destruction for a port that must stay in its task."""
    port = _port(lib.MPO_IMMOVABLE_RECEIVE, send=False)
    result = _notify(port, lib.MACH_NOTIFY_PORT_DESTROYED, _port(send=False))
    return Answer(port, "mach_port_request_notification", result)


@_misuse("INVALID_NOTIFICATION_PORT")
def notify_exception_port() -> Answer:
    """Have notifications sent to an exception port."""
    port = _port(lib.MPO_EXCEPTION_PORT, send=False)
    result = _notify(_port(), lib.MACH_NOTIFY_NO_SENDERS, port)
    return Answer(port, "mach_port_request_notification", result)


# ---- what only hardened programs are refused ----


@_misuse("MOD_REFS", fatal=True, environment=_HARDENED)
def deallocate_own_task() -> Answer:
    """Release the last send right to the own task, which must stay."""
    refs = ffi.new("mach_port_urefs_t *")
    _must(lib.mach_port_get_refs(_self(), _self(), lib.MACH_PORT_RIGHT_SEND, refs))
    result = 0
    for _ in range(refs[0]):
        result = lib.mach_port_deallocate(_self(), _self())
    return Answer(_self(), "mach_port_deallocate", result)


@_misuse("MOD_REFS_NON_FATAL", environment=_PINNED)
def deallocate_pinned_task() -> Answer:
    """Release the last send right to the own task, on a kernel that only reports it."""
    return deallocate_own_task()


@_misuse("EXCEPTION_BEHAVIOR_ENFORCE", fatal=True, environment=_HARDENED)
def register_insecure_handler() -> Answer:
    """Register for exception messages that carry control ports of the program."""
    port = _port(lib.MPO_EXCEPTION_PORT)
    behavior = int(ffi.cast("exception_behavior_t", lib.EXCEPTION_DEFAULT | lib.MACH_EXCEPTION_CODES))
    result = lib.task_set_exception_ports(_self(), lib.EXC_MASK_GUARD, port, behavior, 0)
    return Answer(port, "task_set_exception_ports", result)


@_misuse("INVALID_MPO_ENTITLEMENT", fatal=True, environment=_HARDENED)
def make_port_of_the_entitled() -> Answer:
    """Make a port of a type that needs an entitlement."""
    options = ffi.new("mach_port_options_t *")
    options.flags = lib.MPO_CONNECTION_PORT_WITH_PORT_ARRAY
    name = ffi.new("mach_port_name_t *")
    return Answer(0, "mach_port_construct", lib.mach_port_construct(_self(), options, 0, name))


@_misuse("REQUIRE_REPLY_PORT_SEMANTICS", fatal=True, environment=_HARDENED)
def reply_to_ordinary_port() -> Answer:
    """Have a service that requires reply ports reply to an ordinary port."""
    port = _port()
    service = _strict_service()
    return Answer(service, "mach_msg", _send(service, reply=(port, lib.MACH_MSG_TYPE_MAKE_SEND_ONCE)))


# ---- what needs two programs ----


class Message(NamedTuple):
    """A message that was received."""

    data: bytes
    reply: int  # the reply right; 0 without one
    right: int  # the right in its first descriptor; 0 without one


Receive = Callable[[int | None], Message]
"""How the second program waits for a message: on a port of its own, or (None) on its service."""


def _give_weak_reply_port(receive: Receive) -> None:
    """Hand over a port that the most hardened programs cannot make themselves."""
    port = _port(lib.MPO_REPLY_PORT, send=False)
    _answer(receive(None), carry=(port, lib.MACH_MSG_TYPE_MOVE_RECEIVE))


@_misuse("MOVE_WEAK_REPLY_PORT", environment=_HARDENED_MORE, accomplice=_give_weak_reply_port)
def pass_on_weak_reply_port() -> Answer:
    """Send away a reply port that came from a program which is not hardened."""
    port = _ask()
    return Answer(port, "mach_msg", _send(_port(), carry=(port, lib.MACH_MSG_TYPE_MOVE_RECEIVE)))


@_misuse("DESCRIPTOR_VIOLATION", fatal=True, environment=_HARDENED_MORE)
def send_port_array() -> Answer:
    """Send an array of ports to a port that is not made for arrays."""
    port = _port()
    names = ffi.new("mach_port_t[]", [port])
    # mach_msg_ool_ports_descriptor_t: address, deallocate, copy, disposition, type, count
    address = int(ffi.cast("uintptr_t", names))
    array = struct.pack(
        "<QBBBBI", address, 0, _PHYSICAL_COPY, lib.MACH_MSG_TYPE_COPY_SEND, _OOL_PORTS_DESCRIPTOR, 1
    )
    return Answer(port, "mach_msg", _transmit(lib.MACH_MSG_TYPE_COPY_SEND, port, descriptor=array))


def _change_registers(receive: Receive) -> None:
    """Handle an exception of the other program, and change the registers in the reply."""
    port = _port(lib.MPO_EXCEPTION_PORT)
    _answer(receive(None), carry=(port, lib.MACH_MSG_TYPE_MAKE_SEND))
    exception = receive(port)
    _answer(receive(None))  # it has arrived: the next one may go to the former handler
    _answer(receive(None))  # the former handler is restored
    # mach_exception_raise_state_identity_protected (mach/mach_exc.defs): flavor, count and state come last.
    flavor, count = struct.unpack_from("<iI", exception.data, 80)
    state = bytearray(exception.data[88 : 88 + 4 * count])
    state[0] ^= 1
    (identifier,) = struct.unpack_from("<i", exception.data, 20)
    ndr = exception.data[40:48]
    body = ndr + struct.pack("<iiI", lib.KERN_SUCCESS, flavor, count) + state
    _must(_transmit(lib.MACH_MSG_TYPE_MOVE_SEND_ONCE, exception.reply, body, identifier=identifier + 100))


@_misuse("MACH_EXC_THREAD_SET_STATE", accomplice=_change_registers)
def have_registers_changed() -> Answer:
    """Have an exception handled by another program that replies with changed registers."""
    if GuardBehavior.MP_DELIVER not in guard_behavior.get():
        raise SystemExit("no exception would be delivered: this program's flags do not have MP_DELIVER")
    here = host.running()
    handler = SendRight(_ask())
    before = exception_ports.swap(here, handler, Behavior.STATE_IDENTITY_PROTECTED)
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(double_deallocate()))
    thread.start()
    _ask()
    exception_ports.restore(before)
    _ask()
    thread.join()
    return answers[0]


def _strict_service() -> int:
    """A port that requires reply ports: since macOS 26 a service's, before that any port with the flag."""
    if host.running().version < (26,):
        return _port(lib.MPO_ENFORCE_REPLY_PORT_SEMANTICS)
    service = ffi.new("mach_port_t *")
    name = f"excguard.misuse.{os.getpid()}"
    _must(lib.bootstrap_check_in(lib.bootstrap_port, name.encode(), service))
    _must(lib.mach_port_insert_right(_self(), service[0], service[0], lib.MACH_MSG_TYPE_MAKE_SEND))
    return int(service[0])


def _ask() -> int:
    """Send the second program a message, and wait for its reply; the right that came with it, or 0."""
    service = ffi.new("mach_port_t *")
    _must(lib.bootstrap_look_up(lib.bootstrap_port, os.environ[_ACCOMPLICE].encode(), service))
    port = _port(lib.MPO_REPLY_PORT, send=False)
    _must(_transmit(lib.MACH_MSG_TYPE_COPY_SEND, service[0], reply=(port, lib.MACH_MSG_TYPE_MAKE_SEND_ONCE)))
    answer = _receive(port)
    assert answer is not None  # noqa: S101 - without a timeout
    return answer.right


def _answer(request: Message, *, carry: tuple[int, int] | None = None) -> None:
    """Reply to the other program's `_ask`."""
    _must(_transmit(lib.MACH_MSG_TYPE_MOVE_SEND_ONCE, request.reply, carry=carry))


def _receive(port: int, *, milliseconds: int | None = None) -> Message | None:
    """Wait for a message; None when none came in time."""
    buffer = ffi.new("char[]", 4096)
    options = lib.MACH_RCV_MSG | (0 if milliseconds is None else lib.MACH_RCV_TIMEOUT)
    header = ffi.cast("mach_msg_header_t *", buffer)
    result = lib.mach_msg(header, options, 0, len(buffer), port, milliseconds or 0, 0)
    if result == lib.MACH_RCV_TIMED_OUT:
        return None
    _must(result)
    data = bytes(ffi.buffer(buffer, header.msgh_size))
    right = struct.unpack_from("<I", data, 28)[0] if header.msgh_bits & lib.MACH_MSGH_BITS_COMPLEX else 0
    return Message(data, int(header.msgh_remote_port), right)


def _self() -> int:
    return int(lib.mach_task_self())


def _port(flags: int = 0, *, send: bool = True) -> int:
    """A new port, with a send right unless ``send`` is off; never released: this process ends soon."""
    options = ffi.new("mach_port_options_t *")
    options.flags = flags | (lib.MPO_INSERT_SEND_RIGHT if send else 0)
    name = ffi.new("mach_port_name_t *")
    _must(lib.mach_port_construct(_self(), options, _GUARD if flags & lib.MPO_CONTEXT_AS_GUARD else 0, name))
    return int(name[0])


def _notify(port: int, what: int, receiver: int) -> int:
    """Ask for a notification about ``port`` to be sent to ``receiver``; the kernel's result."""
    previous = ffi.new("mach_port_t *")
    once = lib.MACH_MSG_TYPE_MAKE_SEND_ONCE
    return int(lib.mach_port_request_notification(_self(), port, what, 0, receiver, once, previous))


def _must(kern_return: int) -> None:
    """Check a call that prepares the misuse."""
    if kern_return:
        raise SystemExit(f"the misuse could not be prepared: {symbolic_name(kern_return)}")


def _send(
    port: int,
    *,
    carry: tuple[int, int] | None = None,
    reply: tuple[int, int] = (0, 0),
    voucher: tuple[int, int] = (0, 0),
) -> int:
    """Send a message to ``port``, which we have a send right to; the result of mach_msg. See `_transmit`."""
    return _transmit(lib.MACH_MSG_TYPE_COPY_SEND, port, carry=carry, reply=reply, voucher=voucher)


def _transmit(  # noqa: PLR0913 - the fields of a message
    disposition: int,
    port: int,
    body: bytes = b"",
    *,
    carry: tuple[int, int] | None = None,
    descriptor: bytes = b"",
    reply: tuple[int, int] = (0, 0),
    voucher: tuple[int, int] = (0, 0),
    identifier: int = 1,
) -> int:
    """Send a message to ``port`` with the given (name, disposition) pairs; the result of mach_msg.

    The layouts are those of mach/message.h: mach_msg_header_t, mach_msg_body_t, mach_msg_port_descriptor_t.
    """
    if carry:
        descriptor = struct.pack("<IIHBB", carry[0], 0, 0, carry[1], 0)
    bits = disposition | reply[1] << 8 | voucher[1] << 16 | (lib.MACH_MSGH_BITS_COMPLEX if descriptor else 0)
    if descriptor:
        body = struct.pack("<I", 1) + descriptor + body
    size = 24 + len(body)
    message = struct.pack("<IIIIIi", bits, size, port, reply[0], voucher[0], identifier) + body
    buffer = ffi.new("char[]", message)
    header = ffi.cast("mach_msg_header_t *", buffer)
    return int(lib.mach_msg(header, lib.MACH_SEND_MSG | lib.MACH_SEND_TIMEOUT, size, 0, 0, 0, 0))


# ---- the program ----


def main(arguments: list[str] | None = None) -> int:
    """Commit the misuses that ``arguments`` (those of this process by default) name."""
    parser = argparse.ArgumentParser(
        prog="python3 -m excguard.misuse",
        description="Break the rules of Mach on purpose, to see what excguard reports.",
        epilog="Example: excguard run -- python3 -m excguard.misuse double_deallocate",
    )
    parser.add_argument("misuse", nargs="*", help='what to do, in this order; "all" is each of them one time')
    parser.add_argument("--times", type=int, default=1, metavar="N", help="how many times (default: 1)")
    parser.add_argument("--quiet", action="store_true", help="do not print the kernel's result")
    parser.add_argument(
        "--deliver",
        action="store_true",
        help="first add MP_DELIVER and VM_DELIVER to this program's flags, so that every hit is delivered",
    )
    parser.add_argument("--list", action="store_true", help="list the misuses")
    options = parser.parse_args(arguments)
    if options.list:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as for other programs: `--list | head -1`
        for name, misuse in MISUSES.items():
            print(f"{name:31} {misuse.flavor:29} {misuse.mistake}")  # noqa: T201 - what was asked for
        return 0
    unknown = [name for name in options.misuse if name not in (*MISUSES, "all")]
    if unknown or not options.misuse:
        parser.error(
            f"unknown misuse {unknown[0]!r}; --list shows all"
            if unknown
            else "no misuse given; --list shows all"
        )
    if options.deliver:
        deliver = GuardBehavior.MP_DELIVER | GuardBehavior.VM_DELIVER
        try:
            guard_behavior.set_flags(guard_behavior.get() | deliver)
        except MachError as error:
            print(f"--deliver: {error}", file=sys.stderr)  # noqa: T201 - for people
    switches = [name for name in ("--quiet", "--deliver") if getattr(options, name[2:])]
    for _ in range(options.times):
        for name in options.misuse:
            if name == "all":
                _commit_all(switches)
            else:
                _commit(name, switches)
    return 0


def _commit_all(switches: Sequence[str]) -> None:
    release = releases.parse(host.running().release).version
    for name, misuse in MISUSES.items():
        if misuse.exists(release):
            _commit_in_child(name, switches)
        else:
            print(f"{name}: this release has no {misuse.flavor}", file=sys.stderr)  # noqa: T201 - for people


def _commit(name: str, switches: Sequence[str]) -> None:
    misuse = MISUSES[name]
    if misuse.accomplice is not None and not os.environ.get(_ACCOMPLICE):
        _help(name, misuse, misuse.accomplice, switches)
        return
    if not misuse.environment.items() <= os.environ.items():
        with _start(name, misuse.environment, switches):
            return
    answer = misuse.commit()
    if "--quiet" not in switches:
        result = f"{answer.function} -> {symbolic_name(answer.kern_return)}"
        print(f"{name}: pid {os.getpid()}, port {answer.port:#x}: {result}", flush=True)  # noqa: T201


def _commit_in_child(name: str, switches: Sequence[str]) -> None:
    """Commit a misuse in a process of its own, which the kernel may end, and which has its own first hit."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    status = 1
    try:
        _commit(name, switches)
        status = 0
    except SystemExit as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)  # noqa: T201 - for people
    finally:
        os._exit(status)


def _help(name: str, misuse: Misuse, accomplice: Callable[[Receive], None], switches: Sequence[str]) -> None:
    """Be the second program while a process of its own commits the misuse."""
    service = f"{_SERVICE}.{os.getpid()}"
    port = ffi.new("mach_port_t *")
    _must(lib.bootstrap_check_in(lib.bootstrap_port, service.encode(), port))
    try:
        with _start(name, {**misuse.environment, _ACCOMPLICE: service}, switches) as other:

            def receive(own: int | None) -> Message:
                while (message := _receive(own or port[0], milliseconds=200)) is None:
                    if other.poll() is not None:
                        raise SystemExit(f"{name}: the program that was to commit it has ended")
                return message

            try:
                accomplice(receive)
            except BaseException:
                other.kill()  # it would wait for us
                raise
    finally:
        _must(lib.mach_port_mod_refs(_self(), port[0], lib.MACH_PORT_RIGHT_RECEIVE, -1))


def _start(name: str, environment: Mapping[str, str], switches: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "excguard.misuse", name, *switches]
    return subprocess.Popen(command, env={**os.environ, **environment})  # noqa: S603 - ourselves


if __name__ == "__main__":
    sys.exit(main())
