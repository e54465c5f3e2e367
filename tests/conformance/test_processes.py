"""Exception ports go on to children and to the next program; names do not."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.mach_machine import Kind
from tests.support.samples import INVALID_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.mach_machine import Machine

EXC_CRASH, EXC_RESOURCE = 10, 11
KERN_NO_SPACE = 3


@pytest.mark.parametrize("mode", ["exec", "fork", "spawn", "grandchild", "copy"])
def test_guards_of_descendants_come_to_the_port(machine: Machine, mode: str) -> None:
    """ipc_task_init, osfmk/kern/ipc_tt.c, xnu-11417.121.6."""
    seen = machine.watch("lives", mode, machine.program("misuse"), "double_deallocate")

    (message,) = seen.messages
    child = next((line["child"] for line in seen.said if "child" in line), seen.exit["pid"])
    if mode == "grandchild":
        assert message["pid"] not in {child, seen.exit["pid"]}
    else:
        assert message["pid"] == child
    assert message["code"] >> 32 == INVALID_NAME >> 32
    assert seen.exit["status"] == 0


def test_program_that_never_speaks(machine: Machine) -> None:
    """exec_handle_exception_port_actions, bsd/kern/kern_exec.c, xnu-11417.121.6: a port is optional."""
    done = machine.run("watch", "--", "/bin/sh", "-c", "exit 7")

    assert '"status": 7' in done.stdout
    assert '"event": "message"' not in done.stdout


def test_port_is_held_by_the_last_descendant(machine: Machine) -> None:
    """ipc_task_init and ipc_task_terminate, osfmk/kern/ipc_tt.c, xnu-11417.121.6: each task holds a right."""
    script = f'({machine.program("misuse")} double_deallocate; sleep 0.2; echo "{{\\"late\\": 1}}") & wait'
    done = machine.run("watch", "--", "/bin/sh", "-c", script)

    assert done.stdout.index('"late"') < done.stdout.index('"event": "exit"')
    assert done.stdout.count('"event": "message"') == 1


def test_task_with_more_names_than_its_table_holds_is_ended(boot: Callable[[Kind], Machine]) -> None:
    """task_port_space_ast, osfmk/kern/task.c, xnu-11417.121.6: EXC_RESOURCE is the cause of the EXC_CRASH."""
    machine = boot(Kind("26.4", since="12.0", port_table_size=512))
    masks = ("-m", hex(1 << EXC_CRASH | 1 << EXC_RESOURCE), "-r", "0")
    seen = machine.watch("full", options=masks)

    (size,) = (line["size"] for line in seen.said)
    (message,) = seen.messages
    assert message["exception"] == EXC_CRASH
    assert message["code"] == signal.SIGKILL << 24 | EXC_RESOURCE << 20 | size & 0xFFFFF
    assert seen.exit["status"] == -signal.SIGKILL


def test_full_table_before_macos_12(boot: Callable[[Kind], Machine]) -> None:
    """ipc_entry_grow_table, osfmk/ipc/ipc_entry.c, xnu-7195.141.2: the call fails, and the task goes on."""
    machine = boot(Kind("11.6", since="11.0", before="12.0", port_table_size=512))
    done = machine.run("full")

    assert done.returncode == 0
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["result"] == KERN_NO_SPACE
    assert last["names"] > 500 if machine.kernel is None else 500 < last["names"] < 512
