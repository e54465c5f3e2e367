"""A real Prometheus scrapes a real excguard: rules, alerts, exemplars, and every query of the dashboard."""

import json
import re
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

import bcrypt
import pytest
import yaml

from tests.support.samples import DESTROY, INVALID_NAME
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "dashboards" / "grafana.json").read_text())

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="no Prometheus: install it (apt-get install prometheus, brew install prometheus)",
)


class Prometheus:
    """A server of one test."""

    def __init__(self, directory: Path, target: str, **scraping) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ROOT / "dashboards" / name) for name in ("rules.yml", "alerts.yml")],
            "scrape_configs": [
                {"job_name": "excguard", "static_configs": [{"targets": [target]}], **scraping}
            ],
        }
        path = directory / "prometheus.yml"
        path.write_text(yaml.safe_dump(config))
        self.url = f"http://{address}"
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={path}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address={address}",
                "--enable-feature=exemplar-storage",
                "--log.level=error",
            ]
        )
        wait_until(self._ready)

    def _ready(self) -> bool:
        assert self.process.poll() is None
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready"):
                return True
        except OSError:
            return False

    def get(self, path: str, **query: str):
        """The ``data`` of a response of its API."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}") as response:
            answer = json.load(response)
        assert answer["status"] == "success"
        return answer["data"]

    def query(self, expr: str) -> list:
        """The result of an instant query."""
        return self.get("query", query=expr)["result"]

    def stop(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait(timeout=30)


def concrete(expr: str) -> str:
    """A dashboard's query with everything selected, as Grafana sends it."""
    values = {"$__rate_interval": "10s", "$__range": "1m", "$job": ".*", "$instance": ".*", "$target": ".*"}
    return re.sub(r"\$\w+", lambda match: values[match[0]], expr)


def test_every_query_and_rule_has_data(serve, child: str, tmp_path: Path) -> None:
    """Two targets break rules repeatedly, one of them fatally; one does nothing; and a log is garbled."""
    daemon = serve(
        f"""
        [unified_log]
        enabled = true
        command = ["sh", "-c", "while sleep 1; do echo nonsense; done"]

        [[target]]
        name = "mail"
        command = ["{child}", "raise", "{INVALID_NAME:#x}", "40"]
        restart = "always"
        restart_delay = 0.5
        restart_delay_max = 1.0

        [[target]]
        name = "maps"
        command = ["{child}", "raise", "{DESTROY:#x}", "1"]
        restart = "always"
        restart_delay = 0.5
        restart_delay_max = 1.0

        [[target]]
        name = "still"
        command = ["{shutil.which("sleep")}", "600"]
        """
    )
    place = urllib.parse.urlsplit(daemon.url).netloc
    prometheus = Prometheus(tmp_path, place)
    try:
        queries = {
            f"{panel['title']} {target['refId']}": concrete(target["expr"])
            for panel in DASHBOARD["panels"]
            for target in panel.get("targets", ())
        }
        for annotation in DASHBOARD["annotations"]["list"]:
            if "expr" in annotation:
                queries[annotation["name"]] = concrete(annotation["expr"])
        for group in yaml.safe_load((ROOT / "dashboards" / "rules.yml").read_text())["groups"]:
            queries |= {rule["record"]: rule["record"] for rule in group["rules"]}
        queries["the fatal alert"] = 'ALERTS{alertname="ExcguardFatalHit",alertstate="firing"}'

        empty = wait_until(
            lambda: [name for name, expr in queries.items() if not prometheus.query(expr)],
            lambda found: not found,
        )

        assert empty == []
        (scraped,) = prometheus.get("targets")["activeTargets"]
        assert (scraped["health"], scraped["lastError"]) == ("up", "")
        rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] != "ok"] == []
        # The variables of the dashboard, as Grafana queries them.
        assert prometheus.get("label/target/values", **{"match[]": "excguard_target_up"}) == [
            "mail",
            "maps",
            "still",
        ]
        assert prometheus.query('excguard_hits_total{target="still"} > 0') == []
        assert_exemplars_are_in_the_log(prometheus, daemon)
    finally:
        prometheus.stop()
    assert daemon.stop() == 0


def assert_exemplars_are_in_the_log(prometheus: Prometheus, daemon) -> None:
    found = prometheus.get("query_exemplars", query="excguard_hits_total", start="0", end="9999999999")
    logged = {hit["seq"]: hit for hit in daemon.events("guard_hit")}
    assert {series["seriesLabels"]["target"] for series in found} == {"mail", "maps"}
    for series in found:
        for exemplar in series["exemplars"]:
            hit = logged[int(exemplar["labels"]["seq"])]
            assert (hit["target"], hit["flavor_name"]) == (
                series["seriesLabels"]["target"],
                series["seriesLabels"]["flavor"],
            )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl: apt-get install openssl")
def test_prometheus_scrapes_with_tls_and_a_password(serve, child: str, tmp_path: Path) -> None:
    """excguard accepts the web configuration that promtool accepts."""
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-subj", "/CN=excguard", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", *new, "-keyout", "key.pem", "-out", "cert.pem", *subject],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    (tmp_path / "web.yml").write_text(
        "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"
        f"basic_auth_users:\n  prometheus: {bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n"
    )
    checked = subprocess.run(
        ["promtool", "check", "web-config", str(tmp_path / "web.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    daemon = serve(
        f"""
        [metrics]
        listen = "127.0.0.1:0"
        web_config = "web.yml"

        [[target]]
        name = "mail"
        command = ["{child}", "raise", "{INVALID_NAME:#x}", "3"]
        restart = "always"
        """
    )
    url = daemon.url
    assert url.startswith("https://")
    access = {
        "scheme": "https",
        "tls_config": {"ca_file": str(tmp_path / "cert.pem")},
        "basic_auth": {"username": "prometheus", "password": "secret"},
    }
    prometheus = Prometheus(tmp_path, urllib.parse.urlsplit(url).netloc, **access)
    try:
        up = wait_until(lambda: prometheus.query('up{job="excguard"} == 1'))
        assert len(up) == 1
        assert wait_until(lambda: prometheus.query('excguard_hits_total{target="mail"} >= 3'))
    finally:
        prometheus.stop()
    assert daemon.stop() == 0
