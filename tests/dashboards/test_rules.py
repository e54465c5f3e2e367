"""Recording rules and alerts, checked and unit-tested by Prometheus' own promtool."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from excguard import config as configuration

ROOT = Path(__file__).parents[2]
DASHBOARDS = ROOT / "dashboards"
HOMEPAGE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Homepage"]
ALERTS = [
    rule
    for group in yaml.safe_load((DASHBOARDS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="no promtool: install Prometheus (apt-get install prometheus, brew install prometheus)",
)


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        ["promtool", *arguments], cwd=DASHBOARDS, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_rules_are_valid():
    promtool("check", "rules", "rules.yml", "farm.yml", "alerts.yml")


@needs_promtool
def test_rules_pass_their_unit_tests():
    promtool("test", "rules", "rules.test.yml")


@needs_promtool
def test_the_example_configuration_is_valid():
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml")


def test_the_demonstration_is_a_valid_configuration():
    config = configuration.load(DASHBOARDS / "demo.toml")

    assert [target.name for target in config.target] == ["mail", "photos", "calendar"]


def test_every_alert_has_a_unit_test_that_makes_it_fire():
    tests = yaml.safe_load((DASHBOARDS / "rules.test.yml").read_text())["tests"]
    fired = {
        case["alertname"] for test in tests for case in test.get("alert_rule_test", []) if case["exp_alerts"]
    }
    assert {rule["alert"] for rule in ALERTS} == fired


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_severity_a_text_and_a_runbook(rule):
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert {"summary", "description", "runbook_url"} == set(rule["annotations"])
    page, anchor = rule["annotations"]["runbook_url"].split("#")
    path = page.removeprefix(f"{HOMEPAGE}/blob/main/")
    assert path != page, "an address outside of the project"
    headings = re.findall(r"(?m)^## (.+)$", (ROOT / path).read_text())
    assert anchor == rule["alert"].lower()
    assert anchor in [heading.lower() for heading in headings]


def test_the_page_about_dashboards_names_every_file():
    page = (DASHBOARDS / "README.md").read_text()

    for path in DASHBOARDS.iterdir():
        assert path.name == "README.md" or f"| `{path.name}` |" in page
