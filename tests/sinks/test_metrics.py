"""The metrics: every name and label of the contract, right numbers, bounded labels."""

import re
import urllib.error
import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from excguard.sinks.endpoint import Endpoint
from excguard.sinks.metrics import Counters, Hits, Replies, TargetState, registry

COUNTERS = Counters(
    hits=[
        Hits("mail", "MACH_PORT", "INVALID_NAME", "optional", 3, 1_700_000_000_500_000_000),
        Hits("mail", "MACH_PORT", "DESTROY", "fatal", 1, 1_600_000_000_000_000_000),
        Hits("mail", "MACH_PORT", None, "soft", 2, 5),
        Hits("mail", "MACH_PORT", None, "soft", 4, 6),
        Hits("mail", None, None, None, 5, 7),
        Hits("quiet", "MACH_PORT", "INVALID_NAME", "optional", 0, 0),
    ],
    rejected={"sender_not_kernel": 2, "truncated": 0},
    replies=Replies((1000, 10_000), (5, 3, 1), 25_000),
    records_lost=6,
    log_suppressed={"mail": 7, "quiet": 0},
    log_write_failures=1,
    targets={
        "mail": TargetState(up=True, starts=3, exits={"exited": 1, "killed": 1}),
        "quiet": TargetState(exits={"exited": 0}),
    },
)


class Source:
    def __init__(self, counters: Counters = COUNTERS) -> None:
        self._counters = counters

    def counters(self) -> Counters:
        return self._counters


@pytest.fixture
def endpoint():
    made = Endpoint(
        "127.0.0.1", 0, registry(Source(), kernel="simulated", release="macOS 26.4"), ready=lambda: True
    )
    yield made
    made.close()


def get(url: str, accept: str = "", method: str = "GET"):
    request = urllib.request.Request(url, headers={"Accept": accept}, method=method)
    with urllib.request.urlopen(request) as response:
        return response.status, response.headers, response.read().decode()


