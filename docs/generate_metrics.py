"""Writes docs/metrics.md from what the code knows of its metrics.

python docs/generate_metrics.py            # writes it
python docs/generate_metrics.py --check    # says whether it is as it should be
"""

import sys
from pathlib import Path

from excguard.knowledge import releases
from excguard.pipeline import counters as metrics
from excguard.pipeline.counters import Family
from excguard.pipeline.hit_table import expected_flavors
from excguard.web import process_metrics

PAGE = Path(__file__).with_name("metrics.md")
TEXT = """<!-- Written by docs/generate_metrics.py from daemon/excguard/sinks/metrics.py. -->
# Metrics

Prometheus finds them at `/metrics` (`metrics.listen` in the configuration, `http://127.0.0.1:12012/metrics`
unless changed), in the plain text format or as OpenMetrics. They are read from memory that the receiver
writes; a scrape never waits for the receiver, nor the receiver for a scrape.

| name | type | labels | meaning | how many series |
|---|---|---|---|---|
{rows}

Counters of hits and of messages live in the journal's file: they outlive excguard, and begin anew with a
new journal (hit counters also on a new release of the system, whose flavors may mean something else). The
rest begins with excguard.

## Labels

- `target`: the name in the configuration; for `excguard run` the name of the program's file, or `--name`.
- `guard_type`: `MACH_PORT`, `FD`, `USER`, `VN`, `VIRT_MEMORY`, `REJECTED_SC`, or `unknown`.
- `flavor`: the kernel's name on the running release, such as `INVALID_NAME`; `none` for guard types whose
  flavor bits mean nothing; `unknown` for all numbers that no table has. The log has the number.
- `severity`: `fatal` (always kills), `optional` (kills when the task's flags say so), `soft` (never kills),
  `unknown`.
- `source`: `live` (received from the kernel), or another source that saw the hit.
- `reason`: of a refused message: why; of an exit: how the process ended.

There is never a pid, a port name or a guard id among the labels, so a storm of different hits makes no new
series. At 50 targets there are about {series} hit series; one target has {one}.

## OpenMetrics

Counters carry since when they count (`_created`), so that `increase()` of a Prometheus that was away is
right from the first sample. Each hit series carries an exemplar with the `seq` of its newest hit that the
log shows whole: `jq 'select(.seq == 4711)'` finds it there.
"""


def row(family: Family) -> str:
    """One line of the table."""
    name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{name}` | {family.type} | {labels} | {family.help} | {family.series} |"


def page() -> str:
    """The page as it should be."""
    one = len(expected_flavors(releases.parse("26.4").version))
    rows = "\n".join(row(family) for family in (*metrics.FAMILIES, *process_metrics.FAMILIES))
    return TEXT.format(rows=rows, series=round(50 * one, -2), one=f"{one} on macOS 26.4")


def main() -> int:
    """Write or check the page."""
    if "--check" in sys.argv[1:]:
        if PAGE.read_text(encoding="utf-8") == page():
            return 0
        print(f"{PAGE} is out of date: run docs/generate_metrics.py", file=sys.stderr)
        return 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
