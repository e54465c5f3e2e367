"""Where in the code a hit was, and its site id: in the log, the summary, JUnit and the metrics."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from excguard.native import _core
from tests.support import compiler, simulator

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess

    Run = Callable[..., CompletedProcess[str]]

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="programs of the simulated kernel")

MISUSES = ("double_deallocate", "guard_twice")
FORKING = r"""
#include <dlfcn.h>
#include <mach/mach.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* A call that breaks a rule; not inlined, so that it has one place. */
__attribute__((noinline)) static kern_return_t violate(void) {
    return mach_port_deallocate(mach_task_self(), 0xdead03);
}

int main(int argc, char **argv) {
    if (argc > 1) { /* a library that is loaded later */
        kern_return_t (*late)(void) = (kern_return_t (*)(void))dlsym(dlopen(argv[1], RTLD_NOW), "late");
        return late() == KERN_SUCCESS;
    }
    violate();
    pid_t child = fork();
    if (child == 0) {
        violate();
        _exit(0);
    }
    waitpid(child, NULL, 0);
    return 0;
}
"""
LATE = """
#include <mach/mach.h>
__attribute__((visibility("default"))) kern_return_t late(void);
kern_return_t late(void) { return mach_port_deallocate(mach_task_self(), 0xdead03) + 1; }
"""


@pytest.fixture(scope="module")
def forking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the program, and the library that it loads."""

    def build(directory: Path) -> None:
        for name, source, options in (("forking", FORKING, ()), ("late.so", LATE, ("-shared", "-fPIC"))):
            (directory / f"{name}.c").write_text(source)
            command = [compiler.require(), "-O1", "-g", "-Wl,--build-id", *options, *simulator.HEADERS]
            command += [directory / f"{name}.c", *simulator.LIBRARIES, "-o", directory / name]
            subprocess.run(command, check=True)

    return compiler.build_once(tmp_path_factory, "forking", build)


def hits_of(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if '"guard_hit"' in line]


def test_each_hit_has_image_offset_and_the_same_site_id_everywhere(run: Run, tmp_path: Path) -> None:
    ids = []
    for number in range(2):
        log, junit = tmp_path / f"log{number}", tmp_path / f"junit{number}.xml"
        options = ("--fail-on", "soft", "--json", "--log", str(log), "--junit", str(junit))
        done = run(*options, "--", sys.executable, "-m", "excguard.misuse", "--quiet", *MISUSES)
        summary = json.loads(done.stderr.splitlines()[-1])
        hits = hits_of(log)

        assert {hit["image"] for hit in hits} == {_core.__file__}
        assert all(len(hit["image_uuid"]) == 36 and int(hit["image_offset"], 16) for hit in hits)
        assert {hit["site_precision"] for hit in hits} == {"offset"}
        ids.append([hit["site_id"] for hit in hits])
        assert {site["site_id"] for site in summary["sites"]} == set(ids[-1])
        assert {site["id"] for site in summary["gate"]["sites"]} == set(ids[-1])
        names = [case.get("name", "") for case in ET.parse(junit).iter("testcase")]  # noqa: S314 - our own
        assert sorted(name[-13:-1] for name in names) == sorted(ids[-1])
        assert all(f"in {Path(_core.__file__).name}+0x" in name for name in names)
    assert len(set(ids[0])) == 2
    assert ids[0] == ids[1]  # whatever addresses and process ids are


def test_a_child_of_fork_and_its_parent_have_the_same_site(run: Run, forking: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = run("--json", "--log", str(log), "--", str(forking / "forking"))
    hits = hits_of(log)

    assert [hit["inherited"] for hit in hits] == [False, True]
    assert [hit["image"] for hit in hits] == [str(forking / "forking")] * 2
    assert len({hit["site_id"] for hit in hits}) == 1
    (site,) = json.loads(done.stderr.splitlines()[-1])["sites"]
    assert site["hits"] == 2


def test_a_library_that_is_loaded_later_is_the_place(run: Run, forking: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    run("--log", str(log), "--", str(forking / "forking"), str(forking / "late.so"))
    (hit,) = hits_of(log)

    assert hit["image"] == str(forking / "late.so")
    assert hit["site_precision"] == "offset"


@pytest.mark.parametrize(
    ("options", "behavior"),
    [
        (("--behavior", "identity_protected"), "identity_protected"),
        (("--reply", "consume"), "identity_protected"),
        (("--delivery", "none"), "state_identity_protected"),
    ],
)
def test_without_a_place_the_site_is_the_executable(
    run: Run, forking: Path, tmp_path: Path, options: tuple[str, ...], behavior: str
) -> None:
    log = tmp_path / "log"
    run(*options, "--log", str(log), "--", str(forking / "forking"))
    hits = hits_of(log)

    assert {hit["behavior"] for hit in hits} == {behavior}
    assert {hit["site_precision"] for hit in hits} == {"executable"}
    assert "image" not in hits[0]
    assert len({hit["site_id"] for hit in hits}) == 1
