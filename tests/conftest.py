"""Options of the whole suite, and the kernel of the tests that call Mach themselves."""

import os
import signal
import sys
from collections.abc import Iterator

import hypothesis
import pytest

from excguard.mach import host as mach_host
from excguard.pipeline.hit import Hit
from excguard.testing import simulated_hit
from tests.support.samples import INVALID_NAME
from tests.support.simulator import SOCKET_VARIABLE, Kernel


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --kernel, --release, --slow and --soak."""
    group = parser.getgroup("excguard")
    group.addoption(
        "--kernel",
        choices=("simulated", "native"),
        default="native" if sys.platform == "darwin" else "simulated",
        help="what tests/conformance runs against: the simulator, or XNU on a Mac (default: by system)",
    )
    group.addoption(
        "--release",
        help="with the simulator: run what a Mac of this release would of tests/conformance",
    )
    group.addoption("--slow", action="store_true", help="also run the tests marked slow")
    group.addoption("--soak", action="store_true", help="also run tests/soak")
    group.addoption("--soak-minutes", type=float, default=30.0, help="how long (default: 30)")


def pytest_configure(config: pytest.Config) -> None:
    """Refuses a kernel that this system does not have; lets no test depend on time or on who started it."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:  # as nohup and shells do; programs would inherit it
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    hypothesis.settings.register_profile("excguard", deadline=None)
    hypothesis.settings.load_profile("excguard")
    if config.getoption("--kernel") == "native" and sys.platform != "darwin":
        raise pytest.UsageError("--kernel=native needs a Mac; this system has the simulator only")
    if config.getoption("--kernel") == "native" and config.getoption("--release"):
        raise pytest.UsageError("--release is for the simulator; a Mac's own kernel has its release")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the slow tests and the soak unless asked for."""
    for name in ("slow", "soak"):
        if not config.getoption(f"--{name}"):
            for item in items:
                if item.get_closest_marker(name):
                    item.add_marker(pytest.mark.skip(reason=f"{name}: give --{name} to run it"))


@pytest.fixture(autouse=True, scope="session")
def _state_of_this_session(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What programs keep between two starts is not the user's own."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def session_kernel() -> Iterator[dict[str, str]]:
    """One kernel for all tests that call Mach in this process, which can belong to one kernel only.

    It is the environment variables by which programs find it: none on a Mac. Tests of programs had better
    start kernels of their own.
    """
    if sys.platform == "darwin":
        yield {}
        return
    with Kernel() as kernel:
        yield {SOCKET_VARIABLE: kernel.socket}


@pytest.fixture
def mach_environ(session_kernel: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """This process, and what it starts, are tasks of the session's kernel for the length of the test."""
    for name, value in session_kernel.items():
        monkeypatch.setenv(name, value)
    return {**os.environ}


@pytest.fixture
def host(mach_environ: dict[str, str]) -> mach_host.Host:
    """The system of `mach_environ`."""
    return mach_host.running()


@pytest.fixture
def make_hit():
    """Makes hits; keywords replace what a plain INVALID_NAME has."""

    def make(code: int = INVALID_NAME, subcode: int = 0, **changes) -> Hit:
        usual = {"target": "mail", "time_ns": 1_772_366_400_120_000_999, "seq": 5}
        return simulated_hit(code, subcode, **{**usual, **changes})

    return make
