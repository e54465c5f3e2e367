"""Hits as log records of OpenTelemetry, read back by the official classes."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

from excguard.decoding.site import Place
from excguard.mach.host import Host
from excguard.pipeline.hit import Hit
from excguard.pipeline.sink_worker import CAPACITY, SinkWorker
from excguard.pipeline.suppressed import SiteKey, Suppressed
from excguard.sinks import otlp, otlp_settings
from excguard.sinks.http_sender import Backoff
from tests.support.clock import Clock
from tests.support.http_receiver import Receiver
from tests.support.samples import SET_CONTEXT
from tests.support.waiting import wait_until

HOST = Host("26.4", "25E246", "xnu-12377.101.15~1", "arm64", developer_mode=True, guard_behavior=0)


@pytest.fixture
def make_sink(server: Receiver, complaints: list[str], clock: Clock):
    """Makes a sink; keywords are variables of the environment, without their prefix."""

    def make(endpoint: str | None = None, **variables: str) -> otlp.OtlpSink:
        environment = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in variables.items()}
        settings = otlp_settings.read(server.url if endpoint is None else endpoint, environment)
        return otlp.OtlpSink(settings, HOST, complaints.append, Backoff(clock))

    return make


def request(server: Receiver, number: int = -1) -> ExportLogsServiceRequest:
    """A request, by the official reader of OTLP's JSON; a field that does not exist is an error."""
    return json_format.Parse(server.requests[number].body, ExportLogsServiceRequest())


def records(server: Receiver) -> list[LogRecord]:
    return [
        record
        for number in range(len(server.requests))
        for resource in request(server, number).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


def attributes(found) -> dict[str, object]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in found.attributes}


def test_a_hit_is_an_event_of_opentelemetry(server: Receiver, make_sink, make_hit) -> None:
    sink = make_sink()
    place = Place("/Apps/Mail.app/Mail", "uuid", 0x40, "close_port", 8)
    sink.hit(make_hit(executable="/Apps/Mail.app/Mail", place=place, program="Mail", frames=("a", "b")))
    assert sink.flush()

    assert server.requests[0].path == "/v1/logs"
    assert server.requests[0].headers["Content-Type"] == "application/json"
    assert server.requests[0].headers["Content-Encoding"] == "gzip"
    (resource,) = request(server).resource_logs
    assert attributes(resource.resource) == {
        "service.name": "mail",
        "os.type": "darwin",
        "os.name": "macOS",
        "os.version": "26.4",
        "os.build_id": "25E246",
        "host.arch": "arm64",
        "host.name": socket.gethostname(),
    }
    (scope,) = resource.scope_logs
    assert scope.scope.name == "excguard"
    (record,) = scope.log_records
    assert record.time_unix_nano == 1_772_366_400_120_000_999
    assert record.observed_time_unix_nano > record.time_unix_nano
    assert (record.event_name, record.severity_number) == (
        "excguard.guard_hit",
        SeverityNumber.SEVERITY_NUMBER_WARN,
    )
    assert record.body.string_value.startswith("INVALID_NAME on port 0x2703")
    found = attributes(record)
    assert found["exception.type"] == "EXC_GUARD INVALID_NAME"
    assert found["excguard.code"] == "0x2000020000002703"
    assert found["excguard.site_id"]
    assert found["excguard.symbol"] == "close_port"
    assert (found["excguard.seq"], found["process.pid"], found["thread.id"]) == (5, 4242, 77)
    assert found["process.executable.name"] == "Mail"
    assert found["exception.stacktrace"] == "a\nb"
    assert found["excguard.recovered"] is False


def test_a_fatal_hit_is_a_crash(server: Receiver, make_sink, make_hit) -> None:
    sink = make_sink()
    sink.hit(make_hit(SET_CONTEXT))
    sink.flush()
    (record,) = records(server)

    assert record.event_name == "app.crash"
    assert record.severity_number == SeverityNumber.SEVERITY_NUMBER_FATAL


def _group(hit: Hit) -> Suppressed:
    """A count of 41 further hits of a hit's site."""
    site = SiteKey(1, hit.violation.code >> 32, 0)
    return Suppressed(site, 1, hit.violation.code, 0, 0, 41, 10, 50, 1, 2, ())


def test_targets_are_resources_and_counts_are_records(server: Receiver, make_sink, make_hit) -> None:
    sink = make_sink()
    hit = make_hit()
    group = _group(hit)
    sink.hit(hit)
    sink.hit(make_hit(target="notes"))
    sink.suppressed(group, "mail", hit.violation)
    sink.suppressed(group._replace(site=None), "mail", hit.violation)
    sink.flush()

    sent = {attributes(one.resource)["service.name"]: one for one in request(server).resource_logs}
    mail = [record for scope in sent["mail"].scope_logs for record in scope.log_records]
    assert set(sent) == {"mail", "notes"}
    assert [record.event_name for record in mail] == [
        "excguard.guard_hit",
        "excguard.guard_hits_suppressed",
        "excguard.guard_hits_suppressed",
    ]
    assert attributes(mail[1])["excguard.hits"] == 41
    assert attributes(mail[1])["excguard.flavor"] == "INVALID_NAME"
    assert "excguard.flavor" not in attributes(mail[2])


