"""Services by name."""

from collections.abc import Callable
from typing import Any

from excguard.mach import bootstrap, ports
from excguard.mach.errors import MachError


def offer_and_find() -> list[str]:
    before = ports.names()
    outcomes = []

    def attempt(call: Callable[[str], Any], name: str) -> None:
        try:
            call(name).close()
        except (MachError, ValueError) as error:
            outcomes.append(getattr(error, "name", str(error)))

    attempt(bootstrap.look_up, "org.excguard.test")
    with bootstrap.check_in("org.excguard.test") as service:
        with bootstrap.look_up("org.excguard.test") as found:
            assert found.name == service.name
        attempt(bootstrap.check_in, "org.excguard.test")
    attempt(bootstrap.look_up, "x" * 128)
    attempt(bootstrap.look_up, "")
    attempt(bootstrap.look_up, "a\0b")
    assert ports.names() == before
    return outcomes


def test_a_service_is_offered_and_found(task: Callable[..., Any]) -> None:
    unknown, active, *names = task(offer_and_find)

    assert (unknown, active) == ("BOOTSTRAP_UNKNOWN_SERVICE", "BOOTSTRAP_SERVICE_ACTIVE")
    assert names == [
        f"invalid service name {name!r}: 1 to 127 bytes, no NUL" for name in ("x" * 128, "", "a\0b")
    ]
