"""How a program's hits come to be delivered: what is decided before it is started."""

import sys
from pathlib import Path

import pytest

from excguard.config import Delivery, Registration, Target
from excguard.knowledge.exception_behavior import Behavior
from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.mach.host import Host
from excguard.targets import attachment, insertion
from excguard.targets.delivery import DELIVER, Plan, offers_client, plan
from tests.support.mach_o_files import RUNTIME, signature, thin, universal, write

STOCK = 0x0099  # kern.task_exc_guard_default of xnu: nothing for programs that are not hardened
DELIVERED = 0x1199


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write(tmp_path / "library", universal(thin("arm64", kind=6), thin("x86_64", kind=6)))
    monkeypatch.setattr(insertion, "library_path", lambda: path)
    return path


def mac(release: str = "26.4", flags: int | None = STOCK, kernel: str = "xnu-1") -> Host:
    return Host(release, "", kernel, "arm64", developer_mode=True, guard_behavior=flags)


def planned(program: Path, host: Host, environment: dict[str, str] | None = None, **settings: object) -> Plan:
    target = Target(name="app", command=(str(program),), **settings)  # type: ignore[arg-type]
    return plan(target, program, host, environment or {})


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return write(tmp_path / "app", thin())


@pytest.fixture
def hardened(tmp_path: Path) -> Path:
    return write(tmp_path / "hardened", thin(signed=signature(flags=RUNTIME)))


def test_a_program_with_the_flags_of_most_gets_the_library(app: Path, library: Path) -> None:
    found = planned(app, mac())

    assert (found.delivery, found.library) == (Delivery.INSERT, library)
    assert found.flags == GuardBehavior(0)
    assert found.undelivered == ""


def test_nothing_is_done_where_the_flags_deliver_already(app: Path) -> None:
    found = planned(app, mac(flags=DELIVERED))

    assert (found.delivery, found.library, found.undelivered) == (Delivery.NONE, None, "")
    assert found.flags == DELIVER


def test_a_program_that_may_not_get_it_is_left_to_its_own_client(hardened: Path) -> None:
    found = planned(hardened, mac())

    assert (found.delivery, found.library) == (Delivery.CLIENT, None)
    assert "hardened runtime" in found.undelivered
    assert "excguard_client_watch_self" in found.fix


@pytest.mark.parametrize(
    ("delivery", "expected", "reason"),
    [
        (Delivery.INSERT, Delivery.INSERT, "hardened runtime"),
        (Delivery.CLIENT, Delivery.CLIENT, 'delivery is "client"'),
        (Delivery.NONE, Delivery.NONE, 'delivery is "none"'),
    ],
)
def test_what_is_configured_is_done(
    hardened: Path, delivery: Delivery, expected: Delivery, reason: str
) -> None:
    found = planned(hardened, mac(), delivery=delivery)

    assert found.delivery is expected
    assert reason in found.undelivered


