"""Draw the panels of the Grafana dashboard from its queries to Prometheus.

It shows the data, not the design of Grafana: for a picture without a Grafana.
"""

import json
import re
import time
import urllib.parse
import urllib.request
from html import escape
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).parents[1] / "dashboards" / "grafana.json"
COLORS = ("#2f648c", "#8a5a0b", "#3a7048", "#6b4f8a", "#a8322a", "#2d6068", "#b0803c", "#4b6a9b", "#7a4a4a")
SEVERITIES = {"fatal": "#a8322a", "optional": "#8a5a0b", "soft": "#2f648c"}
Series = list[tuple[str, list[tuple[float, float]]]]


def html(prometheus: str, seconds: int) -> str:
    """The panels with the data of the last ``seconds`` of the Prometheus at that URL."""
    found = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    end = time.time()
    panels = []
    for panel in found["panels"]:
        place = panel["gridPos"]
        at = f"grid-column:{place['x'] + 1}/span {place['w']};grid-row:{place['y'] + 1}/span {place['h']}"
        if panel["type"] == "row":
            panels.append(f'<h2 style="{at}">{escape(panel["title"])}</h2>')
            continue
        series = [
            entry
            for target in panel["targets"]
            for entry in ask(prometheus, panel, target, end - seconds, end)
        ]
        drawn = table(series) if panel["type"] in {"table", "stat", "bargauge"} else chart(series, panel)
        panels.append(f'<section style="{at}"><h3>{escape(panel["title"])}</h3>{drawn}</section>')
    return f"<style>{STYLE}</style><main>{''.join(panels)}</main>"


STYLE = """
body { margin: 0; background: #f7f5f0; font: 12px system-ui, "DejaVu Sans", sans-serif; color: #23282c }
main { display: grid; grid-template-columns: repeat(24, 1fr); grid-auto-rows: 30px; gap: 8px;
       padding: 16px; width: 1460px }
section { background: #fffefb; border: 1px solid #e0dbd0; border-radius: 8px; padding: 8px 10px;
          overflow: hidden; display: flex; flex-direction: column; min-height: 0 }
h2, h3 { margin: 0; font-size: 13px } h2 { align-self: end }
h3 { font-weight: 600; color: #5f6468; padding-bottom: 4px }
svg { flex: 1; width: 100%; min-height: 0; border-bottom: 1px solid #e0dbd0 }
table { border-collapse: collapse; width: 100% }
td { padding: 1px 6px 1px 0; border-bottom: 1px solid #eee }
td:last-child { text-align: right; font-variant-numeric: tabular-nums; font-weight: 600 }
p { margin: 4px 0 0; white-space: nowrap; overflow: hidden }
i { display: inline-block; width: 9px; height: 9px; margin: 0 4px 0 8px }
"""


def ask(url: str, panel: dict[str, Any], target: dict[str, Any], begin: float, end: float) -> Series:
    """The series of a query: name and points."""
    values = {"$__rate_interval": "20s", "$__range": f"{int(end - begin)}s"}
    expr = re.sub(r"\$\w+", lambda match: values.get(match[0], ".*"), target["expr"])
    query = {"query": expr, "start": str(begin), "end": str(end), "step": "2"}
    address = f"{url}/api/v1/query_range?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(address) as response:  # noqa: S310 - our own Prometheus
        result = json.load(response)["data"]["result"]
    found = [
        (
            _name(series["metric"], target["legendFormat"]),
            [(float(at), float(value)) for at, value in series["values"]],
        )
        for series in result
    ]
    if panel["type"] != "heatmap":
        return found
    found.sort(key=lambda entry: float(entry[0]))
    below: dict[float, float] = {}
    rows = []
    for name, points in found:  # buckets of a histogram are cumulative
        rows.append((name, [(at, value - below.get(at, 0.0)) for at, value in points]))
        below = dict(points)
    return rows


