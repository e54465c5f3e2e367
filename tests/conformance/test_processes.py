"""Exception ports go on to children and to the next program; names do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.samples import INVALID_NAME

if TYPE_CHECKING:
    from tests.support.mach_machine import Machine


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
