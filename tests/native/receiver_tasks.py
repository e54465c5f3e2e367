"""What test_receiver.py runs as tasks: each function gets a directory, and returns what it saw."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excguard.mach import ports
from excguard.native import ffi, lib
from tests.support import corpus
from tests.support.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Iterator

CODES = 0x80000000  # MACH_EXCEPTION_CODES
PROTECTED = 4
NOBODYS_NAME = 0xABCD03


def must(result: int) -> None:
    if result != lib.KERN_SUCCESS:
        raise AssertionError(ffi.string(lib.mach_error_string(result)).decode())


def self_port() -> int:
    return int(lib.mach_task_self())


def construct(flags: int = 0) -> int:
    options, name = ffi.new("mach_port_options_t *"), ffi.new("mach_port_name_t *")
    options.flags = flags
    must(lib.mach_port_construct(self_port(), options, 0, name))
    return int(name[0])


def destroy(port: int) -> None:
    must(lib.mach_port_mod_refs(self_port(), port, lib.MACH_PORT_RIGHT_RECEIVE, -1))


def send_rights(port: int) -> int:
    refs = ffi.new("mach_port_urefs_t *")
    must(lib.mach_port_get_refs(self_port(), port, lib.MACH_PORT_RIGHT_SEND, refs))
    return int(refs[0])


def census() -> dict[str, list[int]]:
    """Every name of this task, with the kinds and the number of its rights."""
    kinds = ports.names()
    return {
        hex(name): [kind, send_rights(name) if kind & lib.MACH_PORT_TYPE_SEND else 0]
        for name, kind in kinds.items()
    }


def send(message: bytes, *, timeout: int = 1000) -> int:
    buffer = ffi.new("uint64_t[]", len(message) // 8 + 1)
    ffi.buffer(buffer)[: len(message)] = message
    header = ffi.cast("mach_msg_header_t *", buffer)
    options = lib.MACH_SEND_MSG | lib.MACH_SEND_TIMEOUT
    return int(lib.mach_msg(header, options, len(message), 0, 0, timeout, 0))


def receive(port: int, timeout: int = 10_000) -> bytes | None:
    buffer = ffi.new("uint64_t[]", 1024)
    header = ffi.cast("mach_msg_header_t *", buffer)
    options = lib.MACH_RCV_MSG | lib.MACH_RCV_TIMEOUT
    if lib.mach_msg(header, options, 0, ffi.sizeof(buffer), port, timeout, 0) != 0:
        return None
    return bytes(ffi.buffer(buffer)[: header.msgh_size])


class Watch:
    """A receiver on a port set with one target, whose number is 7."""

    TARGET = 7

    def __init__(self, directory: str, policy: int = 0, capacity: int = 4096) -> None:
        self.journal = Journal(Path(directory) / "journal", capacity)
        name = ffi.new("mach_port_name_t *")
        must(lib.mach_port_allocate(self_port(), lib.MACH_PORT_RIGHT_PORT_SET, name))
        self.port_set = name[0]
        self.port = construct(lib.MPO_EXCEPTION_PORT | lib.MPO_INSERT_SEND_RIGHT)
        must(lib.mach_port_move_member(self_port(), self.port, self.port_set))
        self.wakeup, self.wake = os.pipe()
        os.set_blocking(self.wake, False)
        handle = ffi.new("struct excguard_receiver **")
        must(lib.excguard_receiver_start(self.journal.handle, self.port_set, self.wake, handle))
        self.receiver = handle[0]
        must(lib.excguard_receiver_add_target(self.receiver, self.port, self.TARGET, policy))

    def take(self, behavior: int = PROTECTED, flavor: int = 0, exceptions: int | None = None) -> None:
        """Have this task's exceptions, and those of its children, come here."""
        mask = lib.EXC_MASK_GUARD if exceptions is None else exceptions
        must(lib.task_set_exception_ports(self_port(), mask, self.port, behavior - CODES, flavor))

    def let_go(self) -> None:
        mask = lib.EXC_MASK_GUARD | 1 << 1
        must(lib.task_set_exception_ports(self_port(), mask, 0, PROTECTED - CODES, 0))

    def set_pid(self, pid: int) -> None:
        must(lib.excguard_receiver_set_pid(self.receiver, self.TARGET, pid))

    def rejected(self) -> dict[str, int]:
        counts = ffi.new("uint64_t[]", lib.EXCGUARD_VERDICT_COUNT)
        lib.excguard_journal_rejected(self.journal.handle, counts)
        return {
            ffi.string(lib.excguard_verdict_name(number)).decode(): count
            for number, count in enumerate(counts)
            if count
        }

    def stats(self) -> Any:
        stats = ffi.new("struct excguard_receiver_stats *")
        lib.excguard_receiver_stats(self.receiver, stats)
        return stats

    def replies(self) -> int:
        histogram = ffi.new("struct excguard_reply_histogram *")
        lib.excguard_journal_replies(self.journal.handle, histogram)
        return sum(histogram.buckets)

    def no_senders(self) -> int:
        return int(lib.excguard_receiver_no_senders(self.receiver, self.TARGET))

    def records(self) -> list[dict[str, int]]:
        names = ("seq", "code", "subcode", "thread_id", "pid", "target_id", "behavior", "reply", "flags")
        more = ("severity", "pc", "sp", "state_flavor", "state_count")
        return [{name: getattr(record, name) for name in (*names, *more)} for record in self.journal.peek()]

    def settle(self) -> None:
        """Returns when all that was sent so far has been dealt with: a message of ours comes last."""
        reply = construct()
        message = corpus.header(24, 1, bits=0x1513, remote=self.port, local=reply)
        must(send(message))
        assert receive(reply), "no answer"
        destroy(reply)

    def close(self) -> None:
        lib.excguard_receiver_stop(self.receiver)
        self.journal.close()
        os.close(self.wakeup)
        os.close(self.wake)
        if lib.MACH_PORT_TYPE_SEND & ports.names()[self.port]:
            must(lib.mach_port_deallocate(self_port(), self.port))
        destroy(self.port)
        must(lib.mach_port_mod_refs(self_port(), self.port_set, lib.MACH_PORT_RIGHT_PORT_SET, -1))