def _name(labels: dict[str, str], legend: str) -> str:
    if legend != "__auto":
        return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), legend)
    return "  ".join(value for key, value in labels.items() if key not in {"__name__", "job", "alertstate"})


def shown(value: float, unit: str = "short") -> str:
    """A number as text."""
    if unit == "s" and value < 1:
        return f"{value * 1e6:.0f} µs" if value < 1e-3 else f"{value * 1e3:.1f} ms"
    if unit == "percentunit":
        return f"{value:.2%}"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2f}"


def table(series: Series) -> str:
    """Names with their last values."""
    rows = sorted(((points[-1][1], name) for name, points in series if points), reverse=True)[:12]
    cells = (f"<tr><td>{escape(name)}</td><td>{shown(value)}</td></tr>" for value, name in rows)
    return f"<table>{''.join(cells)}</table>"


def chart(series: Series, panel: dict[str, Any]) -> str:
    """Lines, stacked areas or a heat map, depending on the panel."""
    times = sorted({at for _, points in series for at, _ in points})
    if not times:
        return "<p>no data</p>"
    width = max(times[-1] - times[0], 1.0)
    across = {at: (at - times[0]) / width * 600 for at in times}
    if panel["type"] == "heatmap":
        return _heatmap(series, across)
    stacked = panel["fieldConfig"]["defaults"]["custom"].get("stacking", {}).get("mode") == "normal"
    if stacked:  # missing points are 0
        series = [(name, [(at, dict(points).get(at, 0.0)) for at in times]) for name, points in series]
    return _lines(series, across, panel["fieldConfig"]["defaults"]["unit"], stacked=stacked)


def _heatmap(series: Series, across: dict[float, float]) -> str:
    used = [(name, points) for name, points in series if any(value > 0 for _, value in points)]
    highest = max((value for _, points in used for _, value in points), default=1.0)
    tall = 100 / max(1, len(used))
    cells = [
        f'<rect x="{across[at]:.1f}" y="{100 - (row + 1) * tall:.1f}" width="9" height="{tall - 1:.1f}" '
        f'fill="#c4651a" opacity="{0.15 + 0.85 * (value / highest) ** 0.5:.2f}"/>'
        for row, (_, points) in enumerate(used)
        for at, value in points
        if value > 0
    ]
    legend = " · ".join(shown(float(name), "s") for name, _ in used)
    return f"{_svg(cells, 610)}<p>up to {legend}</p>"


def _lines(series: Series, across: dict[float, float], unit: str, *, stacked: bool) -> str:
    base: dict[float, float] = {}
    outlines, legend = [], []
    for index, (name, points) in enumerate(series):
        color = SEVERITIES.get(name, COLORS[index % len(COLORS)])
        low = [(at, base.get(at, 0.0) if stacked else 0.0) for at, _ in points]
        high = [(at, under + value) for (at, value), (_, under) in zip(points, low, strict=True)]
        base.update(high)
        outlines.append((color, low, high))
        legend.append(f'<i style="background:{color}"></i>{escape(name)}')
    highest = max((value for _, _, high in outlines for _, value in high), default=0.0) or 1.0

    def path(points: list[tuple[float, float]]) -> str:
        return " ".join(f"{across[at]:.1f},{98 - value / highest * 92:.1f}" for at, value in points)

    shapes = [
        f'<polygon points="{path(high)} {path(low[::-1])}" fill="{color}" '
        f'opacity="{0.75 if stacked else 0.12}"/><polyline points="{path(high)}" fill="none" '
        f'stroke="{color}" vector-effect="non-scaling-stroke"/>'
        for color, low, high in outlines
    ]
    return f"{_svg(shapes, 600)}<p>maximum {shown(highest, unit)} {''.join(legend[:6])}</p>"


def _svg(shapes: list[str], width: int) -> str:
    return f'<svg viewBox="0 0 {width} 100" preserveAspectRatio="none">{"".join(shapes)}</svg>'