def samples(families) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def of(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


@pytest.mark.parametrize(
    ("accept", "content_type", "parse"),
    [
        ("", "text/plain", parse_text),
        ("text/plain", "text/plain", parse_text),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text", parse_openmetrics),
    ],
)
def test_all_metrics_in_both_formats(endpoint, accept: str, content_type: str, parse) -> None:
    status, headers, text = get(endpoint.url + "/metrics", accept)
    assert status == 200
    assert headers["Content-Type"].startswith(content_type)

    found = samples(parse(text))
    info = {key: value for key, value in found.items() if key[0] == "excguard_build_info"}
    for key in info:
        del found[key]
    ((name, labels),) = info
    assert dict(labels).keys() == {"version", "python_version", "kernel", "release"}
    assert info[name, labels] == 1

    mail = {"target": "mail", "guard_type": "MACH_PORT"}
    unknown = {"target": "mail", "flavor": "unknown"}
    assert found == {
        ("excguard_hits_total", of(**mail, flavor="INVALID_NAME", severity="optional")): 3,
        ("excguard_hits_total", of(**mail, flavor="DESTROY", severity="fatal")): 1,
        ("excguard_hits_total", of(**unknown, guard_type="MACH_PORT", severity="soft")): 6,
        ("excguard_hits_total", of(**unknown, guard_type="unknown", severity="unknown")): 5,
        (
            "excguard_hits_total",
            of(target="quiet", guard_type="MACH_PORT", flavor="INVALID_NAME", severity="optional"),
        ): 0,
        ("excguard_last_hit_timestamp_seconds", of(target="mail")): 1_700_000_000.5,
        ("excguard_messages_rejected_total", of(reason="sender_not_kernel")): 2,
        ("excguard_messages_rejected_total", of(reason="truncated")): 0,
        ("excguard_reply_seconds_bucket", of(le="1e-06")): 5,
        ("excguard_reply_seconds_bucket", of(le="1e-05")): 8,
        ("excguard_reply_seconds_bucket", of(le="+Inf")): 9,
        ("excguard_reply_seconds_count", of()): 9,
        ("excguard_reply_seconds_sum", of()): 25e-6,
        ("excguard_journal_records_lost_total", of()): 6,
        ("excguard_log_suppressed_total", of(target="mail")): 7,
        ("excguard_log_suppressed_total", of(target="quiet")): 0,
        ("excguard_log_write_failures_total", of()): 1,
        ("excguard_target_up", of(target="mail")): 1,
        ("excguard_target_up", of(target="quiet")): 0,
        ("excguard_target_starts_total", of(target="mail")): 3,
        ("excguard_target_starts_total", of(target="quiet")): 0,
        ("excguard_target_exits_total", of(target="mail", reason="exited")): 1,
        ("excguard_target_exits_total", of(target="mail", reason="killed")): 1,
        ("excguard_target_exits_total", of(target="quiet", reason="exited")): 0,
    }


def test_names_follow_the_conventions(endpoint) -> None:
    families = list(parse_text(get(endpoint.url + "/metrics")[2]))

    assert all(family.documentation for family in families)
    assert all(re.fullmatch(r"excguard_[a-z_]+", family.name) for family in families)
    for family in families:
        for sample in family.samples:
            assert not {"pid", "port", "guard_id", "thread_id"} & sample.labels.keys()
            if family.type == "counter":
                assert sample.name.endswith("_total")


@pytest.mark.parametrize("name", ['"', "a\nb", "<script>", "\N{PILE OF POO}", "back\\slash", "x" * 10_000])
def test_hostile_target_names_come_through_intact(name: str) -> None:
    counters = COUNTERS._replace(targets={name: TargetState(up=True)}, hits=[], log_suppressed={})
    endpoint = Endpoint(
        "127.0.0.1", 0, registry(Source(counters), kernel="k", release="r"), ready=lambda: True
    )
    try:
        for accept, parse in (
            ("", parse_text),
            ("application/openmetrics-text; version=1.0.0", parse_openmetrics),
        ):
            found = samples(parse(get(endpoint.url + "/metrics", accept)[2]))
            assert found["excguard_target_up", of(target=name)] == 1
    finally:
        endpoint.close()


def test_pages_beside_the_metrics(endpoint) -> None:
    status, headers, text = get(endpoint.url + "/")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert 'href="/metrics"' in text
    assert get(endpoint.url + "/-/healthy")[0] == 200
    assert get(endpoint.url + "/-/ready")[0] == 200
    assert get(endpoint.url + "/metrics?x=1")[0] == 200


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/nothing", "GET", 404), ("/metrics/x", "GET", 404), ("/metrics", "POST", 405), ("/", "DELETE", 405)],
)
def test_wrong_paths_and_methods(endpoint, path: str, method: str, status: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(endpoint.url + path, method=method)
    with caught.value as error:
        assert error.code == status
        if status == 405:
            assert error.headers["Allow"] == "GET, HEAD"


def test_head_has_the_headers_alone(endpoint) -> None:
    status, headers, text = get(endpoint.url + "/metrics", method="HEAD")

    assert status == 200
    assert int(headers["Content-Length"]) > 0
    assert text == ""


def test_not_ready_is_503() -> None:
    endpoint = Endpoint("127.0.0.1", 0, registry(Source(), kernel="k", release="r"), ready=lambda: False)
    try:
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(endpoint.url + "/-/ready")
        with caught.value as error:
            assert error.code == 503
        assert get(endpoint.url + "/-/healthy")[0] == 200
    finally:
        endpoint.close()


def test_port_that_is_taken_is_an_os_error(endpoint) -> None:
    port = int(endpoint.url.rsplit(":", 1)[1])
    with pytest.raises(OSError, match="in use"):
        Endpoint("127.0.0.1", port, registry(Source(), kernel="k", release="r"), ready=lambda: True)


def test_ipv6_listens_too() -> None:
    endpoint = Endpoint("::1", 0, registry(Source(), kernel="k", release="r"), ready=lambda: True)
    try:
        assert endpoint.url.startswith("http://[::1]:")
        assert get(endpoint.url + "/-/healthy")[0] == 200
    finally:
        endpoint.close()
