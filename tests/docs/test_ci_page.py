"""The commands of docs/ci.md do what the page says; the examples for build servers fit their schemas."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from excsim import Kernel

PAGE = Path(__file__).parents[2] / "docs" / "ci.md"
BLOCKS = re.findall(r"(?ms)^```(sh|yaml)\n(.*?)^```$", PAGE.read_text())
SHELL = [text for language, text in BLOCKS if language == "sh"]
YAML = [text for language, text in BLOCKS if language == "yaml"]

# Programs that the commands name: what they do here breaks a rule in the same way as a program under test.
MISUSE = f'exec "{sys.executable}" -m excguard.misuse --quiet double_deallocate'
PROGRAMS = {
    "bin/excguard": f'exec "{sys.executable}" -m excguard "$@"',
    "bin/python3": f'exec "{sys.executable}" "$@"',
    "bin/xcodebuild": 'mkdir -p build/Build/Products/Debug && [ "$1" = build-for-testing ]',
    "bin/xcrun": '[ "$*" = "--find xctest" ] && echo "$PWD/xctest"',
    "xctest": f'[ "$*" = build/Build/Products/Debug/MyAppTests.xctest ] && {MISUSE}',
    "run-tests": MISUSE,
}
TEST_FILE = """
from excguard.misuse import MISUSES

def test_of_the_app():
    MISUSES["double_deallocate"].commit()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A project that follows the page."""
    for name, text in PROGRAMS.items():
        program = tmp_path / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    (tmp_path / "test_app.py").write_text(TEST_FILE)
    return tmp_path


def shell(kernel: Kernel, place: Path, script: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in {**os.environ, **kernel.environ}.items()
        if not name.startswith(("GITHUB_", "PYTEST_"))
    }
    environment["PATH"] = f"{place / 'bin'}:{environment['PATH']}"
    return subprocess.run(
        ["sh", "-c", script], cwd=place, env=environment, capture_output=True, text=True, check=False
    )


def block(words: str) -> str:
    """The one block of shell commands with these words."""
    (found,) = [text for text in SHELL if words in text]
    return found


def accept(kernel: Kernel, place: Path, script: str) -> None:
    """Write the baseline that a recipe names, as the page says: with the options of the recipe itself."""
    changed = script.replace("guards.toml", "guards.toml --update-baseline").replace("--collect guards", "")
    done = shell(kernel, place, changed)
    assert (place / "guards.toml").exists(), done.stderr


def test_every_block_is_tested() -> None:
    words = ("-- ./run-tests\n", "--update-baseline", "test $? = 3", "pytest", "xcodebuild")
    tested = {block(some) if some != words[0] else SHELL[0] for some in words}

    assert tested == set(SHELL)
    assert len(YAML) == 3


def test_the_first_command_fails_and_leaves_its_results(place: Path) -> None:
    with Kernel() as kernel:
        done = shell(kernel, place, SHELL[0])

    assert done.returncode == 3, done.stderr
    assert json.loads((place / "excguard.json").read_text())["exit_status"] == 3
    assert ET.parse(place / "excguard.xml").getroot()[0].get("failures") == "1"  # noqa: S314 - our own


def test_the_commands_of_the_baseline_pass(place: Path) -> None:
    with Kernel() as kernel:
        done = shell(kernel, place, f"set -e\n{block('--update-baseline')}")

    assert done.returncode == 0, done.stderr
    assert "sites: 1 known" in done.stderr


def test_the_command_that_tests_the_setup(place: Path) -> None:
    with Kernel() as kernel:
        assert shell(kernel, place, block("test $? = 3")).returncode == 0


@pytest.mark.parametrize("words", ["pytest", "xcodebuild"])
def test_recipes_pass_with_a_baseline_and_fail_without_its_entries(place: Path, words: str) -> None:
    script = block(words)
    with Kernel() as kernel:
        accept(kernel, place, script)
        done = shell(kernel, place, script)
        assert done.returncode == 0, done.stderr
        assert "sites: 1 known" in done.stderr
        assert (place / "guards" / "summary.json").exists()
        assert ET.parse(place / "guards.xml").getroot()[0].get("skipped") == "1"  # noqa: S314 - our own
        if words == "pytest":
            assert ET.parse(place / "tests.xml").getroot()[0].get("tests") == "1"  # noqa: S314 - our own

        (place / "guards.toml").write_text("")
        (place / "guards").rename(place / "before")
        assert shell(kernel, place, script).returncode == 3


@pytest.mark.parametrize(
    ("words", "schema"),
    [
        ("runs-on:", "vendor.github-workflows"),
        ("codequality:", "vendor.gitlab-ci"),
        ("artifact_paths:", "vendor.buildkite"),
    ],
)
def test_examples_for_build_servers_fit_their_schemas(tmp_path: Path, words: str, schema: str) -> None:
    (text,) = [text for text in YAML if words in text]
    (tmp_path / "example.yml").write_text(text)
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    done = subprocess.run([*command, tmp_path / "example.yml"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_the_example_of_the_action_uses_its_inputs() -> None:
    action = yaml.safe_load((PAGE.parents[1] / ".github/actions/excguard/action.yml").read_text())
    (example,) = [yaml.safe_load(text) for text in YAML if "runs-on:" in text]
    (step,) = [step for step in example["jobs"]["guards"]["steps"] if "excguard/" in step.get("uses", "")]

    assert set(step["with"]) <= set(action["inputs"])
    required = {name for name, one in action["inputs"].items() if one["required"]}
    assert required <= set(step["with"])


@pytest.mark.parametrize("text", [text for text in YAML if "excguard run" in text])
def test_commands_of_other_build_servers_run(place: Path, text: str) -> None:
    (command,) = re.findall(r"excguard run .*", text)
    with Kernel() as kernel:
        accept(kernel, place, command)
        done = shell(kernel, place, command)

    assert done.returncode == 0, done.stderr
    assert (place / "guards.xml").stat().st_size
    assert (place / "guards" / "summary.md").exists()
