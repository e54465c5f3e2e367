"""Hits that are sent to servers of others, and a run whose servers are gone."""

import json
import socket
from pathlib import Path

from tests.support.http_receiver import receiver
from tests.support.samples import INVALID_NAME


def test_hits_are_sent_and_a_new_site_is_announced(run, child: str, tmp_path: Path) -> None:
    with receiver() as collector, receiver() as chat:
        config = tmp_path / "excguard.toml"
        config.write_text(
            f'[otlp]\nenabled = true\nendpoint = "{collector.url}"\n[webhook]\nurl = "{chat.url}"\n'
            f'[journal]\npath = "{tmp_path}/journal"\n'
        )
        done = run("--config", str(config), "--json", "--", child, "raise", hex(INVALID_NAME), "3")
        logged = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    sent = [
        record
        for request in collector.requests
        for resource in json.loads(request.body)["resourceLogs"]
        for record in resource["scopeLogs"][0]["logRecords"]
    ]

    assert len(sent) == sum(line.get("event") == "guard_hit" for line in logged) == 3
    assert {record["eventName"] for record in sent} == {"excguard.guard_hit"}
    assert len(chat.requests) == 1


def test_a_run_ends_as_usual_when_its_servers_are_gone(run, child: str, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        config = tmp_path / "excguard.toml"
        config.write_text(
            f'[otlp]\nenabled = true\nendpoint = "{address}"\n[webhook]\nurl = "{address}/secret"\n'
            f'[journal]\npath = "{tmp_path}/journal"\n'
        )
        done = run("--config", str(config), "--fail-on", "soft", "--", child, "raise", hex(INVALID_NAME), "3")

    assert done.returncode == 3
    assert "3 guard hits in" in done.stderr
    assert f"OTLP: {address}/v1/logs: connection refused" in done.stderr
    assert "webhook: 127.0.0.1: connection refused" in done.stderr
    assert "secret" not in done.stderr


STORM = 20_000


def test_a_storm_at_a_stalled_collector_is_logged_as_without_one(run, child: str, tmp_path: Path) -> None:
    logs: list[list[dict[str, object]]] = []
    with receiver() as collector:
        collector.stalled.set()
        otlp = f'[otlp]\nenabled = true\nendpoint = "{collector.url}"\n'
        for name, section in (("without", ""), ("stalled", otlp)):
            config = tmp_path / f"{name}.toml"
            config.write_text(f'{section}[journal]\npath = "{tmp_path}/{name}"\n')
            done = run("--config", str(config), "--json", "--", child, "raise", hex(INVALID_NAME), str(STORM))
            logs.append([json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")])

    for lines in logs:
        hits = sum(line.get("event") == "guard_hit" for line in lines)
        rest = sum(line["count"] for line in lines if line.get("event") == "guard_hits_suppressed")
        assert hits + rest == STORM
    without, stalled = ({line["event"] for line in lines if "event" in line} for lines in logs)
    assert stalled == without
    assert collector.requests == []
