"""One message for each new site."""

import hashlib
import hmac
import json
from pathlib import Path

import pytest

from excguard.config import Config
from excguard.config.settings import Journal, Webhook, WebhookFormat
from excguard.decoding.site import Place
from excguard.knowledge.severity import Severity
from excguard.pipeline.hit import Hit
from excguard.sinks.webhook import WebhookSink, open_webhook
from tests.support.clock import Clock
from tests.support.http_receiver import Receiver
from tests.support.samples import SET_CONTEXT


@pytest.fixture
def make_sink(server: Receiver, complaints: list[str], clock: Clock):
    def make(form: WebhookFormat = WebhookFormat.JSON, path: str = "/secret", **options) -> WebhookSink:
        return WebhookSink(
            f"{server.url}{path}", form, **{"complain": complaints.append, "clock": clock, **options}
        )

    return make


@pytest.fixture
def at(make_hit):
    """Makes a hit at an offset of the program."""

    def make(offset: int = 0x40, code: int | None = None, **fields) -> Hit:
        place = Place("/Apps/Mail.app/Mail", "uuid", offset)
        known = {"program": "Mail", "place": place, **fields}
        return make_hit(**known) if code is None else make_hit(code, **known)

    return make


def test_each_site_is_announced_once(server: Receiver, make_sink, at) -> None:
    sink = make_sink()
    for offset in (0x40, 0x40, 0x80, 0x40):
        sink.hit(at(offset))
        assert sink.flush()

    sent = [json.loads(request.body) for request in server.requests]
    assert [one["image_offset"] for one in sent] == ["0x40", "0x80"]
    assert sent[0]["event"] == "new_site"
    assert sent[0]["site_id"] == at(0x40).site.id
    assert sent[0]["code"] == "0x2000020000002703"
    assert (sink.progress, sink.dropped) == (2, 0)


def test_sites_stay_known_over_a_restart(server: Receiver, make_sink, at, tmp_path: Path) -> None:
    for _ in range(3):
        sink = make_sink(known=tmp_path / "journal.announced")
        sink.hit(at())
        sink.flush()
        assert sink.close()

    assert len(server.requests) == 1
    assert (tmp_path / "journal.announced").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"\xff\x00" * 50, b"../../etc\n" * 9, b"x" * (2 << 20)])
def test_a_damaged_list_of_sites_costs_an_announcement(
    server: Receiver, make_sink, at, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "known").write_bytes(content)
    sink = make_sink(known=tmp_path / "known")
    sink.hit(at())
    assert sink.close()

    assert len(server.requests) == 1
    assert (tmp_path / "known").read_text() == f"{at().site.id}\n"


def test_messages_are_signed(server: Receiver, make_sink, at) -> None:
    sink = make_sink(secret=b"key")
    sink.hit(at())
    sink.flush()
    (request,) = server.requests
    signed = request.headers["X-Excguard-Timestamp"].encode() + b"." + request.body

    expected = hmac.new(b"key", signed, hashlib.sha256).hexdigest()
    assert request.headers["X-Excguard-Signature"] == f"sha256={expected}"


def test_the_limit_an_hour_holds_and_a_dropped_site_is_announced_later(
    server: Receiver, make_sink, at, clock: Clock
) -> None:
    sink = make_sink(per_hour=2)
    for offset in (1, 2, 3):
        sink.hit(at(offset))
    assert sink.flush()
    assert (len(server.requests), sink.dropped) == (2, 1)
    clock.now = 3601
    sink.hit(at(3))
    sink.hit(at(1))
    assert sink.flush()

    assert [json.loads(request.body)["image_offset"] for request in server.requests] == ["0x1", "0x2", "0x3"]


def test_a_server_that_is_down_is_tried_again(
    server: Receiver, make_sink, at, clock: Clock, complaints: list[str]
) -> None:
    server.answers = [(503, {}, b""), (200, {}, b"")]
    sink = make_sink()
    sink.hit(at())
    assert not sink.flush()
    assert not sink.flush()
    clock.now = 2
    assert sink.flush()

    assert len(server.requests) == 2
    assert (sink.progress, sink.failures, sink.dropped) == (1, 1, 0)
    assert len(complaints) == 2
    assert "secret" not in "".join(complaints)


def test_a_refused_message_is_dropped_and_its_site_announced_again(server: Receiver, make_sink, at) -> None:
    server.answers = [(410, {}, b""), (200, {}, b"")]
    sink = make_sink()
    sink.hit(at())
    assert sink.flush()
    assert (sink.progress, sink.dropped) == (0, 1)
    sink.hit(at())
    assert sink.flush()

    assert sink.progress == 1


def test_what_is_left_at_the_end_is_counted_and_announced_by_the_next_run(
    server: Receiver, make_sink, at, tmp_path: Path
) -> None:
    server.answers = [(503, {}, b"")]
    sink = make_sink(known=tmp_path / "known")
    for offset in range(150):
        sink.hit(at(offset))
    assert not sink.close()
    assert sink.dropped == 150
    server.answers = [(200, {}, b"")]
    sink = make_sink(known=tmp_path / "known")
    sink.hit(at(0))
    assert sink.close()

    assert sink.progress == 1


