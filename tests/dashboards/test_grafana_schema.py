"""The dashboard against Grafana's own schema: the models that Grafana Labs generates from it.

A key that the schema does not have is lost when the dashboard is read and written again, and one of another
type changes. Grafana itself is not needed for that.
"""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grafana_foundation_sdk", reason="pip install grafana-foundation-sdk")

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

DASHBOARD = Path(__file__).parents[2] / "dashboards" / "grafana.json"

# Keys that Grafana reads and writes, and that its published schema lacks.
UNPUBLISHED = {
    ".preload",
    ".annotations.list[].builtIn",
    ".annotations.list[].step",
    ".annotations.list[].tagKeys",
    ".annotations.list[].textFormat",
    ".annotations.list[].titleFormat",
    ".templating.list[].definition",
    ".panels[].options.tooltip.mode",
    ".panels[].options.tooltip.showColorScale",
}


def differences(before: Any, after: Any, place: str = "") -> list[str]:
    """Where ``after`` lacks something of ``before``, or has it otherwise."""
    match before, after:
        case dict(), dict():
            found = [f"{place}.{key}" for key in before if key not in after]
            for key in before.keys() & after.keys():
                found += differences(before[key], after[key], f"{place}.{key}")
            return found
        case list(), list() if len(before) == len(after):
            return [
                difference
                for one, other in zip(before, after, strict=True)
                for difference in differences(one, other, f"{place}[]")
            ]
    return [] if before == after else [place]


def read_and_written(dashboard: dict[str, Any]) -> dict[str, Any]:
    plugins.register_default_plugins()
    copy = json.loads(json.dumps(dashboard))
    return json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(copy)))


def test_the_dashboard_is_what_the_schema_describes() -> None:
    dashboard = json.loads(DASHBOARD.read_text())

    assert set(differences(dashboard, read_and_written(dashboard))) == UNPUBLISHED


def test_a_misspelled_key_is_found() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panel = next(panel for panel in dashboard["panels"] if panel["type"] == "timeseries")
    panel["fieldConfig"]["defaults"]["custom"]["lineWidht"] = 2

    found = set(differences(dashboard, read_and_written(dashboard))) - UNPUBLISHED
    assert found == {".panels[].fieldConfig.defaults.custom.lineWidht"}
