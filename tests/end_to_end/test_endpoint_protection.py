"""Authentication at the endpoint: errors at the start in one line, and later ones in the log."""

import signal
import stat
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from excguard.cli import main
from tests.support.waiting import wait_until

STILL = '[[target]]\nname = "still"\ncommand = ["sleep", "600"]\n'
# A hash that no password has.
USERS = f"basic_auth_users:\n  prometheus: $2b$04${'a' * 53}\n"


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ('listen = "0.0.0.0:0"', "metrics.listen: other machines can reach 0.0.0.0"),
        ('listen = "127.0.0.1:0"\nweb_config = "none.yml"', "metrics.web_config: "),
    ],
)
def test_an_unprotected_endpoint_is_an_error_at_the_start(serve, metrics: str, words: str) -> None:
    daemon = serve(f"[metrics]\n{metrics}\n{STILL}")

    assert daemon.wait() == 2
    assert words in daemon.stderr.decode()
    assert daemon.stderr.count(b"\n") == 1


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc")
def test_openssl_is_not_loaded_without_tls(serve) -> None:
    daemon = serve(f'[metrics]\nlisten = "127.0.0.1:0"\n{STILL}')
    urllib.request.urlopen(daemon.url.removesuffix("metrics") + "-/healthy").close()

    assert "libcrypto" not in Path(f"/proc/{daemon.process.pid}/maps").read_text()
    assert daemon.stop() == 0


def test_the_configuration_can_allow_it(serve) -> None:
    daemon = serve(f'[metrics]\nlisten = "0.0.0.0:0"\nallow_unprotected = true\n{STILL}')

    assert daemon.url.startswith("http://0.0.0.0:")
    assert daemon.stop() == 0


def test_a_web_config_that_becomes_invalid_is_logged_once_and_can_be_fixed(serve, tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text(USERS)
    daemon = serve(f'[metrics]\nlisten = "127.0.0.1:0"\nweb_config = "web.yml"\n{STILL}')
    url = daemon.url

    def status() -> int:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(url)
        with caught.value as error:
            return error.code

    assert status() == 401
    (tmp_path / "web.yml").write_text("basic_auth_users: nonsense")
    assert status() == 500
    assert status() == 500
    (logged,) = daemon.wait_for("web_config_error")
    assert logged["error"].startswith(str(tmp_path / "web.yml"))
    (tmp_path / "web.yml").write_text(USERS)
    assert wait_until(lambda: status() == 401)
    assert daemon.stop() == 0
    assert len(daemon.events("web_config_error")) == 1


def test_an_invalid_host_name_is_an_error_in_one_line(serve) -> None:
    daemon = serve(f'[metrics]\nlisten = "a..b:1"\n{STILL}')

    assert daemon.wait() == 125
    assert b"no metrics on a..b:1: invalid host name" in daemon.stderr
    assert daemon.stderr.count(b"\n") == 1


def test_an_invalid_host_name_at_a_reload_changes_nothing(serve, tmp_path: Path) -> None:
    daemon = serve(f'[metrics]\nlisten = "127.0.0.1:0"\n{STILL}')
    url = daemon.url
    path = tmp_path / "excguard.toml"

    path.write_text(path.read_text().replace("127.0.0.1:0", "a..b:1"))
    daemon.process.send_signal(signal.SIGHUP)

    (rejected,) = daemon.wait_for("configuration_rejected")
    assert "a..b:1: invalid host name" in rejected["error"]
    assert urllib.request.urlopen(url).status == 200
    assert daemon.stop() == 0


def test_a_unix_socket_is_reloaded_and_removed(serve, tmp_path: Path) -> None:
    daemon = serve(f'[metrics]\nlisten = "127.0.0.1:0"\n{STILL}')
    assert daemon.url.startswith("http://")
    path = tmp_path / "excguard.toml"

    path.write_text(path.read_text().replace("127.0.0.1:0", "unix:endpoint.sock"))
    daemon.process.send_signal(signal.SIGHUP)

    assert daemon.wait_for("metrics_listening", 2)[1]["url"] == f"unix:{tmp_path}/endpoint.sock"
    daemon.wait_for("configuration_reloaded")
    assert stat.S_IMODE((tmp_path / "endpoint.sock").stat().st_mode) == 0o600
    shown = CliRunner().invoke(main, ["top", "--url", f"unix:{tmp_path}/endpoint.sock", "--once"])
    assert (shown.exit_code, "still" in shown.output) == (0, True)
    assert daemon.stop() == 0
    assert not (tmp_path / "endpoint.sock").exists()
