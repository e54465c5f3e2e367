"""Programs that fetch and register their exception port themselves, by the C client."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import rendezvous_child
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.harness import Daemon


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> str:
    return rendezvous_child.built(tmp_path_factory)


def target(client: str, output: Path, *words: str, keys: str = "") -> str:
    command = [client, "output", str(output), *words]
    return f'[[target]]\nname = "app"\ncommand = {command!r}\nrestart = "never"\n{keys}\n'.replace("'", '"')


def lines(output: Path) -> list[str]:
    return output.read_text().splitlines() if output.exists() else []


@pytest.mark.parametrize("registration", ["rendezvous", "both"])
def test_a_hit_of_a_program_that_registers_itself(
    serve, client: str, tmp_path: Path, registration: str
) -> None:
    output = tmp_path / "said"
    keys = f'registration = "{registration}"\nguard_behavior = "MP_DELIVER|VM_DELIVER|VM_CORPSE"'
    words = ("violate", "watch", "flags", "violate", "watch", "variables")
    daemon: Daemon = serve(target(client, output, *words, keys=keys))
    daemon.wait_for("target_exited", reason="exited")

    # 0x15: the flags, set by the program's own task port; the second watch does nothing and says the same.
    assert lines(output) == ["violate 15", "watch 0", "flags 21", "violate 15", "watch 0", "variables 0"]
    hits = daemon.wait_for("guard_hit", 2 if registration == "both" else 1)
    assert {hit["target"] for hit in hits} == {"app"}
    assert len(hits) == (2 if registration == "both" else 1)  # until it registers, only spawn's port
    daemon.wait_for("target_registered_itself")
    daemon.wait()
    assert len(daemon.events("target_registered_itself")) == 1


def test_a_state_behavior_is_registered_as_such(serve, client: str, tmp_path: Path) -> None:
    keys = 'registration = "rendezvous"\nbehavior = "state_identity_protected"'
    daemon: Daemon = serve(target(client, tmp_path / "said", "watch", "violate", keys=keys))
    (hit,) = daemon.wait_for("guard_hit")

    assert hit["pc"]
    daemon.wait()


def test_children_that_never_ask_ask_twice_or_die_cost_nothing(serve, client: str, tmp_path: Path) -> None:
    config = ""
    for name, words in {
        "never": ("exit", "0"),
        "twice": ("acquire", "release", "acquire"),
        "stops": ("stop",),
    }.items():
        text = target(client, tmp_path / name, *words, keys='registration = "rendezvous"')
        config += text.replace('"app"', f'"{name}"')
    daemon: Daemon = serve(config)
    (never,) = daemon.wait_for("target_never_asked", target="never")
    (again,) = daemon.wait_for("rendezvous_without_ports", target="twice")
    (stopped,) = daemon.wait_for("target_started", target="stops")
    os.kill(stopped["pid"], signal.SIGKILL)  # between its start and its question
    daemon.wait_for("target_never_asked", target="stops")

    assert again["before"] is True
    assert never["pid"] != again["pid"]
    assert lines(tmp_path / "twice") == ["0 0 2", "2 0 0"]
    assert daemon.wait() == 0


HOLD = """
import sys
from excguard.mach import bootstrap
ports = [bootstrap.check_in(name) for name in sys.argv[1:]]
print("held", flush=True)
sys.stdin.read()
for port in ports:
    port.close()
"""


def test_a_service_name_that_is_taken_is_got_around(serve, kernel, client: str, tmp_path: Path) -> None:
    label = "org.excguard.daemon" if os.geteuid() == 0 else "org.excguard.agent"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, f"{label}.rendezvous"],
        env=kernel.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    daemon: Daemon = serve(target(client, tmp_path / "said", "watch", keys='registration = "rendezvous"'))
    (offered,) = daemon.wait_for("rendezvous_offered")
    wait_until(lambda: lines(tmp_path / "said"), lambda said: said == ["watch 0"])

    assert offered["service"] == f"{label}.rendezvous.{daemon.process.pid}"
    daemon.wait()
    holder.communicate()
