"""A server in this process, and children that are C programs with the C client in them."""

import ctypes
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from excguard.mach import ports
from excguard.mach.host import Host
from excguard.mach.rendezvous import Event, Port, RendezvousServer, Requirement
from excguard.mach.spawn import spawn
from tests.support import compiler, rendezvous_child, simulator


@pytest.fixture(scope="session")
def child_program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The child."""
    return rendezvous_child.built(tmp_path_factory)


@pytest.fixture(scope="session")
def _signer(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes, bytes, int], int]:
    if sys.platform == "darwin":
        pytest.skip("on a Mac this process has the signature of Python")
    library = tmp_path_factory.mktemp("sign") / "sign.so"
    source = Path(__file__).parent / "programs" / "sign.c"
    command = [compiler.require(), "-shared", "-fPIC", *simulator.HEADERS, source, *simulator.LIBRARIES]
    subprocess.run([*command, "-o", library], check=True)
    return ctypes.CDLL(str(library)).sign


@pytest.fixture
def signed_server(
    mach_environ: dict[str, str], _signer: Callable[[bytes, bytes, int], int]
) -> Callable[[str, str, int], None]:
    """This process, which serves, has a signature; it can be given another."""

    def sign(identifier: str, team: str, certificate: int) -> None:
        assert _signer(identifier.encode(), team.encode(), certificate) == 0

    sign("org.example.server", "TEAM123456", 1)
    return sign


class Family:
    """A server, its children and what it said."""

    def __init__(self, host: Host, program: str, directory: Path) -> None:
        self.host = host
        self.program = program
        self.events: list[Event] = []
        self.server: RendezvousServer
        self._outputs: dict[int, Path] = {}
        self._directory = directory

    def start(
        self,
        *words: object,
        gets: Mapping[int, Port] | None = None,
        requirement: Requirement | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> int:
        """Start a child that is to get ports; its pid."""
        output = self._directory / f"output-{len(self._outputs)}"
        command = [self.program, "output", str(output), *map(str, words)]
        environment = {**os.environ, **self.server.environment, **(variables or {})}
        with self.server.launch(gets or {}, requirement) as launch:
            pid = spawn(self.host, command, environment=environment)
            if gets or requirement:
                launch.register(pid)
        self._outputs[pid] = output
        return pid

    def wait(self, pid: int) -> list[str]:
        """What a child has said, now that it has ended well."""
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        return self.said(pid)

    def said(self, pid: int) -> list[str]:
        return self._outputs[pid].read_text().splitlines()

    def run(self, *words: object, **settings: object) -> list[str]:
        return self.wait(self.start(*words, **settings))  # type: ignore[arg-type]


_numbers = itertools.count()


@pytest.fixture
def family(host: Host, child_program: str, tmp_path: Path) -> Iterator[Callable[..., Family]]:
    """Make a server with children. At the end nothing may be left in the port name space."""
    made: list[Family] = []
    before = ports.names()

    def make(**settings: object) -> Family:
        family = Family(host, child_program, tmp_path)
        service = f"org.excguard.test.{os.getpid()}.{next(_numbers)}"
        family.server = RendezvousServer(
            service,
            on_event=family.events.append,
            **settings,  # type: ignore[arg-type]
        )
        made.append(family)
        return family

    yield make
    for one in made:
        one.server.close()
    assert ports.names() == before
