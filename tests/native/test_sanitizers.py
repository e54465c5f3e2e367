"""The core under sanitizers of addresses, of undefined behavior and of threads, and under a fuzzer."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.fuzz import c_readers, seeds
from tests.support import compiler, corpus, rendezvous_child, simulator, toolchain
from tests.support.simulator import Kernel

if TYPE_CHECKING:
    from pathlib import Path

needs_clang = pytest.mark.skipif(compiler.clang() is None, reason="no clang")


@pytest.fixture
def clang() -> str:
    found = compiler.clang()
    assert found is not None
    return found


@needs_clang
def test_properties_hold_and_nothing_is_read_outside(tmp_path: Path, clang: str) -> None:
    messages = [*corpus.seeds(), *corpus.one_word_changed(), *corpus.mutations(10_000, seed=2)]
    for message in corpus.seeds()[:8]:
        messages += [message[:length] for length in range(len(message))]
    file = tmp_path / "messages"
    file.write_bytes(b"".join(struct.pack("<I", len(message)) + message for message in messages))
    program = toolchain.build(
        clang, tmp_path, toolchain.HERE / "check_messages.c", "check", "-O1", *compiler.SANITIZERS
    )

    done = subprocess.run([program, file], check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(messages)


@needs_clang
def test_samples_are_no_longer_than_their_size_says(tmp_path: Path, clang: str) -> None:
    sources = [toolchain.HERE / "check_samples.c", toolchain.NATIVE / "samples.c"]
    program = toolchain.link(clang, tmp_path, sources, "check_samples", ["-O1", *compiler.SANITIZERS])

    done = subprocess.run([program], check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 2 * 5 * 5 * 2


@needs_clang
@pytest.mark.skipif(sys.platform == "darwin", reason="raises guards by the simulator's own means")
def test_no_two_threads_meet(tmp_path: Path, clang: str) -> None:
    """The receiver, two threads that raise guards, one that reads and one that changes targets."""
    source = toolchain.HERE / "receiver_threads.c"
    options = ["-O1", "-g", "-fsanitize=thread", str(toolchain.NATIVE / "hit_sums.c")]
    program = toolchain.build_with_receiver(clang, tmp_path, source, "receiver_threads", *options)

    with Kernel() as kernel:
        done = subprocess.run(
            [program, tmp_path / "journal", "1500"],
            env={**os.environ, **kernel.environ},
            check=False,
            capture_output=True,
            text=True,
        )

    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 0


@needs_clang
@pytest.mark.skipif(
    sys.platform == "darwin", reason="the sanitizer cannot be loaded into what is watched there"
)
@pytest.mark.parametrize("watched", [True, False])
def test_no_two_threads_of_a_client_meet(tmp_path: Path, clang: str, *, watched: bool) -> None:
    program = tmp_path / "client_threads"
    source = [toolchain.HERE / "client_threads.c", rendezvous_child.CLIENT / "excguard_client.c"]
    options = ["-O1", "-g", "-fsanitize=thread", f"-I{rendezvous_child.CLIENT}", *simulator.HEADERS]
    subprocess.run([clang, *options, *source, *simulator.LIBRARIES, "-o", program], check=True)
    config = tmp_path / "c.toml"
    config.write_text('[log]\nformat = "json"\n')
    run = [sys.executable, "-m", "excguard", "run", "--metrics", "off", "--delivery", "client"]
    command = [*run, "--log", str(tmp_path / "log"), "--", program] if watched else [program]

    with Kernel() as kernel:
        done = subprocess.run(command, env=kernel.environ, check=False, capture_output=True, text=True)

    assert "ThreadSanitizer" not in done.stderr
    assert done.returncode == 0, done.stderr
    outcomes = done.stdout.splitlines()
    assert len(outcomes) == 8
    assert len(set(outcomes)) == 1
    assert ("granted" in outcomes[0]) == watched, outcomes


@needs_clang
@pytest.mark.skipif(sys.platform == "darwin", reason="the journal's fuzzer uses /dev/shm")
@pytest.mark.parametrize("name", c_readers.READERS)
def test_fuzzer_finds_nothing_in_a_moment(tmp_path: Path, name: str) -> None:
    """A run too short to find much: it shows that the harness works."""
    program = c_readers.build(name, tmp_path)
    (tmp_path / "seeds").mkdir()
    seeds.write(name, tmp_path / "seeds")
    runs = 200 if name == "journal" else 5000
    command = [program, f"-runs={runs}", f"-artifact_prefix={tmp_path}/", tmp_path / "seeds"]

    done = subprocess.run(command, check=False, text=True, stderr=subprocess.PIPE)

    assert done.returncode == 0, done.stderr[-4000:]
    assert f"Done {runs} runs" in done.stderr