def test_a_batch_has_a_bound(server: Receiver, make_sink, make_hit) -> None:
    sink = make_sink()
    for number in range(1100):
        sink.hit(make_hit(seq=number))
    assert sink.flush()

    assert len(server.requests) == 3
    assert [attributes(record)["excguard.seq"] for record in records(server)] == list(range(1100))
    assert sink.progress == 1100


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_an_overloaded_receiver_is_tried_again(  # noqa: PLR0917 - fixtures
    server: Receiver, make_sink, make_hit, clock: Clock, complaints: list[str], status: int
) -> None:
    server.answers = [(status, {"Retry-After": "30"}, b""), (200, {}, b"")]
    sink = make_sink()
    sink.hit(make_hit())
    assert not sink.flush()
    clock.now = 29.9
    assert not sink.flush()
    assert len(server.requests) == 1
    clock.now = 30.1
    assert sink.flush()

    assert len(records(server)) == 2
    assert (sink.progress, sink.failures, sink.dropped) == (1, 1, 0)
    assert [f"HTTP {status}" in complaints[0], complaints[1].endswith("taken again")] == [True, True]
    assert len(complaints) == 2


def test_delays_grow_and_begin_anew(make_sink, make_hit, server: Receiver, clock: Clock) -> None:
    server.answers = [(503, {}, b"")]
    sink = make_sink()
    sink.hit(make_hit())
    waited = []
    for _ in range(8):
        begun = clock.now
        assert not sink.flush()
        failures = sink.failures
        while sink.failures == failures:
            clock.now += 0.25
            sink.flush()
        waited.append(clock.now - begun)
    server.answers = [(200, {}, b"")]
    clock.now += 60
    assert sink.flush()

    assert waited[0] <= 2.5
    assert max(waited) <= 61
    assert waited[6] > 10
    server.answers = [(503, {}, b""), (200, {}, b"")]
    sink.hit(make_hit())
    assert not sink.flush()
    clock.now += 1.1
    assert sink.flush()


def test_what_the_receiver_refuses_in_part_is_counted(
    server: Receiver, make_sink, make_hit, complaints: list[str]
) -> None:
    refused = b'{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"too old"}}'
    server.answers = [(200, {}, refused)]
    sink = make_sink()
    for _ in range(5):
        sink.hit(make_hit())
    assert sink.flush()

    assert (sink.progress, sink.dropped) == (2, 3)
    assert "3 of 5 records refused: too old" in complaints[0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x0a\x00",
        b"null",
        b"[]",
        b'{"partialSuccess":{"rejectedLogRecords":"many"}}',
        b"{}" * 9,
        b'{"a":' + b"[" * 9_999,
    ],
)
def test_an_answer_that_says_nothing_is_a_success(server: Receiver, make_sink, make_hit, body: bytes) -> None:
    server.answers = [(200, {}, body)]
    sink = make_sink()
    sink.hit(make_hit())

    assert sink.flush()
    assert (sink.progress, sink.dropped) == (1, 0)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 413, 500])
def test_what_cannot_work_is_dropped_and_counted(
    server: Receiver, make_sink, make_hit, complaints: list[str], status: int
) -> None:
    server.answers = [(status, {"Location": "/elsewhere"}, b'{"message":"no such tenant"}')]
    sink = make_sink()
    sink.hit(make_hit())
    sink.hit(make_hit())
    assert sink.flush()

    assert len(server.requests) == 1
    assert (sink.progress, sink.dropped, sink.failures) == (0, 2, 1)
    assert f"HTTP {status} (no such tenant); 2 records are dropped" in complaints[0]


def test_what_is_left_at_the_end_is_counted(make_sink, make_hit) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        sink = make_sink(f"http://127.0.0.1:{unused.getsockname()[1]}")
        for _ in range(7):
            sink.hit(make_hit())
        assert not sink.flush()
        assert not sink.close()

    assert (sink.progress, sink.dropped) == (0, 7)


