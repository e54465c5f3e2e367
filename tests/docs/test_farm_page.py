"""The configurations and the code of docs/farm.md."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from excguard.config import parse
from excguard.config.settings import WebhookFormat
from excguard.sinks.webhook import WebhookSink
from tests.support.http_receiver import receiver

PAGE = (Path(__file__).parents[2] / "docs" / "farm.md").read_text()
BLOCKS = re.findall(r"(?ms)^```(\w+)(?: [\w.]+)?\n(.*?)^```", PAGE)


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


@pytest.mark.parametrize("text", blocks("toml"))
def test_its_configurations_are_accepted(text: str, tmp_path: Path) -> None:
    config = parse(text, file="farm.md", directory=tmp_path)

    assert config.otlp.enabled or config.webhook.format is WebhookFormat.SLACK


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: apt-get install prometheus")
def test_prometheus_accepts_the_configuration_of_the_agent(tmp_path: Path) -> None:
    (text,) = (block for block in blocks("yaml") if "remote_write" in block)
    password = yaml.safe_load(text)["remote_write"][0]["basic_auth"]["password_file"]
    (tmp_path / "password").write_text("secret")
    (tmp_path / "agent.yml").write_text(text.replace(password, str(tmp_path / "password")))
    done = subprocess.run(
        ["promtool", "check", "config", "--agent", str(tmp_path / "agent.yml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_collector_sends_what_it_receives() -> None:
    (text,) = (block for block in blocks("yaml") if "otlphttp" in block)
    found = yaml.safe_load(text)
    pipeline = found["service"]["pipelines"]["logs"]

    for part in ("receivers", "processors", "exporters"):
        assert set(pipeline[part]) == set(found[part])


def test_its_check_of_signatures_accepts_what_is_sent(make_hit) -> None:
    names: dict = {}
    (text,) = blocks("python")
    exec(text, names)  # noqa: S102 - the page's own code
    with receiver() as server:
        sink = WebhookSink(server.url, WebhookFormat.JSON, complain=print, secret=b"key")
        sink.hit(make_hit(program="Mail"))
        sink.flush()
    (request,) = server.requests

    assert names["is_genuine"](b"key", request.headers, request.body)
    assert not names["is_genuine"](b"other", request.headers, request.body)
    assert not names["is_genuine"](b"key", request.headers, request.body + b" ")
