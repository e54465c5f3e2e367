"""What a run could see, and says: with xnu's own flags, without Developer Mode, without the library."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from excsim import Kernel
from tests.support import compiler
from tests.support.harness import EXCGUARD, Daemon

MISUSE = [sys.executable, "-m", "excguard.misuse", "--quiet"]
Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def stock(tmp_path: Path):
    """Runs `excguard run` on a Mac with xnu's own flags: optional and soft hits go to no handler."""

    def start(*arguments: str, **settings: object) -> CompletedProcess[str]:
        environment = settings.pop("environment", {})
        with Kernel(**{"task_exc_guard": 0, **settings}) as kernel:  # type: ignore[arg-type]
            return subprocess.run(
                [*EXCGUARD, "run", "--metrics", "off", *arguments],
                env={**os.environ, **kernel.environ, **environment},  # type: ignore[dict-item]
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )

    return start


@pytest.fixture
def stock_serve(tmp_path: Path) -> Iterator[Callable[[str], Daemon]]:
    """Starts `excguard serve` on such a Mac."""
    daemons = []
    with Kernel(task_exc_guard=0) as kernel:

        def start(config: str) -> Daemon:
            daemons.append(Daemon(tmp_path, {**os.environ, **kernel.environ}, config))
            return daemons[-1]

        yield start
        for daemon in daemons:
            daemon.end()


def summary(done: CompletedProcess[str]) -> dict:
    return json.loads(done.stderr.splitlines()[-1])


def by(found: dict) -> dict[str, str]:
    return {severity: found["visibility"][severity]["by"] for severity in ("fatal", "optional", "soft")}


def test_the_first_example_of_the_readme_sees_the_hit_on_a_stock_mac(stock: Run, tmp_path: Path) -> None:
    done = stock("--fail-on", "optional", "--junit", "s.xml", "--", *MISUSE, "double_deallocate")

    assert done.returncode == 3
    assert "1 guard hit in" in done.stderr
    assert 'failures="1"' in (tmp_path / "s.xml").read_text()


def test_a_soft_hit_is_seen_there_too_and_the_summary_says_how(stock: Run) -> None:
    done = stock("--json", "--", *MISUSE, "notify_exception_port")
    found = summary(done)

    assert (found["hits"], found["delivery"]) == (1, "insert")
    assert by(found) == {"fatal": "handler", "optional": "handler", "soft": "handler"}


def test_what_cannot_be_seen_is_said_at_the_start_and_at_the_end(stock: Run) -> None:
    done = stock("--fail-on", "optional", "--delivery", "none", "--", *MISUSE, "double_deallocate")

    assert done.returncode == 0
    assert "optional and soft hits of python" in done.stderr.splitlines()[0]
    assert "no fatal guard hits in " in done.stderr
    assert (
        "Optional and soft hits could not be seen: the program's flags do not have MP_DELIVER" in done.stderr
    )


@pytest.mark.parametrize(
    ("severity", "settings", "status"),
    [
        ("soft", {}, 0),
        ("fatal", {"developer_mode": False}, 4),
        ("soft", {"developer_mode": False}, 4),
        ("fatal", {"developer_mode": False, "release": "14.0"}, 0),
    ],
)
def test_a_run_that_could_not_see_does_not_pass(
    stock: Run, severity: str, settings: dict, status: int
) -> None:
    done = stock("--require-visible", severity, "--", "true", **settings)

    assert done.returncode == status, done.stderr


@pytest.mark.parametrize("setuid", [False, True])
def test_of_a_setuid_or_hardened_program_it_is_said_what_was_not_seen(
    stock: Run, tmp_path: Path, *, setuid: bool
) -> None:
    program = tmp_path / "program"
    shutil.copy("/bin/true", program)
    program.chmod(0o4755 if setuid else 0o755)
    hardened = {} if setuid else {"EXCSIM_HARDENED": "1"}
    # Hardened programs have DELIVER by default; what is left to them is FATAL.
    done = stock("--json", "--require-visible", "soft", "--", str(program), environment=hardened)
    found = summary(done)

    assert done.returncode == (4 if setuid else 0)
    assert found["visibility"]["soft"]["by"] == ("nothing" if setuid else "handler")
    if setuid:
        assert "it is setuid or setgid" in found["visibility"]["soft"]["reason"]
        assert "test a copy without that mode" in found["visibility"]["fix"]


