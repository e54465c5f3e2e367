"""The Grafana dashboard: structure, queries and descriptions."""

import itertools
import json
import re
from pathlib import Path

import pytest

from excguard.web import metrics, process_metrics

DASHBOARD = json.loads((Path(__file__).parents[2] / "dashboards" / "grafana.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
FAMILIES = {family.name: family for family in (*metrics.FAMILIES, *process_metrics.FAMILIES)}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def family_of(name: str) -> metrics.Family | None:
    bare = re.sub(r"_(total|info|bucket|sum|count)$", "", name)
    return FAMILIES.get(name) or FAMILIES.get(bare)


def metric_names(expr: str) -> set[str]:
    return set(re.findall(r"\b((?:excguard|process)_[a-z_]+)\b", expr))


def test_the_dashboard_is_portable_and_its_schema_current() -> None:
    assert DASHBOARD["schemaVersion"] >= 41  # Grafana 12
    assert DASHBOARD["uid"] == "excguard"
    assert "id" not in DASHBOARD  # belongs to one Grafana's database
    assert "__inputs" not in DASHBOARD


def test_the_variables() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}

    assert list(variables) == ["datasource", "job", "instance", "target"]
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    for name in ("job", "instance", "target"):
        assert variables[name]["datasource"] == DATASOURCE
        assert variables[name]["multi"]
        assert variables[name]["includeAll"]
        assert variables[name]["allValue"] == ".*"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_has_a_title_a_description_and_a_unit(panel) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == DATASOURCE
    assert panel["targets"]


@pytest.mark.parametrize(("title", "target"), TARGETS)
def test_a_query_uses_existing_metrics_of_the_selection(title: str, target) -> None:
    expr = target["expr"]
    assert target["datasource"] == DATASOURCE
    assert target["legendFormat"]
    names = metric_names(expr)
    assert names or "ALERTS{" in expr
    for name, matchers in re.findall(r"\b((?:excguard|process)_[a-z_]+)\{([^}]*)\}", expr):
        family = family_of(name)
        assert family is not None, name
        assert 'job=~"$job"' in matchers
        assert 'instance=~"$instance"' in matchers
        assert ('target=~"$target"' in matchers) == ("target" in family.labels)
        names.discard(name)
    assert not names, f"{names} without matchers"


@pytest.mark.parametrize(("title", "target"), TARGETS)
def test_counters_are_used_as_rates_over_the_selected_range(title: str, target) -> None:
    for function, window in re.findall(r"(rate|increase|changes)\([^\[]*\[([^\]]*)\]", target["expr"]):
        assert window in {"$__rate_interval", "$__range"}, function
    for name in metric_names(target["expr"]):
        family = family_of(name)
        if family and family.type in {"counter", "histogram"}:
            assert re.search(rf"(rate|increase)\({name}", target["expr"]), name


def test_panels_have_distinct_ids_and_places() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for one, other in itertools.combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in DASHBOARD["panels"])


def test_every_metric_is_shown_or_listed_as_left_out() -> None:
    shown = {family_of(name).name for _, target in TARGETS for name in metric_names(target["expr"])}

    assert {family.name for family in metrics.FAMILIES} - shown == {
        "excguard_received_hits",  # the same hits as excguard_hits_total, by source
        "excguard_policy_telemetry",  # not hits
        "excguard_receiver_up",  # 0 for the moments until excguard has ended, which the panels show
    }
