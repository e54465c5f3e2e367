"""What the workflows build and publish, compared with pyproject.toml; some of their shell steps are run."""

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from excguard import __version__

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RELEASE: dict[str, Any] = yaml.safe_load((WORKFLOWS / "release.yml").read_text())
JOBS = RELEASE["jobs"]
CI: dict[str, Any] = yaml.safe_load((WORKFLOWS / "ci.yml").read_text())


def steps(job: str) -> str:
    return "\n".join(step.get("run", "") for step in JOBS[job]["steps"])


def test_ci_runs_every_python_that_the_package_names() -> None:
    classifiers = PYPROJECT["project"]["classifiers"]
    named = [found[1] for text in classifiers if (found := re.fullmatch(r".* :: (3\.\d+)", text))]

    assert CI["jobs"]["linux"]["strategy"]["matrix"]["python"] == named
    assert PYPROJECT["project"]["requires-python"] == f">={named[0]}"


def test_wheels_are_built_for_macos_and_for_both_architectures_of_linux() -> None:
    """cibuildwheel builds manylinux wheels of the machine it runs on; musl and 32 bits are left out."""
    settings = PYPROJECT["tool"]["cibuildwheel"]

    assert JOBS["wheels"]["strategy"]["matrix"]["runner"] == ["ubuntu-24.04", "ubuntu-24.04-arm", "macos-15"]
    assert settings["macos"]["archs"] == ["universal2"]
    assert settings["macos"]["environment"]["MACOSX_DEPLOYMENT_TARGET"] == "12.0"
    assert settings["build"] == "cp311-*"
    assert "*-musllinux*" in settings["skip"]
    assert "cibuildwheel --output-dir dist excguard-*.tar.gz" in steps("wheels")  # from the sdist itself


def test_nothing_is_published_before_everything_is_built_and_tried() -> None:
    assert set(JOBS["publish"]["needs"]) == set(JOBS) - {"publish", "formula"}
    (publish,) = (
        step for step in JOBS["publish"]["steps"] if "gh-action-pypi-publish" in step.get("uses", "")
    )
    assert publish["with"]["attestations"] is True
    assert [name for name, job in JOBS.items() if "id-token" in job["permissions"]] == ["publish"]
    assert JOBS["formula"]["needs"] == "publish"


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.yml")), ids=lambda path: path.stem)
def test_each_action_is_pinned_to_a_commit(path: Path) -> None:
    for line in re.findall(r"uses: (.*)", path.read_text()):
        assert re.fullmatch(r"\./\S+|[\w./-]+@[0-9a-f]{40} # v[\d.]+", line), line


@pytest.mark.parametrize(("tag", "passes"), [(f"v{__version__}", True), ("v99.0", False)])
def test_a_tag_must_be_the_version(tag: str, passes: bool) -> None:  # noqa: FBT001
    (command,) = (
        step["run"] for step in JOBS["sdist"]["steps"] if step.get("name") == "The tag is the version"
    )
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, env={**os.environ, "TAG": tag}, check=False)

    assert (done.returncode == 0) == passes