@contextlib.contextmanager
def watching(directory: str, policy: int = 0, capacity: int = 4096) -> Iterator[Watch]:
    watch = Watch(directory, policy, capacity)
    try:
        yield watch
    finally:
        watch.close()


def misuse() -> int:
    """INVALID_NAME with the name NOBODYS_NAME."""
    return int(lib.mach_port_deallocate(self_port(), NOBODYS_NAME))


def child(program: str, *arguments: object) -> int:
    """Runs raise_guards; its answer."""
    return int(subprocess.check_output([program, *map(str, arguments)]))


# ---- what the kernel sends ----


def own_hit(directory: str, behavior: int, flavor: int) -> dict[str, Any]:
    with watching(directory) as watch:
        watch.set_pid(os.getpid())
        watch.take(behavior, flavor)
        before = census()
        results = [misuse(), misuse()]
        watch.settle()
        return {
            "results": results,
            "records": watch.records(),
            "pid": os.getpid(),
            "rejected": watch.rejected(),
            "replies": watch.replies(),
            "same": census() == before,
        }


def policies(directory: str, program: str, policy: int, behavior: int, flavor: int) -> dict[str, Any]:
    """One hit of the target's own process and one of another that inherited the port."""
    with watching(directory, policy) as watch:
        watch.take(behavior, flavor)
        with subprocess.Popen([program, "1"], stdout=subprocess.PIPE, text=True, env=_held()) as process:
            # The program raises once it can read a line: by then its pid is known.
            watch.set_pid(process.pid)
            _let_run(process.pid)
            assert process.stdout is not None
            own = int(process.stdout.read())
        inherited = child(program, 1)
        return {"own": own, "inherited": inherited, "records": watch.records(), "pid": process.pid}


def _held() -> dict[str, str]:
    return {**os.environ, "EXCGUARD_TEST_HOLD": "1"}


def _let_run(pid: int) -> None:
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)  # it stops itself first
    os.kill(pid, signal.SIGCONT)


def insecure_kernel(directory: str, program: str, behaviors: list[int], flavor: int) -> dict[str, Any]:
    """The kernel itself sends an insecure behavior, because a process registered one."""
    with watching(directory) as watch:
        before = census()
        answers = []
        for behavior in behaviors:
            watch.take(behavior, flavor if behavior in (2, 3) else 0)
            answers.append(child(program, 3))
        watch.let_go()
        watch.settle()
        return {
            "answers": answers,
            "rejected": watch.rejected(),
            "hits": watch.records(),
            "same": census() == before,
        }


def not_a_guard(directory: str, program: str) -> dict[str, Any]:
    with watching(directory) as watch:
        watch.take(exceptions=1 << 1)
        before = census()
        status = subprocess.run([program, "0"], check=False, capture_output=True).returncode
        watch.let_go()
        watch.settle()
        return {"status": status, "rejected": watch.rejected(), "same": census() == before}


