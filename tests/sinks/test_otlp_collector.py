"""Hits through a collector of others: rotel takes OTLP's JSON, and hands it on as protobuf."""

from __future__ import annotations

import signal
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from excguard.decoding.site import Place
from excguard.pipeline.suppressed import SiteKey, Suppressed
from excguard.sinks import otlp, otlp_settings
from tests.sinks.test_otlp import HOST
from tests.support.http_receiver import Receiver, receiver
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from excguard.pipeline.hit import Hit

pytestmark = pytest.mark.slow


@pytest.fixture
def behind() -> Iterator[Receiver]:
    """What the collector sends to."""
    with receiver() as kept:
        yield kept


@pytest.fixture
def collector(behind: Receiver) -> Iterator[str]:
    """The address of a running collector."""
    package = find_spec("rotel")
    if package is None or package.origin is None:
        pytest.skip("needs rotel (the dependency group engines)")
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        http, grpc = (f"127.0.0.1:{unused.getsockname()[1]}" for unused in (one, two))
    options = {
        "otlp-http-endpoint": http,
        "otlp-grpc-endpoint": grpc,
        "exporter": "otlp",
        "otlp-exporter-protocol": "http",
        "otlp-exporter-endpoint": behind.url,
        "logs-batch-timeout": "50ms",
    }
    program = Path(package.origin).with_name("rotel-agent")
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    process = subprocess.Popen([program, "start", *arguments])
    host, _, port = http.partition(":")

    def listens() -> bool:
        assert process.poll() is None
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    try:
        wait_until(listens)
        yield f"http://{http}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def send(url: str, hits: list[Hit]) -> otlp.OtlpSink:
    complaints: list[str] = []
    sink = otlp.OtlpSink(otlp_settings.read(url, {}), HOST, complaints.append)
    for hit in hits:
        sink.hit(hit)
    violation = hits[0].violation
    key = SiteKey(1, violation.code >> 32, 0)
    group = Suppressed(key, 1, violation.code, 0, 0, 2**40, 10, 50, 1, 1_700_000_000_123_456_789, ())
    sink.suppressed(group, "Notes", violation)
    assert sink.flush()
    assert complaints == []
    return sink


def found(requests: list[ExportLogsServiceRequest]) -> list[str]:
    """Each record with its resource, as text; without the time at which it was taken."""
    records = []
    for request in requests:
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    record.observed_time_unix_nano = 0
                    records.append(f"{resource.resource}{scope.scope}{record}")
    return sorted(records)


def test_a_collector_hands_on_what_was_sent(
    server: Receiver, behind: Receiver, collector: str, make_hit
) -> None:
    place = Place("/Apps/Mail.app/Mail", "uuid", 0x40, "close_port", 8)
    hits = [
        make_hit(executable="/Apps/Mail.app/Ünïcode 'Mail'", place=place, frames=("a", "b")),
        make_hit(),
    ]
    assert send(server.url, hits).progress == 3
    direct = [json_format.Parse(one.body, ExportLogsServiceRequest()) for one in server.requests]

    assert send(collector, hits).progress == 3

    def handed_on() -> list[str]:
        return found([ExportLogsServiceRequest.FromString(one.body) for one in behind.requests])

    wait_until(lambda: len(handed_on()) == 3)
    assert handed_on() == found(direct)
