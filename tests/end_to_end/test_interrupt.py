"""Ctrl-C before excguard has got anywhere, and when all is over, ends it in silence, with nothing left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

INTERRUPT = "import os, signal; os.kill(os.getpid(), signal.SIGINT)\n"


def python(*arguments: str, directory: Path, **options) -> subprocess.CompletedProcess[str]:
    """Run Python with modules from ``directory`` and temporary files in it."""
    temporary = directory / "tmp"
    temporary.mkdir()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("EXCSIM_")}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**environ, "PYTHONPATH": str(directory), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **options,
    )


@pytest.mark.parametrize("module", ["click", "msgspec"], ids=["any command", "one command"])
@pytest.mark.parametrize("command", ["run", "demo"])
def test_interrupt_amid_an_import(tmp_path: Path, command: str, module: str) -> None:
    (tmp_path / f"{module}.py").write_text(INTERRUPT)
    arguments = ["--", "true"] if command == "run" else []

    done = python("-m", "excguard", command, *arguments, directory=tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    "place", ["cli.simulated_kernel.start_if_needed", "mach.host.running", "cli.service_runner.open_service"]
)
def test_interrupt_while_a_run_is_made_ready(tmp_path: Path, place: str) -> None:
    module, _, name = place.rpartition(".")
    (tmp_path / "start.py").write_text(
        f"import os, signal, excguard.__main__, excguard.{module} as module\n"
        f"then = module.{name}\n"
        "def interrupted(*arguments, **named):\n"
        "    result = then(*arguments, **named)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return result\n"
        f"module.{name} = interrupted\n"
        "excguard.__main__.main()\n"
    )

    done = python(str(tmp_path / "start.py"), "run", "--", "sleep", "60", directory=tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("interrupts", [1, 2])
def test_interrupt_while_a_run_ends(tmp_path: Path, interrupts: int) -> None:
    """The first waits until everything is logged. However that ends, the receiver is stopped once."""
    (tmp_path / "start.py").write_text(
        "import os, signal, excguard.__main__, excguard.pipeline.receiver as module\n"
        "library = module.lib\n"
        "class Interrupted:\n"
        "    def __getattr__(self, name):\n"
        "        return getattr(library, name)\n"
        "    def excguard_receiver_stop(self, receiver):\n"
        "        library.excguard_receiver_stop(receiver)\n"
        f"        for _ in range({interrupts}):\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "module.lib = Interrupted()\n"
        "excguard.__main__.main()\n"
    )

    log = tmp_path / "log"
    options = ["--metrics", "off", "--log", str(log)]
    done = python(str(tmp_path / "start.py"), "run", *options, "--", "true", directory=tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
    assert list((tmp_path / "tmp").iterdir()) == []
    assert ("service_stopped" in log.read_text()) == (interrupts == 1)


def test_ignored_interrupts_stay_ignored(tmp_path: Path) -> None:
    (tmp_path / "start.py").write_text(
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from excguard.process import interrupt; interrupt.ends_at_once()\n"
        f"{INTERRUPT}"
        "interrupt.is_an_exception()\n"
        f"{INTERRUPT}"
        "print('alive')\n"
    )

    assert python(str(tmp_path / "start.py"), directory=tmp_path).stdout == "alive\n"
