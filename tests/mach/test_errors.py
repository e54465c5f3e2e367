"""Names of return codes."""

import pickle

import pytest

from excguard.mach.errors import MachError, check, symbolic_name
from tests.support.apple_constants import constants

CODES = [
    *((name, value) for name, value in constants("mach/kern_return.h").items() if name != "KERN_RETURN_MAX"),
    *((name, value) for name, value in constants("mach/mig_errors.h").items()),
    *(
        (name, value)
        for name, value in constants("mach/message.h").items()
        if name.startswith(("MACH_SEND_", "MACH_RCV_")) and value >= 0x10000000
    ),
]


@pytest.mark.parametrize(("name", "value"), CODES)
def test_every_code_of_apples_headers_has_its_name(name: str, value: int) -> None:
    assert symbolic_name(value) == name


def test_the_headers_were_read() -> None:
    families = {name.split("_")[0] for name, _ in CODES}

    assert {"KERN", "MIG", "MACH"} == families
    assert len(CODES) > 100


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (1102, "BOOTSTRAP_UNKNOWN_SERVICE"),
        (0x10004002 | 0x400, "MACH_RCV_INVALID_NAME|MACH_MSG_VM_KERNEL"),
        (
            0x1000400C | 0x3000,
            "MACH_RCV_BODY_ERROR|MACH_MSG_IPC_SPACE|MACH_MSG_VM_SPACE",
        ),
        (0x1000400C | 0x200, "0x1000420c"),
        (500, "0x1f4"),
        (-310, "-0x136"),
    ],
)
def test_other_codes(code: int, name: str) -> None:
    assert symbolic_name(code) == name


def test_success_is_no_error() -> None:
    check("mach_port_allocate", 0)


def test_an_error_says_what_failed_and_what_to_do() -> None:
    with pytest.raises(MachError) as raised:
        check("bootstrap_look_up", 1102)

    assert (raised.value.function, raised.value.kern_return) == ("bootstrap_look_up", 1102)
    assert raised.value.name == "BOOTSTRAP_UNKNOWN_SERVICE"
    assert str(raised.value) == (
        "bootstrap_look_up: BOOTSTRAP_UNKNOWN_SERVICE (1102): no such service in this bootstrap name space; "
        "check its name, and that its launchd job is loaded in this session"
    )


def test_advice_may_depend_on_the_function() -> None:
    assert "get-task-allow" in MachError("task_for_pid", 5).advice
    assert MachError("mach_port_allocate", 5).advice == ""
    assert str(MachError("mach_msg", 0x1F4)) == "mach_msg: 0x1f4"


def test_an_error_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(MachError("mach_msg", 0x10004003)))  # noqa: S301 (made here)

    assert str(error) == "mach_msg: MACH_RCV_TIMED_OUT (268451843)"
