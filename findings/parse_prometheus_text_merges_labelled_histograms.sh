#!/usr/bin/env bash
# parse-prometheus-text-format 1.1.1 merges all series of a histogram or summary with labels into one.
#
# In Prometheus' text format a histogram with the label target has a set of buckets, a sum and a count for each target.
# This npm package returns one entry for the whole histogram, without target, sum and count; in its buckets each series
# overwrites the one before it, so that they are those of the last. Summaries lose their labels likewise. Counters and
# gauges keep labels, and a histogram without labels keeps its sum and count. prometheus_client 0.26.0 reads all of it.
#
# Output seen:
#   histogram without labels   [{"buckets":{"0.1":"1","+Inf":"2"},"count":"2","sum":"3"}]
#   mail and notes             [{"buckets":{"0.1":"5","+Inf":"6"}}]
#   counter, mail and notes    [{"value":"1","labels":{"target":"mail"}},{"value":"2","labels":{"target":"notes"}}]
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv venv
venv/bin/pip -q install prometheus_client==0.26.0
npm install --silent --no-audit --no-fund parse-prometheus-text-format@1.1.1
cat >parse.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import package_ from "parse-prometheus-text-format";
const parse = package_.default ?? package_;
console.log(JSON.stringify(parse(readFileSync(0, "utf8"))[0].metrics));
JAVASCRIPT
venv/bin/python - <<'PYTHON'
import subprocess

from prometheus_client.parser import text_string_to_metric_families as read

CASES = {
    "histogram without labels": (
        """\
# TYPE reply_seconds histogram
reply_seconds_bucket{le="0.1"} 1
reply_seconds_bucket{le="+Inf"} 2
reply_seconds_sum 3
reply_seconds_count 2
""",
        '[{"buckets":{"0.1":"1","+Inf":"2"},"count":"2","sum":"3"}]',
    ),
    "mail and notes": (
        """\
# TYPE reply_seconds histogram
reply_seconds_bucket{target="mail",le="0.1"} 1
reply_seconds_bucket{target="mail",le="+Inf"} 2
reply_seconds_sum{target="mail"} 3
reply_seconds_count{target="mail"} 2
reply_seconds_bucket{target="notes",le="0.1"} 5
reply_seconds_bucket{target="notes",le="+Inf"} 6
reply_seconds_sum{target="notes"} 7
reply_seconds_count{target="notes"} 6
""",
        '[{"buckets":{"0.1":"5","+Inf":"6"}}]',
    ),
    "counter, mail and notes": (
        """\
# TYPE hits_total counter
hits_total{target="mail"} 1
hits_total{target="notes"} 2
""",
        '[{"value":"1","labels":{"target":"mail"}},{"value":"2","labels":{"target":"notes"}}]',
    ),
}

for name, (text, expected) in CASES.items():
    (family,) = read(text)
    assert len(family.samples) == text.count("\n") - 1
    command = ["node", "parse.mjs"]
    found = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    print(f"{name:26} {found}")
    assert found == expected
PYTHON
