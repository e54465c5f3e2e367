"""The project's addresses stand in pyproject.toml; what else has one agrees with it, and leads to a file."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
URLS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
HOMEPAGE = URLS["Homepage"]
OWNER = HOMEPAGE.rsplit("/", 1)[0]
FILES = sorted(
    path
    for pattern in (
        "*.md",
        "*.toml",
        "docs/**/*",
        "dashboards/*",
        "packaging/*",
        "examples/**/*",
        ".github/**/*",
    )
    for path in ROOT.glob(pattern)
    if path.is_file() and path.suffix not in {".png", ".svg"}
)


def test_the_usual_addresses_are_there() -> None:
    assert set(URLS) == {"Homepage", "Documentation", "Changelog", "Issues"}
    assert all(url.startswith(HOMEPAGE) for url in URLS.values())


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_an_address_of_the_project_leads_to_a_file(file: Path) -> None:
    for url in re.findall(rf"{re.escape(OWNER)}/[^\s)\"'|>]*", file.read_text()):
        assert url.removesuffix(".git").startswith(HOMEPAGE), url
        page = re.fullmatch(rf"{re.escape(HOMEPAGE)}/(?:blob|tree)/main/([^#]*)(?:#.*)?", url)
        assert page is None or (ROOT / page[1]).exists(), url


def test_other_pages_name_the_repository_as_github_does() -> None:
    repository = HOMEPAGE.removeprefix("https://github.com/")

    assert f"repository: {repository}," in (ROOT / "docs" / "ci.md").read_text()
