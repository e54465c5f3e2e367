"""What a finished scan found, as one HTML page that loads nothing from elsewhere."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

from excguard.files.escaping import printable
from excguard.fleet.nouns import counted
from excguard.fleet.summary import TREND_DAYS, unfinished

if TYPE_CHECKING:
    from excguard.fleet.summary import SiteRow, Summary

_MAX_ROWS: Final = 200

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>excguard: {title}</title>
<style>
:root {{ color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }}
body {{ margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; }}
h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ padding: .35rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid #8884; }}
.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
.day, .rule {{ white-space: nowrap; }}
code {{ font-size: .9em; overflow-wrap: anywhere; }}
svg {{ fill: currentColor; }}
.fatal {{ color: #c62828; }}
.optional {{ color: #8a5300; }}
@media (prefers-color-scheme: dark) {{ .fatal {{ color: #ff8a80; }} .optional {{ color: #ffcc80; }} }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{lead}</p>
<h2>Sites</h2>
<div class="wide"><table>
<thead><tr><th class="n">violations<th>severity<th>rule<th>place<th>process<th>versions
<th>first seen<th>last seen<th>{days} days</thead>
<tbody>
{sites}
</tbody></table></div>
{rest}
<h2>Versions</h2>
<table><thead><tr><th>version<th class="n">violations</thead>
<tbody>
{versions}
</tbody></table>
<h2>Systems</h2>
<table><thead><tr><th>system<th class="n">violations</thead>
<tbody>
{systems}
</tbody></table>
</body>
</html>
"""


def page(summary: Summary, title: str) -> str:
    """The page."""
    lead = f"{counted(summary.violations, 'guard violation')} at {counted(len(summary.sites), 'site')}."
    if summary.errors:
        lead += f" {counted(summary.errors, 'file')} could not be read."
    if summary.telemetry:
        lead += f" Not counted: {counted(summary.telemetry, 'line')} of policy telemetry."
    if summary.unfinished:
        lead += f" <strong>{_html(unfinished(summary))}</strong>"
    if summary.last is not None:
        lead += f" The trend ends on {summary.last.isoformat()}."
    rest = len(summary.sites) - _MAX_ROWS
    return _PAGE.format(
        title=_html(title),
        lead=lead,
        days=TREND_DAYS,
        sites="\n".join(map(_row, summary.sites[:_MAX_ROWS])),
        rest=f"<p>{rest:,} more sites.</p>" if rest > 0 else "",
        versions=_pairs(summary.versions),
        systems=_pairs(summary.systems),
    )


def _html(text: str) -> str:
    """Text from outside in the page."""
    return html.escape(printable(text))


def _row(site: SiteRow) -> str:
    shown = ", ".join(site.versions[:5]) + (" …" if len(site.versions) > 5 else "")
    severity = _html(site.severity)
    return (
        f'<tr><td class="n">{site.count:,}<td class="{severity}">{severity}'
        f'<td class="rule"><code>{_html(site.flavor)}</code><td><code>{_html(site.place)}</code>'
        f"<br><small>{_html(site.site_id)}</small><td>{_html(site.process)}"
        f'<td>{_html(shown)}<td class="day">{site.first or ""}<td class="day">{site.last or ""}'
        f"<td>{_chart(site.trend)}"
    )


def _chart(values: list[int]) -> str:
    top = max(values, default=0)
    if not top:
        return ""
    bars = "".join(
        f'<rect x="{index * 4}" y="{24 - value * 24 / top:.1f}" width="3" height="{value * 24 / top:.1f}"/>'
        for index, value in enumerate(values)
        if value
    )
    label = f"violations a day, at most {top}"
    return f'<svg width="{len(values) * 4}" height="24" role="img" aria-label="{label}">{bars}</svg>'


def _pairs(pairs: list[tuple[str, int]]) -> str:
    return "\n".join(f'<tr><td>{_html(name)}<td class="n">{count:,}' for name, count in pairs[:_MAX_ROWS])