def test_a_storm_at_a_stalled_receiver_is_counted_exactly(server: Receiver, make_sink, make_hit) -> None:
    server.stalled.set()
    sink = make_sink(TIMEOUT="200")
    worker = SinkWorker(sink, lambda: None)
    hit = make_hit()
    for _ in range(100_000):
        worker.hit(hit)
    server.stalled.clear()
    server.released.set()
    for _ in range(10):
        worker.hit(hit)
    worker.stop()
    worker.join(60)

    assert worker.idle
    assert sink.progress == len(records(server))
    assert sink.progress + sink.dropped + worker.dropped == 100_010
    assert worker.dropped >= 100_000 - 2 * CAPACITY - 8192


def test_a_dropped_count_is_as_many_hits(server: Receiver, make_sink, make_hit) -> None:
    server.answers = [(400, {}, b""), (200, {}, b'{"partialSuccess":{"rejectedLogRecords":"2"}}')]
    sink = make_sink()
    hit = make_hit()
    for dropped in (42, 84):
        sink.hit(hit)
        sink.suppressed(_group(hit), "mail", hit.violation)
        assert sink.flush()
        assert sink.dropped == dropped

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        last = make_sink(f"http://127.0.0.1:{unused.getsockname()[1]}")
        last.suppressed(_group(hit), "mail", hit.violation)
        assert not last.close()
    assert last.dropped == 41


def test_more_is_taken_while_nothing_can_be_sent(server: Receiver, make_sink, make_hit) -> None:
    server.answers = [(503, {}, b"")]
    sink = make_sink()
    worker = SinkWorker(sink, lambda: None)
    worker.hit(make_hit())
    wait_until(lambda: sink.failures == 1)
    worker.hit(make_hit())
    wait_until(lambda: len(sink._records) == 2)
    worker.stop()
    worker.join(60)

    assert sink.dropped == 2


@pytest.mark.parametrize(
    ("endpoint", "variables", "url"),
    [
        ("", {}, "http://localhost:4318/v1/logs"),
        ("", {"ENDPOINT": "https://a:1/base/"}, "https://a:1/base/v1/logs"),
        (
            "",
            {"ENDPOINT": "https://a:1", "LOGS_ENDPOINT": "https://b/otlp/v1/logs"},
            "https://b/otlp/v1/logs",
        ),
        ("http://c", {"ENDPOINT": "https://a:1", "LOGS_ENDPOINT": "https://b"}, "http://c/v1/logs"),
    ],
)
def test_where_records_are_sent(endpoint: str, variables: dict[str, str], url: str) -> None:
    environment = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in variables.items()}

    assert otlp_settings.read(endpoint, environment).url == url


def test_headers_resource_and_service_name_are_the_environments(server: Receiver, make_hit) -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Basic%20abc, X-Scope=team",
        "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION": "none",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=qa,host.name=mac%2D7",
        "OTEL_SERVICE_NAME": "fleet",
    }
    sink = otlp.OtlpSink(otlp_settings.read(server.url, environment), HOST, print)
    sink.hit(make_hit())
    sink.flush()

    headers = server.requests[0].headers
    assert (headers["Authorization"], headers["X-Scope"]) == ("Basic abc", "team")
    assert "Content-Encoding" not in headers
    found = attributes(request(server).resource_logs[0].resource)
    assert found["service.name"] == "fleet"
    assert (found["deployment.environment"], found["host.name"]) == ("qa", "mac-7")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PROTOCOL", "grpc"),
        ("COMPRESSION", "zstd"),
        ("TIMEOUT", "ten"),
        ("TIMEOUT", "0"),
        ("TIMEOUT", "²"),
        ("HEADERS", "no value"),
        ("HEADERS", "a=b%0D%0AInjected: c"),
        ("HEADERS", "two words=b"),
        ("HEADERS", "a=%C3%A9"),
        ("CERTIFICATE", "/no/such/file"),
        ("CLIENT_CERTIFICATE", "/no/such/file"),
        ("CLIENT_KEY", "/no/such/file"),
        ("ENDPOINT", "localhost:4318"),
        ("ENDPOINT", "ftp://collector"),
        ("ENDPOINT", "http://"),
        ("LOGS_ENDPOINT", "http://collector:99999"),
    ],
)
def test_a_variable_that_cannot_work_is_named(variable: str, value: str) -> None:
    with pytest.raises(otlp_settings.SettingsError, match=f"OTEL_EXPORTER_OTLP_{variable}"):
        otlp_settings.read("", {f"OTEL_EXPORTER_OTLP_{variable}": value})


def test_architectures_have_the_names_of_the_conventions(server: Receiver, make_hit) -> None:
    sink = otlp.OtlpSink(otlp_settings.read(server.url, {}), replace(HOST, machine="x86_64"), print)
    sink.hit(make_hit())
    sink.flush()

    assert attributes(request(server).resource_logs[0].resource)["host.arch"] == "amd64"


def test_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(otlp_settings.SettingsError, match="CERTIFICATE"):
        otlp_settings.read("", {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "ca.pem")})