def test_hits_of_descendants_arrive_with_their_names(stock: Run, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = (
        f"{' '.join(MISUSE)} double_deallocate; "
        f"(exec {' '.join(MISUSE)} release_too_many); "
        f"setsid {' '.join(MISUSE)} deallocate_receive_right"
    )
    stock("--log", str(log), "--", "sh", "-c", script)
    hits = [json.loads(line) for line in log.read_text().splitlines() if '"guard_hit"' in line]

    assert [hit["flavor_name"] for hit in hits] == ["INVALID_NAME", "INVALID_VALUE", "INVALID_RIGHT"]
    assert all(hit["inherited"] for hit in hits)
    assert {hit["process"] for hit in hits} == {Path(sys.executable).resolve().name}
    assert len({hit["pid"] for hit in hits}) == 3


def test_a_child_without_the_variables_is_said_to_be_unseen(stock: Run) -> None:
    found = summary(stock("--json", "--", "sh", "-c", "env -i sleep 1"))

    assert [Path(path).name for path in found["descendants_unseen"]] == [Path("/bin/sleep").resolve().name]


ABORTING = """
#include <stdlib.h>
#include <string.h>
/* ELF runs this before the constructors of preloaded libraries. */
static void first(int argc, char **argv, char **environment) {
    (void)argc, (void)argv;
    for (; *environment != NULL; environment++) {
        if (strncmp(*environment, "EXCGUARD_INSERTION=", 19) == 0) {
            abort();
        }
    }
}
__attribute__((section(".preinit_array"), used)) static void (*const hook)(int, char **, char **) = first;
int main(void) { return 0; }
"""
ABORT = "#include <stdlib.h>\nint main(void) { abort(); }\n"


def test_a_death_before_the_report_of_the_library_is_said_to_be_dyld_s(stock: Run, tmp_path: Path) -> None:
    """A static program, which loads no library, stands for one that dyld ends."""
    (tmp_path / "abort.c").write_text(ABORT)
    command = [compiler.require(), "-static", "abort.c", "-o", "abort"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = stock("--delivery", "insert", "--", "./abort")

    assert done.returncode == 128 + 6
    assert "killed by SIGABRT before the inserted library had reported, as dyld does" in done.stderr
    assert "--delivery client" in done.stderr


def test_serve_starts_a_program_without_the_library_that_may_have_ended_it(
    stock_serve: Callable[[str], Daemon], tmp_path: Path
) -> None:
    """The program aborts where the variable is set, before the library's constructor can run."""
    (tmp_path / "app.c").write_text(ABORTING)
    subprocess.run([compiler.require(), "app.c", "-o", "app"], cwd=tmp_path, check=True)
    daemon = stock_serve(
        f'[[target]]\nname = "app"\ncommand = ["{tmp_path}/app"]\n'
        'restart = "on_failure"\nrestart_delay = 0.0\n'
    )
    daemon.wait_for("target_ended_with_library", target="app")
    (_, second) = daemon.wait_for("target_started", 2)
    assert second["delivery"] == "client"
    daemon.wait_for("target_exited", reason="exited")
    daemon.wait()


def test_children_can_be_left_without_the_library(stock: Run, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = f"{' '.join(MISUSE)} double_deallocate; env"
    done = stock("--no-delivery-children", "--log", str(log), "--", "sh", "-c", script)

    assert "EXCGUARD_INSERTION" not in done.stdout
    assert "LD_PRELOAD" not in done.stdout
    assert '"guard_hit"' not in log.read_text()


def test_the_unified_log_is_read_by_itself_where_hits_are_kept_back(stock: Run, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[unified_log]\ncommand = ["true"]\n')
    kept_back = summary(stock("--config", "c.toml", "--json", "--delivery", "none", "--", "true"))
    delivered = summary(stock("--config", "c.toml", "--json", "--", "true"))

    assert by(kept_back)["soft"] == "unified_log"
    assert by(delivered)["soft"] == "handler"


def test_time_is_up(stock: Run) -> None:
    done = stock("--timeout", "0.3", "--kill-after", "0.1", "--", "sh", "-c", "trap '' TERM; sleep 60 & wait")

    assert done.returncode == 124
    assert "was ended after 0.3 s (--timeout)" in done.stderr


def test_what_is_left_is_counted_or_waited_for(stock: Run, tmp_path: Path) -> None:
    log = tmp_path / "log"
    late = (
        "import pathlib, time; from excguard import misuse; "
        "pathlib.Path('started').touch(); time.sleep(0.5); misuse.main(['double_deallocate'])"
    )
    script = f'{sys.executable} -c "{late}" & while [ ! -e started ]; do sleep 0.01; done'
    ended = stock("--", "sh", "-c", script)
    (tmp_path / "started").unlink()
    waited = stock("--wait-all", "--log", str(log), "--", "sh", "-c", script)

    assert "that sh started" in ended.stderr
    assert "--wait-all waits for them" in ended.stderr
    assert "1 guard hit in sh" in waited.stderr
    assert "INVALID_NAME" in log.read_text()


def test_a_process_that_outlives_its_parent_is_watched(stock: Run) -> None:
    """The subshell is a child of fork, and has another program when the shell has ended long since."""
    done = stock(
        "--wait-all", "--json", "--", "sh", "-c", f"(sleep 0.2; {' '.join(MISUSE)} guard_twice) & exit 0"
    )
    found = summary(done)

    assert (found["exit_status"], found["descendants_left"] > 0, found["hits"]) == (0, True, 1)