def test_a_library_that_is_missing_is_reported(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise FileNotFoundError("it is not built")

    monkeypatch.setattr(insertion, "library_path", missing)
    found = planned(app, mac())

    assert (found.delivery, found.undelivered) == (Delivery.CLIENT, "it is not built")


def test_children_of_a_bundle_with_a_program_that_would_die_go_without(tmp_path: Path) -> None:
    main = write(tmp_path / "My.app" / "Contents" / "MacOS" / "my", thin())
    write(main.with_name("helper"), thin(signed=signature(flags=0x2000)))

    found = planned(main, mac(), delivery_children=True)
    assert (found.delivery, found.children) == (Delivery.INSERT, False)
    assert "helper: library validation" in found.children_reason

    forced = planned(main, mac(), delivery=Delivery.INSERT)
    assert (forced.children, forced.children_reason) == (True, "")
    without = planned(main, mac(), delivery_children=False)
    assert (without.children, without.children_reason) == (False, "")


def test_children_get_it_where_a_person_says_so_or_none_can_be_ended_by_it(app: Path) -> None:
    """An app can start any program, also one outside of its bundle that dyld would end."""
    found = planned(app, mac())
    assert (found.delivery, found.children) == (Delivery.INSERT, False)
    assert "dyld would end one that accepts its variables" in found.children_reason

    assert planned(app, mac(), delivery_children=True).children
    assert planned(app, mac(), delivery=Delivery.INSERT).children
    assert planned(Path(sys.executable), mac(kernel="simulated")).children or sys.platform == "darwin"


def test_a_program_that_was_ended_with_the_library_is_started_without_it(app: Path) -> None:
    target = Target(name="app", command=(str(app),))
    found = plan(target, app, mac(), {}, ended_with_library=True)

    assert (found.delivery, found.undelivered) == (
        Delivery.CLIENT,
        "its last start was ended before the library had reported",
    )


def test_with_registers_the_library_reports_the_images_where_the_flags_deliver_already(
    app: Path, hardened: Path
) -> None:
    state = Behavior.STATE_IDENTITY_PROTECTED
    found = planned(app, mac(flags=DELIVERED), behavior=state)
    assert (found.delivery, found.children_delivered) == (Delivery.INSERT, True)

    kept_out = planned(hardened, mac(release="15.0", flags=DELIVERED), behavior=state)
    assert (kept_out.delivery, kept_out.undelivered, kept_out.fix) == (Delivery.NONE, "", "")


@pytest.mark.parametrize(
    ("release", "signed", "flags"),
    [
        ("26.4", signature(flags=RUNTIME), 0x00),
        ("26.4", signature(entitlements={"hardened-process.platform-restrictions": 1}), 0x99),
        ("15.5", signature(flags=RUNTIME), 0x99),
        ("14.4", signature(flags=RUNTIME), 0x99),
        ("14.3", signature(flags=RUNTIME), 0x00),
        ("14.3", signature(platform=1), 0x99),
        ("14.3", signature(), 0x00),
    ],
)
def test_which_flags_a_program_starts_with(tmp_path: Path, release: str, signed: bytes, flags: int) -> None:
    found = planned(write(tmp_path / "signed", thin(signed=signed)), mac(release))

    assert found.flags == GuardBehavior(flags)


def test_a_program_with_one_exception_port_accepts_none_of_ours(tmp_path: Path) -> None:
    signed = signature(entitlements={"only-one-exception-port": True})
    found = planned(write(tmp_path / "one", thin(signed=signed)), mac())

    assert "accepts no exception port but its own" in found.refused


@pytest.mark.skipif(sys.platform == "darwin", reason="programs of this machine are ELF files")
def test_where_the_kernel_is_simulated_hardening_is_a_variable() -> None:
    simulated = mac(kernel="simulated")
    program = Path(sys.executable)

    assert planned(program, simulated).delivery is Delivery.INSERT
    found = planned(program, simulated, {"EXCSIM_HARDENED": "1"})
    assert (found.delivery, found.flags) == (Delivery.NONE, GuardBehavior(0x99))
    stricter = planned(program, mac(flags=0, kernel="simulated"), {"EXCSIM_HARDENED": "1"})
    assert (stricter.delivery, stricter.undelivered) == (Delivery.CLIENT, "it is hardened (EXCSIM_HARDENED)")


def test_the_variable_keeps_what_was_in_it(app: Path, library: Path) -> None:
    found = planned(app, mac())
    target = Target(name="app", command=(str(app),), environment={insertion.VARIABLE: "/target's"})

    assert found.variables(target, {}) == {insertion.VARIABLE: f"{library}:/target's"}
    bare = Target(name="app", command=(str(app),))
    assert found.variables(bare, {insertion.VARIABLE: "/ours"}) == {insertion.VARIABLE: f"{library}:/ours"}
    assert planned(app, mac(flags=DELIVERED)).variables(bare, {}) == {}


def test_who_may_fetch_the_port(app: Path, hardened: Path) -> None:
    def offered(program: Path, **settings: object) -> bool:
        target = Target(name="app", command=(str(program),), **settings)  # type: ignore[arg-type]
        return offers_client(plan(target, program, mac(), {}), target)

    assert not offered(app)
    assert offered(hardened)
    assert offered(app, registration=Registration.BOTH)


def test_a_process_with_one_exception_port_is_not_attached_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = write(tmp_path / "one", thin(signed=signature(entitlements={"only-one-exception-port": True})))
    monkeypatch.setattr(attachment.processes, "path", lambda _pid: str(program))

    with pytest.raises(PermissionError, match="cannot attach: the program accepts no exception port but its"):
        attachment.Attachment(mac(), 7, Behavior.IDENTITY_PROTECTED, None)  # type: ignore[arg-type]
