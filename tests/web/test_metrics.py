"""The metrics: every name and label of the contract, right numbers, bounded labels."""

import re
import shutil
import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from excguard.pipeline.counters import (
    Counters,
    Exemplar,
    HitCounts,
    Labels,
    Replies,
    TargetState,
)
from excguard.web.exposition import Exposition
from excguard.web.metrics import FAMILIES

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_PREFERRING_TEXT = (  # scrape_protocols: [PrometheusText0.0.4, OpenMetricsText1.0.0]
    "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "*/*;q=0.4"
)
HOSTILE = ['"', "a\nb", "<script>", "\N{PILE OF POO}", "back\\slash", "x" * 10_000, "{}", "# {", '",b="']

SINCE = 1_600_000_000.0


def hit_counts(*series: tuple[str, str, str, str, int, int]) -> HitCounts:
    return HitCounts(
        [Labels(*each[:4]) for each in series],
        [each[4] for each in series],
        [each[5] for each in series],
        {name: max(each[5] for each in series if each[0] == name) for name, *_ in series},
    )


COUNTERS = Counters(
    hits=hit_counts(
        ("mail", "MACH_PORT", "INVALID_NAME", "optional", 3, 1_700_000_000_500_000_000),
        ("mail", "MACH_PORT", "DESTROY", "fatal", 1, 1_600_000_000_000_000_000),
        ("mail", "MACH_PORT", "unknown", "soft", 6, 6),
        ("mail", "unknown", "unknown", "unknown", 5, 7),
        ("quiet", "MACH_PORT", "INVALID_NAME", "optional", 0, 0),
    ),
    exemplars={
        Labels("mail", "MACH_PORT", "INVALID_NAME", "optional"): Exemplar(
            41, 1_700_000_000_500_000_000, "0f9c2a71b04e"
        ),
        Labels("gone", "MACH_PORT", "DESTROY", "fatal"): Exemplar(1, 1),
    },
    made=SINCE - 1,
    counting_since=SINCE,
    started=SINCE + 1,
    received={("mail", "live"): 15, ("quiet", "live"): 0},
    rejected={"sender_not_kernel": 2, "truncated": 0},
    replies=Replies((1000, 10_000), (5, 3, 1), 25_000),
    records_lost=6,
    records_pending=8,
    records_capacity=1024,
    drain_lag=0.25,
    log_suppressed={"mail": 7, "quiet": 0},
    log_write_failures=1,
    sink_dropped={"log": 0, "live_page": 3},
    damaged_files=2,
    receiving=False,
    source_failures={("unified_log", "garbled"): 2},
    policy_telemetry={("mail", "15"): 3},
    targets={
        "mail": TargetState(
            up=True,
            starts=3,
            exits={"exited": 1, "killed": 1},
            version="16.0",
            build="3826.200.121",
            visibility={"soft": "nothing"},
        ),
        "quiet": TargetState(exits={"exited": 0}),
    },
)
PROCESS = "process_"


class Source:
    def __init__(self, counters: Counters = COUNTERS) -> None:
        self._counters = counters

    def counters(self) -> Counters:
        return self._counters


def render(counters: Counters = COUNTERS, accept: str = "") -> tuple[str, str]:
    body, content_type = Exposition(Source(counters), kernel="simulated", release="macOS 26.4").render(accept)
    return bytes(body).decode(), content_type


def samples(families) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def of(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5", "text/plain"),
        ("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.6", OPENMETRICS),
        ("text/plain;q=0.5,application/openmetrics-text;q=0.5", OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0;q=0,text/plain;q=0.1", "text/plain"),
        ("application/openmetrics-text;q=0.000", "text/plain"),
        ("application/openmetrics-text;version=2.0.0,text/plain;q=0.5", "text/plain"),
        (
            "application/openmetrics-text;version=2.0.0,application/openmetrics-text;version=1.0.0;q=0.9",
            OPENMETRICS,
        ),
        ("Application/OpenMetrics-Text; Version=1.0.0; Q=0.9", OPENMETRICS),
        ("application/openmetrics-text;q=high;=;;", OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS),
        (PROMETHEUS_3_PREFERRING_TEXT, "text/plain"),
    ],
)
def test_the_format_is_the_one_that_is_preferred(accept: str, expected: str) -> None:
    text, served_as = render(accept=accept)

    assert served_as.startswith(expected)
    assert text.endswith("# EOF\n") == (expected == OPENMETRICS)


@pytest.mark.parametrize(
    ("accept", "content_type", "parse"),
    [
        ("", "text/plain", parse_text),
        ("text/plain", "text/plain", parse_text),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text", parse_openmetrics),
    ],
)
def test_all_metrics_in_both_formats(accept: str, content_type: str, parse) -> None:
    text, served_as = render(accept=accept)
    assert served_as.startswith(content_type)

    found = {
        key: value
        for key, value in samples(parse(text)).items()
        if not key[0].startswith(PROCESS) and not key[0].endswith("_created")
    }
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
        ("excguard_journal_pending_records", of()): 8,
        ("excguard_journal_capacity_records", of()): 1024,
        ("excguard_drain_lag_seconds", of()): 0.25,
        ("excguard_received_hits_total", of(target="mail", source="live")): 15,
        ("excguard_received_hits_total", of(target="quiet", source="live")): 0,
        ("excguard_source_failures_total", of(source="unified_log", kind="garbled")): 2,
        ("excguard_policy_telemetry_total", of(target="mail", policy="15")): 3,
        ("excguard_log_suppressed_total", of(target="mail")): 7,
        ("excguard_log_suppressed_total", of(target="quiet")): 0,
        ("excguard_log_write_failures_total", of()): 1,
        ("excguard_sink_dropped_total", of(sink="log")): 0,
        ("excguard_damaged_files_total", of()): 2,
        ("excguard_receiver_up", of()): 0,
        ("excguard_sink_dropped_total", of(sink="live_page")): 3,
        ("excguard_target_up", of(target="mail")): 1,
        ("excguard_target_up", of(target="quiet")): 0,
        ("excguard_target_starts_total", of(target="mail")): 3,
        ("excguard_target_starts_total", of(target="quiet")): 0,
        ("excguard_target_visibility", of(target="mail", severity="soft", by="nothing")): 1,
        ("excguard_target_exits_total", of(target="mail", reason="exited")): 1,
        ("excguard_target_exits_total", of(target="mail", reason="killed")): 1,
        ("excguard_target_exits_total", of(target="quiet", reason="exited")): 0,
        ("excguard_target_info", of(target="mail", version="16.0", build="3826.200.121")): 1,
        ("excguard_target_info", of(target="quiet", version="", build="")): 1,
    }


def test_openmetrics_has_exemplars_and_created_timestamps() -> None:
    text, _ = render(accept=OPENMETRICS)
    families = {family.name: family for family in parse_openmetrics(text)}

    exemplars = {
        sample.labels["flavor"]: sample.exemplar
        for sample in families["excguard_hits"].samples
        if sample.exemplar
    }
    assert exemplars.keys() == {"INVALID_NAME"}
    assert exemplars["INVALID_NAME"].labels == {"seq": "41", "site_id": "0f9c2a71b04e"}
    assert exemplars["INVALID_NAME"].value == 1
    assert float(exemplars["INVALID_NAME"].timestamp) == 1_700_000_000.5
    created = {
        (family.name, sample.value)
        for family in families.values()
        if family.type == "counter" and family.name.startswith("excguard_")
        for sample in family.samples
        if sample.name.endswith("_created")
    }
    of_the_process = {
        "source_failures",
        "policy_telemetry",
        "log_suppressed",
        "log_write_failures",
        "sink_dropped",
        "damaged_files",
        "target_starts",
        "target_exits",
    }
    of_its_counters = {"hits", "received_hits", "journal_records_lost"}
    assert created == {
        *((f"excguard_{name}", SINCE + 1) for name in of_the_process),
        *((f"excguard_{name}", SINCE) for name in of_its_counters),
        ("excguard_messages_rejected", SINCE - 1),
    }


def test_the_plain_format_has_neither() -> None:
    text, _ = render()

    assert "_created" not in text
    assert "seq=" not in text


def test_every_family_is_described_and_every_description_has_its_family() -> None:
    families = {family.name: family for family in parse_openmetrics(render(accept=OPENMETRICS)[0])}

    for family in FAMILIES:
        assert families[family.name].type == family.type
        assert families[family.name].documentation == family.help
        labels = {key for sample in families[family.name].samples for key in sample.labels} - {"le"}
        assert labels == set(family.labels)
    assert {name for name in families if name.startswith("excguard_")} == {family.name for family in FAMILIES}


def test_process_metrics_have_their_conventional_names() -> None:
    names = {family.name for family in parse_text(render()[0]) if family.name.startswith(PROCESS)}

    assert names >= {
        "process_cpu_seconds",
        "process_start_time_seconds",
        "process_open_fds",
        "process_max_fds",
    }


def test_names_follow_the_conventions() -> None:
    families = [family for family in parse_text(render()[0]) if not family.name.startswith(PROCESS)]

    assert all(family.documentation for family in families)
    assert all(re.fullmatch(r"excguard_[a-z_]+", family.name) for family in families)
    for family in families:
        for sample in family.samples:
            assert not {"pid", "port", "guard_id", "thread_id"} & sample.labels.keys()
            if family.type == "counter":
                assert sample.name.endswith("_total")


@pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="no promtool: install Prometheus (apt-get install prometheus, brew install prometheus)",
)
def test_promtool_finds_nothing_to_say() -> None:
    text, _ = render()

    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_target_names_come_through_intact(name: str) -> None:
    counters = COUNTERS._replace(
        targets={name: TargetState(up=True)},
        hits=hit_counts((name, "MACH_PORT", "DESTROY", "fatal", 2, 1)),
        log_suppressed={},
    )
    for accept, parse in (("", parse_text), (OPENMETRICS, parse_openmetrics)):
        found = samples(parse(render(counters, accept)[0]))
        assert found["excguard_target_up", of(target=name)] == 1
        labels = of(target=name, guard_type="MACH_PORT", flavor="DESTROY", severity="fatal")
        assert found["excguard_hits_total", labels] == 2


def test_labels_are_made_anew_when_a_series_is_added() -> None:
    source = Source(COUNTERS._replace(hits=hit_counts(("a", "FD", "CLOSE", "fatal", 1, 1))))
    metrics = Exposition(source, kernel="k", release="r")
    assert b'target="a"' in bytes(metrics.render("")[0])
    more = hit_counts(("b", "FD", "CLOSE", "fatal", 2, 1), ("a", "FD", "CLOSE", "fatal", 1, 1))
    source._counters = COUNTERS._replace(hits=more)

    found = samples(parse_text(bytes(metrics.render("")[0]).decode()))

    for target, count in (("a", 1), ("b", 2)):
        labels = of(target=target, guard_type="FD", flavor="CLOSE", severity="fatal")
        assert found["excguard_hits_total", labels] == count


@pytest.mark.parametrize("number", [0, 1, 9, 10, 2**32, 2**63, 2**64 - 1])
def test_numbers_of_every_size_are_exact(number: int) -> None:
    hits = hit_counts(("mail", "FD", "CLOSE", "fatal", number, 1_000_000_001))
    labels = Labels("mail", "FD", "CLOSE", "fatal")
    counters = COUNTERS._replace(hits=hits, exemplars={labels: Exemplar(number, 1_000_000_001_000)})

    for accept in ("", OPENMETRICS):
        text, _ = render(counters, accept)
        example = f' # {{seq="{number}"}} 1 1000.000001' if accept else ""
        series = 'target="mail",guard_type="FD",flavor="CLOSE",severity="fatal"'
        assert f"\nexcguard_hits_total{{{series}}} {number}{example}\n" in text
        assert '\nexcguard_last_hit_timestamp_seconds{target="mail"} 1.000000001\n' in text
        assert (f"\nexcguard_hits_created{{{series}}} {SINCE:.3f}\n" in text) == bool(accept and number)