def test_lower_severities_and_recovered_hits_are_not_announced(
    server: Receiver, make_sink, at, make_hit
) -> None:
    sink = make_sink(least=Severity.FATAL)
    sink.hit(at())
    sink.hit(make_hit(SET_CONTEXT, recovered=True))
    sink.hit(at(code=SET_CONTEXT))
    assert sink.flush()

    assert [json.loads(request.body)["flavor_name"] for request in server.requests] == ["SET_CONTEXT"]


def test_slack_gets_text_without_markup_of_others(server: Receiver, make_sink, at) -> None:
    sink = make_sink(WebhookFormat.SLACK)
    sink.hit(at(target="<!channel> & \x1b[31m"))
    sink.flush()
    text = json.loads(server.requests[0].body)["text"]

    assert text.startswith("*INVALID_NAME in &lt;!channel&gt; &amp; \\x1b[31m*")
    assert "*Place* Mail+0x40" in text
    assert "*Fix* " in text


def test_teams_gets_a_card_of_text_runs(server: Receiver, make_sink, at) -> None:
    sink = make_sink(WebhookFormat.TEAMS)
    sink.hit(at(target="[a](http://b) **c**"))
    sink.flush()
    (attachment,) = json.loads(server.requests[0].body)["attachments"]

    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert card["type"] == "AdaptiveCard"
    runs = [run for block in card["body"] for run in block["inlines"]]
    assert {run["type"] for run in runs} == {"TextRun"}
    assert runs[0]["text"] == "INVALID_NAME in [a](http://b) **c**"


def test_sentry_gets_an_envelope_grouped_by_site(server: Receiver, complaints: list[str], at) -> None:
    dsn = f"{server.url.replace('http://', 'http://abc123@')}/prefix/42"
    sink = WebhookSink(dsn, WebhookFormat.SENTRY, complain=complaints.append)
    sink.hit(at(code=SET_CONTEXT))
    assert sink.flush()
    (request,) = server.requests
    head, item, event, end = request.body.split(b"\n")

    assert request.path == "/prefix/api/42/envelope/"
    assert "sentry_key=abc123" in request.headers["X-Sentry-Auth"]
    assert json.loads(item) == {"type": "event", "length": len(event)}
    found = json.loads(event)
    assert found["event_id"] == json.loads(head)["event_id"]
    assert found["fingerprint"] == [at(code=SET_CONTEXT).site.id]
    assert (found["level"], found["exception"]["values"][0]["type"]) == ("fatal", "SET_CONTEXT")
    assert end == b""


@pytest.mark.parametrize("code", [SET_CONTEXT, 0xC000000000000016, 7 << 61])  # REJECTED_SC; unknown
def test_sentry_keeps_each_field_of_the_event(server: Receiver, complaints: list[str], at, code: int) -> None:
    """sentry-relay, which receives events for Sentry, removes what it does not accept."""
    processing = pytest.importorskip("sentry_relay.processing", reason="needs the dependency group engines")
    dsn = f"{server.url.replace('http://', 'http://abc123@')}/42"
    sink = WebhookSink(dsn, WebhookFormat.SENTRY, complain=complaints.append)
    sink.hit(at(code=code))
    assert sink.flush()
    sent = json.loads(server.requests[0].body.split(b"\n")[2])

    kept = processing.StoreNormalizer(project_id=42).normalize_event(sent)

    assert kept.get("errors") is None
    assert kept.get("_meta") is None
    assert {key: kept[key] for key in ("event_id", "level", "logger", "fingerprint", "extra")} == {
        key: sent[key] for key in ("event_id", "level", "logger", "fingerprint", "extra")
    }
    assert kept["exception"]["values"][0].items() >= sent["exception"]["values"][0].items()
    assert dict(kept["tags"]).items() >= sent["tags"].items()


@pytest.mark.parametrize("dsn", ["http://h/42", "http://key@h/", "http://key@h/name", "ftp://key@h/4"])
def test_a_dsn_that_is_none_is_refused(dsn: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        WebhookSink(dsn, WebhookFormat.SENTRY, complain=print)


def config(tmp_path: Path, **keys) -> Config:
    return Config(journal=Journal(path=str(tmp_path / "journal")), webhook=Webhook(**keys))


def test_address_and_key_come_from_files(server: Receiver, at, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"{server.url}/hook\n")
    (tmp_path / "key").write_text("key\n")
    keys = {"url_file": str(tmp_path / "url"), "secret_file": str(tmp_path / "key")}
    sink = open_webhook(config(tmp_path, **keys), print)
    sink.hit(at())
    sink.close()

    assert server.requests[0].path == "/hook"
    assert "X-Excguard-Signature" in server.requests[0].headers
    assert (tmp_path / "journal.announced").exists()


@pytest.mark.parametrize(
    ("contents", "problem"), [("", "not an address"), ("ftp://x", "not an address"), (None, "o such file")]
)
def test_a_file_without_an_address_is_one_error(tmp_path: Path, contents: str | None, problem: str) -> None:
    if contents is not None:
        (tmp_path / "url").write_text(contents)
    with pytest.raises(OSError, match=problem):
        open_webhook(config(tmp_path, url_file=str(tmp_path / "url")), print)
