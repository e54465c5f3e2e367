"""The whole way of a guard hit: run by test_execution.py with each build of the C.

    python whole_loop.py JOURNAL RESULT

Starts children with an exception port, one after the other, has each break one of the rules that
excguard.misuse has, and writes as JSON what the receiver made of it: the records, the counters, and what
was left in the port name space.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from excguard import misuse
from excguard.config import Reply
from excguard.mach import exception_ports, host, ports, spawn
from excguard.native import _core
from excguard.pipeline.journal import Journal
from excguard.pipeline.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterable

FIELDS = ("seq", "code", "subcode", "target_id", "behavior", "reply", "state_flavor", "severity", "flags")


ORDINARY = [name for name, what in misuse.MISUSES.items() if what.ordinary]
A_FEW = ("double_deallocate", "destroy_guarded", "deallocate_receive_right")


def hits(
    journal: Journal, behavior: exception_ports.Behavior, reply: Reply, names: Iterable[str]
) -> list[dict[str, object]]:
    """Lets one child after the other commit a misuse; returns the records they left, without what varies."""
    here = host.running()
    with (
        ports.PortSet.allocate() as port_set,
        exception_ports.construct_exception_port(here) as port,
        Receiver(journal, port_set.name) as receiver,
    ):
        port.move_to(port_set)
        receiver.add_target(port.name, 7, reply)
        found = []
        for name in names:
            with port.make_send() as right:
                pid = spawn.spawn(
                    here,
                    [sys.executable, "-m", "excguard.misuse", name],
                    exception_port=right,
                    behavior=behavior,
                )
            receiver.set_pid(7, pid)
            _, status = os.waitpid(pid, 0)
            killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            assert killed == misuse.MISUSES[name].fatal, (name, status)
            records, count = journal.read(journal.tail, 8)
            for index in range(count):
                record = records[index]
                assert record.pid == pid
                found.append({"misuse": name, **{field: getattr(record, field) for field in FIELDS}})
            journal.release(journal.tail + count)
        return found


def main() -> None:
    before = ports.names()
    with Journal(Path(sys.argv[1]), capacity=8, release=260400) as journal:
        found = [
            hits(journal, exception_ports.Behavior.IDENTITY_PROTECTED, Reply.FORWARD, ORDINARY),
            hits(journal, exception_ports.Behavior.IDENTITY_PROTECTED, Reply.CONSUME, A_FEW),
            hits(journal, exception_ports.Behavior.STATE_IDENTITY_PROTECTED, Reply.FORWARD, A_FEW),
        ]
        counters = [counter[:6] for counter in journal.hit_counters()]
        answered = sum(journal.replies()[1])
        rejected = journal.rejected()
    after = ports.names()
    result = {
        "loader": type(_core.__spec__.loader).__name__,
        "hits": found,
        "counters": counters,
        "answered": answered,
        "rejected": rejected,
        "ports_left": len(after) - len(before),
    }
    Path(sys.argv[2]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
