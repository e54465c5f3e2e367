"""The child of the tests of rendezvous: a C program with the C client in it, compiled once a run."""

from pathlib import Path

import pytest

from tests.support import ROOT, compiler, simulator

CLIENT = ROOT / "daemon" / "excguard" / "client"
PROGRAM = Path(__file__).parent / "programs" / "rendezvous_child.c"


def command(cc: str, output: Path) -> list[str | Path]:
    """What compiles it."""
    options = ["-std=c11", "-O1", "-g", *compiler.WARNINGS, f"-I{CLIENT}", *simulator.HEADERS]
    return [cc, *options, PROGRAM, CLIENT / "excguard_client.c", *simulator.LIBRARIES, "-o", output]


def built(factory: pytest.TempPathFactory) -> str:
    """Its path; with sanitizers where the compiler has them."""
    cc = compiler.require()
    directory = compiler.build_once(
        factory, "rendezvous-child", lambda where: compiler.compile_sanitized(command(cc, where / "child"))
    )
    return str(directory / "child")
