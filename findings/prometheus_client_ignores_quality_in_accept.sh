#!/usr/bin/env bash
# prometheus_client 0.26.0 answers with OpenMetrics wherever a request names it: also as the last choice, or as refused.
#
# The header Accept states a quality from 0 to 1 for each format (RFC 9110, 12.4.2): the highest is preferred, and 0 is
# not acceptable. prometheus_client does not read it. A scrape of Prometheus with scrape_protocols [PrometheusText0.0.4,
# OpenMetricsText1.0.0] prefers plain text by its qualities, and gets OpenMetrics. A version above 1.0.0 is repeated in
# Content-Type, with a text that is the same as that of version 1.0.0.
#
# Output seen:
#   text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5
#     application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores
#   text/plain,application/openmetrics-text;q=0
#     application/openmetrics-text; version=1.0.0; charset=utf-8
#   application/openmetrics-text;version=9.0.0
#     application/openmetrics-text; version=9.0.0; charset=utf-8; escaping=underscores
#   the three texts are equal
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" -q install prometheus_client==0.26.0
cd "$directory"
venv/bin/python - <<'PYTHON'
import urllib.request

import prometheus_client

EXPECTED = {
    "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5": (
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
    ),
    "text/plain,application/openmetrics-text;q=0": "application/openmetrics-text; version=1.0.0; charset=utf-8",
    "application/openmetrics-text;version=9.0.0": (
        "application/openmetrics-text; version=9.0.0; charset=utf-8; escaping=underscores"
    ),
}

registry = prometheus_client.CollectorRegistry()
prometheus_client.Counter("hits", "Guard hits.", registry=registry).inc()
server, thread = prometheus_client.start_http_server(0, addr="127.0.0.1", registry=registry)
texts = set()
for accept, expected in EXPECTED.items():
    request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request) as response:
        found = response.headers["Content-Type"]
        texts.add(response.read())
    print(f"{accept}\n  {found}")
    assert found == expected
server.shutdown()
thread.join()

(text,) = texts
assert text.endswith(b"# EOF\n")
print("the three texts are equal")
PYTHON