def a_dead_sender(directory: str, program: str) -> dict[str, Any]:
    """A process that is killed while it waits: its hit counts, the reply cannot be delivered."""
    with watching(directory) as watch:
        watch.take()
        watch.settle()
        before = census()
        must(lib.mach_port_move_member(self_port(), watch.port, 0))  # no thread receives from it
        with subprocess.Popen([program, "1"], stdout=subprocess.PIPE) as process:
            while _queued(watch.port) == 0:
                pass
            process.kill()
        must(lib.mach_port_move_member(self_port(), watch.port, watch.port_set))
        watch.settle()
        return {
            "records": watch.records(),
            "rejected": watch.rejected(),
            "failures": watch.stats().reply_failures,
            "pid": process.pid,
            "same": census() == before,
        }


def _queued(port: int) -> int:
    status, count = ffi.new("mach_port_status_t *"), ffi.new("mach_msg_type_number_t *")
    count[0] = ffi.sizeof("mach_port_status_t") // 4
    info = ffi.cast("integer_t *", status)
    must(lib.mach_port_get_attributes(self_port(), port, lib.MACH_PORT_RECEIVE_STATUS, info, count))
    return int(status.mps_msgcount)


# ---- what others send ----


def user_messages(directory: str) -> dict[str, Any]:
    """A user sends what the kernel would: 2408, 2410, 2405, 2406, 2409, and notifications."""
    seen = {}
    with watching(directory) as watch:
        carried, reply = construct(lib.MPO_INSERT_SEND_RIGHT), construct()
        before = census()
        for message in corpus.golden():
            old = watch.rejected()
            body = corpus.request(message)
            must(send(_addressed(body, watch.port, reply, carried)))
            answer = receive(reply)
            assert answer is not None
            new = watch.rejected()
            (reason,) = [name for name, count in new.items() if count != old.get(name, 0)]
            code = struct.unpack_from("<i", answer, 32)[0]
            id_ = struct.unpack_from("<i", answer, 20)[0]
            seen[message["n"]] = [reason, code, id_ - message["msgh_id"], len(answer)]
        for name in corpus.NOTIFICATION_IDS:
            old = watch.rejected()
            body = corpus.notification(name, carried)[:-52]
            must(send(_addressed(body, watch.port, 0, carried)))
            watch.settle()
            new = {**watch.rejected(), "unknown_id": 0}
            seen[name] = [one for one, count in new.items() if count != {**old, "unknown_id": 0}.get(one, 0)]
        return {
            "seen": seen,
            "hits": watch.records(),
            "no_senders": watch.no_senders(),
            "same": census() == before,
        }


def _addressed(body: bytes, port: int, reply: int, carried: int) -> bytes:
    """The message as a user can send it: rights that exist, dispositions of a sender."""
    bits = struct.unpack_from("<I", body)[0] & 0x80000000
    words = [bits | 0x13 | (0x1500 if reply else 0), len(body), port, reply, 0]
    message = bytearray(body)
    struct.pack_into("<5I", message, 0, *words)
    if bits:
        for index in range(struct.unpack_from("<I", body, 24)[0]):
            struct.pack_into("<3I", message, 28 + 12 * index, carried, 0, 0x13 << 16)
    return bytes(message)


def odd_messages(directory: str) -> dict[str, Any]:
    """Messages of any size and content, with and without rights; nothing of them may stay."""
    with watching(directory) as watch:
        carried, reply = construct(lib.MPO_INSERT_SEND_RIGHT), construct()
        spare = construct()
        must(lib.mach_port_move_member(self_port(), spare, watch.port_set))
        must(lib.mach_port_insert_right(self_port(), spare, spare, lib.MACH_MSG_TYPE_MAKE_SEND))
        watch.settle()
        before = census()
        accepted = refused = 0
        for message in corpus.mutations(3000, seed=3):
            sized = message[: len(message) // 4 * 4]
            complex_ = len(sized) >= 24 and sized[3] >> 7
            count = struct.unpack_from("<I", sized, 24)[0] if complex_ and len(sized) >= 28 else 0
            if len(sized) < 28 + 12 * count:
                continue  # nothing that a kernel would take
            to_spare, answered = sized[20] % 4 == 0, sized[24] % 2 == 0
            port = spare if to_spare else watch.port
            whole = _addressed(sized, port, reply if answered else 0, carried)
            result = send(whole)
            if result == 0:
                accepted += 1
                if answered:
                    assert receive(reply) is not None
            else:
                refused += 1
        watch.settle()
        return {
            "sent": accepted,
            "rejected": sum(watch.rejected().values()),
            "unknown_port": watch.rejected().get("unknown_port", 0),
            "hits": watch.journal.pending,
            "same": census() == before,
            "running": watch.stats().running,
        }


def too_large(directory: str) -> dict[str, Any]:
    with watching(directory) as watch:
        carried = construct(lib.MPO_INSERT_SEND_RIGHT)
        before = census()
        body = corpus.header(24 + 4 + 12 + 6000, 2408, bits=0x80001112) + bytes(4 + 12 + 6000)
        message = bytearray(body)
        struct.pack_into("<I", message, 24, 1)
        for _ in range(5):
            must(send(_addressed(bytes(message), watch.port, 0, carried)))
        watch.settle()
        return {"rejected": watch.rejected(), "same": census() == before, "running": watch.stats().running}


def a_reply_port_that_is_full(directory: str) -> dict[str, Any]:
    """A sender's reply port whose queue is full cannot hold the thread up."""
    with watching(directory) as watch:
        watch.take()
        reply = construct(lib.MPO_INSERT_SEND_RIGHT)
        filled = 0
        while send(corpus.header(24, 5, bits=0x13, remote=reply, local=0), timeout=0) == 0:
            filled += 1
        before = census()
        # The reply port is named by a send right, which the queue's limit holds for.
        must(send(corpus.header(24, 2408, bits=0x1313, remote=watch.port, local=reply)))
        watch.settle()
        answered = misuse()
        watch.settle()
        return {
            "filled": filled,
            "answered": answered,
            "failures": watch.stats().reply_failures,
            "hits": len(watch.records()),
            "same": census() == before,
        }


# ---- notifications ----


def no_senders(directory: str) -> dict[str, Any]:
    """The last holder of the exception port goes, twice; then the target is forgotten."""
    before = census()
    with watching(directory) as watch:
        must(lib.excguard_receiver_watch_senders(watch.receiver, watch.TARGET))
        twice = lib.excguard_receiver_watch_senders(watch.receiver, watch.TARGET)
        stranger = lib.excguard_receiver_watch_senders(watch.receiver, watch.TARGET + 1)
        seen = [watch.no_senders()]
        woken = []
        for round_ in range(2):
            lib.excguard_receiver_arm(watch.receiver)
            if round_:  # the first send right is the one that the port was made with
                must(
                    lib.mach_port_insert_right(
                        self_port(), watch.port, watch.port, lib.MACH_MSG_TYPE_MAKE_SEND
                    )
                )
            must(lib.mach_port_deallocate(self_port(), watch.port))
            woken.append(_woken(watch.wakeup))
            seen.append(watch.no_senders())
        rejected = watch.rejected()
        must(lib.excguard_receiver_remove_target(watch.receiver, watch.TARGET))
    return {
        "seen": seen,
        "woken": woken,
        "refusals": [twice, stranger],
        "rejected": rejected,
        "same": census() == before,
    }


def _woken(pipe: int, timeout: float = 10) -> bool:
    ready, _, _ = select.select([pipe], [], [], timeout)
    return bool(ready) and os.read(pipe, 100) == b"\0"


def the_wakeup_pipe(directory: str) -> dict[str, Any]:
    with watching(directory) as watch:
        watch.take()
        misuse()
        unarmed = _woken(watch.wakeup, 0)
        lib.excguard_receiver_arm(watch.receiver)
        early = _woken(watch.wakeup, 0)
        for _ in range(5):
            misuse()
        armed = _woken(watch.wakeup)
        again = _woken(watch.wakeup, 0)
        watch.settle()
        wakeups = watch.stats().wakeups
        # A refused message does not wake the reader.
        lib.excguard_receiver_arm(watch.receiver)
        watch.settle()
        return {
            "unarmed": unarmed,
            "early": early,
            "armed": armed,
            "again": again,
            "wakeups": wakeups,
            "refused": _woken(watch.wakeup, 0),
        }


# ---- life ----


def stops(directory: str) -> dict[str, Any]:
    before = census()
    for _ in range(20):
        with watching(directory) as watch:
            watch.take()
            misuse()
            watch.settle()
            watch.let_go()
    lib.excguard_receiver_stop(ffi.NULL)
    return {"same": census() == before, "threads": len(list(Path("/proc/self/task").iterdir()))}


def loses_its_ports(directory: str) -> dict[str, Any]:
    """The port set goes away under the thread: it ends, says so, and can still be stopped."""
    watch = Watch(directory)
    lib.excguard_receiver_arm(watch.receiver)
    must(lib.mach_port_mod_refs(self_port(), watch.port_set, lib.MACH_PORT_RIGHT_PORT_SET, -1))
    woken = _woken(watch.wakeup)
    stats = watch.stats()
    lib.excguard_receiver_arm(watch.receiver)
    again = _woken(watch.wakeup)
    lib.excguard_receiver_stop(watch.receiver)
    return {"woken": woken, "again": again, "running": stats.running, "error": stats.last_error != 0}


def targets(directory: str) -> dict[str, Any]:
    """What add, set and remove answer."""
    with watching(directory) as watch:
        receiver = watch.receiver

        def add(port: int, target_id: int, policy: int = 0) -> int:
            return int(lib.excguard_receiver_add_target(receiver, port, target_id, policy))

        refusals = [
            add(0, 1),
            add(2**32 - 1, 1),
            add(0x9903, 0),
            add(0x9903, 1, 2),
            add(watch.port, 1),
            add(0x9903, watch.TARGET),
            int(lib.excguard_receiver_set_pid(receiver, 99, 1)),
            int(lib.excguard_receiver_remove_target(receiver, 99)),
        ]
        # Names with one home among them, as long as there is room.
        fits = [add(0x10003 * (index + 1) & 0xFFFF03 | index << 24, 100 + index) for index in range(127)]
        full = add(0x77777703, 1000)
        removed = [
            int(lib.excguard_receiver_remove_target(receiver, 100 + index)) for index in range(0, 127, 2)
        ]
        again = [add(0x55550003 + (index << 8), 2000 + index) for index in range(len(removed))]
        watch.take()
        misuse()
        must(lib.excguard_receiver_remove_target(receiver, watch.TARGET))
        misuse()
        must(lib.excguard_receiver_add_target(receiver, watch.port, 8, 0))
        misuse()
        return {
            "refusals": refusals,
            "fits": set(fits) == {0},
            "full": full,
            "removed": set(removed) == {0},
            "again": set(again) == {0},
            "hits": [record["target_id"] for record in watch.records()],
            "rejected": watch.rejected(),
        }


def removal(directory: str) -> dict[str, Any]:
    """Messages that reach a target's port between its removal and the port's end, and before it."""
    with watching(directory) as watch:
        message = corpus.header(24, 1, bits=0x13, remote=watch.port, local=0)
        must(send(message))
        watch.settle()
        before = watch.rejected()
        must(lib.excguard_receiver_silence_target(watch.receiver, watch.TARGET))
        must(send(message))
        must(lib.excguard_receiver_remove_target(watch.receiver, watch.TARGET))
        must(send(message))
        gone = int(lib.excguard_receiver_silence_target(watch.receiver, watch.TARGET))
        # A turn of the thread: a message of ours to another port of the set comes last.
        other = construct(lib.MPO_INSERT_SEND_RIGHT)
        must(lib.mach_port_move_member(self_port(), other, watch.port_set))
        must(lib.excguard_receiver_add_target(watch.receiver, other, 8, 0))
        reply = construct()
        must(send(corpus.header(24, 2, bits=0x1513, remote=other, local=reply)))
        answered = receive(reply) is not None
        return {"before": before, "after": watch.rejected(), "answered": answered, "gone": gone}


# ---- under load ----


def python_stalled(directory: str, program: str) -> dict[str, Any]:
    """Another process raises guards while this one's Python stands still, its lock held."""
    with watching(directory) as watch:
        watch.take()
        process = subprocess.Popen([program, "200"], stdout=subprocess.DEVNULL, env=_held())
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        started = time.time_ns()
        os.kill(process.pid, signal.SIGCONT)
        ctypes.PyDLL(None).usleep(2_000_000)  # PyDLL keeps the lock
        stalled_until = time.time_ns()
        ended = process.poll() is not None
        process.wait()
        times = [record.time_ns for record in watch.journal.peek()]
        return {
            "ended": ended,
            "during": sum(started <= when < stalled_until for when in times),
            "hits": len(times),
        }


def many(directory: str, program: str, count: int) -> dict[str, Any]:
    """A storm: names and memory stay as they were."""
    with watching(directory, capacity=4096) as watch:
        watch.take()
        child(program, 2000)
        watch.journal.drain()
        watch.settle()
        before, memory = census(), _resident()
        started = time.monotonic()
        child(program, count)
        seconds = time.monotonic() - started
        watch.settle()
        growth = _resident() - memory
        (counts,) = watch.journal.hits().values()
        return {
            "hits": sum(counts) - 2000,
            "records": watch.journal.pending,
            "lost": watch.journal.lost,
            "same": census() == before,
            "growth_kib": growth,
            "microseconds": round(seconds / count * 1e6, 2),
            "replies": watch.replies(),
            "maximum_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        }


def _resident() -> int:
    """Resident memory of this process without that of mapped files, in KiB."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0])
