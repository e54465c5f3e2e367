"""The web configuration: TLS and passwords in the format of Prometheus' exporters, and its errors."""

import base64
import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path

import bcrypt
import pytest

from excguard.web import authenticator
from excguard.web.errors import UnprotectedError, WebConfigError
from excguard.web.web_config import WebConfigFile

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="no openssl to make certificates with: apt-get install openssl"
)


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


USERS = f"basic_auth_users:\n  prometheus: {hashed('secret')}\n"


@pytest.fixture
def web_config(tmp_path: Path):
    """Writes web configurations to one and the same file."""

    def write(text: str) -> WebConfigFile:
        (tmp_path / "web.yml").write_text(text)
        return WebConfigFile(tmp_path / "web.yml")

    return write


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """Makes certificates: NAME.crt and NAME.key, signed by a CA, whose own are ca.crt and ca.key."""
    directory = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    ca = [
        *("-addext", "basicConstraints=critical,CA:TRUE"),
        *("-addext", "keyUsage=critical,keyCertSign"),
    ]
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", *ca)
    for name, alternative in (
        ("server", "IP:127.0.0.1"),
        ("other", "IP:127.0.0.1"),
        ("client", "DNS:scraper"),
    ):
        extensions = directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternative}\nauthorityKeyIdentifier=keyid\n")
        openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-out", f"{name}.crt", "-extfile", extensions.name),
        )
    return directory


def get(url: str, *, user: str | None = None, context: ssl.SSLContext | None = None):
    request = urllib.request.Request(url)
    if user is not None:
        request.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=20, context=context) as response:
            return response.status, response.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers


def test_an_empty_file_requires_no_authentication(open_endpoint, web_config) -> None:
    endpoint = open_endpoint(web_config=web_config(""))

    assert get(endpoint.url + "/metrics")[0] == 200


@pytest.mark.parametrize(
    ("user", "status"),
    [
        ("prometheus:secret", 200),
        ("prometheus:wrong", 401),
        ("prometheus:", 401),
        ("unknown:secret", 401),
        ("prometheus", 401),
        ("prometheus:se\0cret", 401),
        ("prometheus:" + "x" * 5000, 401),
        ("prom\udcff:secret".encode("utf-8", "surrogateescape").decode("latin-1"), 401),
        (None, 401),
    ],
)
@pytest.mark.parametrize("path", ["/", "/metrics", "/events", "/-/healthy", "/nothing"])
def test_every_page_requires_the_password(open_endpoint, web_config, user, status: int, path: str) -> None:
    endpoint = open_endpoint(web_config=web_config(USERS))

    found, headers = get(endpoint.url + path, user=user)

    assert found == (404 if (path, status) == ("/nothing", 200) else status)
    assert ("WWW-Authenticate" in headers) == (status == 401)


def test_with_passwords_it_listens_on_all_addresses(open_endpoint, web_config) -> None:
    open_endpoint("0.0.0.0", web_config=web_config(USERS))  # noqa: S104 - it is the test
    with pytest.raises(UnprotectedError):
        open_endpoint("0.0.0.0", web_config=web_config("rate_limit: {interval: 1s, burst: 5}"))  # noqa: S104


def test_an_accepted_password_is_hashed_only_the_first_time(open_endpoint, web_config, monkeypatch) -> None:
    checked = []
    monkeypatch.setattr(
        authenticator,
        "_matches",
        lambda password, *_: checked.append(password) or password == b"secret",
    )
    endpoint = open_endpoint(web_config=web_config(USERS))

    for _ in range(5):
        assert get(endpoint.url + "/metrics", user="prometheus:secret")[0] == 200
    assert checked == [b"secret"]
    for _ in range(2):
        assert get(endpoint.url + "/metrics", user="prometheus:wrong")[0] == 401
    assert checked == [b"secret", b"wrong", b"wrong"]


@pytest.mark.parametrize("user", ["cheap", "costly", "unknown"])
def test_a_check_takes_the_rounds_of_the_most_expensive_hash(
    open_endpoint, web_config, monkeypatch, user: str
) -> None:
    rounds = []

    def check(_password: bytes, stored: bytes) -> bool:
        rounds.append(2 ** int(stored[4:6]))
        return False

    monkeypatch.setattr(bcrypt, "checkpw", check)
    users = {"cheap": "$2b$04$" + "a" * 53, "costly": "$2y$07$" + "a" * 53}
    text = "basic_auth_users:\n" + "".join(f"  {name}: {stored}\n" for name, stored in users.items())
    endpoint = open_endpoint(web_config=web_config(text))

    assert get(endpoint.url + "/metrics", user=f"{user}:secret")[0] == 401
    assert sum(rounds) == 2**7


def test_the_number_of_waiting_checks_is_limited(open_endpoint, web_config, monkeypatch) -> None:
    finish = threading.Event()
    monkeypatch.setattr(authenticator, "_MAX_WAITING", 1)
    monkeypatch.setattr(authenticator, "_matches", lambda *_: finish.wait(20) and False)
    endpoint = open_endpoint(web_config=web_config(USERS))
    address = endpoint.url.removeprefix("http://").split(":")

    with socket.create_connection((address[0], int(address[1])), timeout=20) as guesser:
        guess = base64.b64encode(b"prometheus:1").decode()
        guesser.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {guess}\r\n\r\n".encode())
        while not endpoint._authenticator._waiting:
            pass
        assert get(endpoint.url + "/metrics", user="prometheus:2")[0] == 503
        finish.set()
        assert b" 401 " in guesser.recv(65536)


def test_a_change_applies_at_once_and_an_invalid_one_denies_access(open_endpoint, web_config) -> None:
    reported = []
    endpoint = open_endpoint(
        web_config=web_config(USERS), on_problem=lambda event, error: reported.append((event, error))
    )
    url = endpoint.url + "/metrics"
    assert get(url, user="prometheus:secret")[0] == 200

    web_config(f"basic_auth_users:\n  other: {hashed('word')}\n")
    assert get(url, user="prometheus:secret")[0] == 401
    assert get(url, user="other:word")[0] == 200

    with contextlib.suppress(WebConfigError):
        web_config("basic_auth_users: {other: plain}")
    assert get(url, user="other:word")[0] == 500
    assert get(url, user="other:word")[0] == 500
    ((event, error),) = reported
    assert event == "web_config_error"
    assert "basic_auth_users" in error
    assert "plain" not in error

    web_config(USERS)
    assert get(url, user="prometheus:secret")[0] == 200


def test_configured_headers_are_added(open_endpoint, web_config) -> None:
    text = (
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\n"
        "    Strict-Transport-Security: max-age=60\n"
    )
    endpoint = open_endpoint(web_config=web_config(text))

    headers = get(endpoint.url + "/metrics")[1]

    assert headers["X-Frame-Options"] == "deny"
    assert headers["Strict-Transport-Security"] == "max-age=60"


def test_the_rate_limit_is_a_token_bucket(open_endpoint, web_config) -> None:
    endpoint = open_endpoint(web_config=web_config("rate_limit: {interval: 1h, burst: 3}"))

    assert [get(endpoint.url + "/metrics")[0] for _ in range(5)] == [200, 200, 200, 429, 429]


TLS_FILES = "tls_server_config:\n  cert_file: {0}/server.crt\n  key_file: {0}/server.key\n"


@needs_openssl
def test_tls_and_a_renewed_certificate(open_endpoint, web_config, authority: Path, tmp_path: Path) -> None:
    for end in ("crt", "key"):
        shutil.copy(authority / f"server.{end}", tmp_path)
    endpoint = open_endpoint(web_config=web_config(TLS_FILES.format(".")))
    trusted = ssl.create_default_context(cafile=str(authority / "ca.crt"))
    address = endpoint.url.removeprefix("https://").split(":")

    def subject() -> object:
        with (
            socket.create_connection((address[0], int(address[1])), timeout=20) as plain,
            trusted.wrap_socket(plain, server_hostname=address[0]) as client,
        ):
            assert client.version() == "TLSv1.3"
            return client.getpeercert()["subject"]

    assert endpoint.url.startswith("https://")
    assert get(endpoint.url + "/metrics", context=trusted)[0] == 200
    with pytest.raises(OSError, match=r"(?i)closed|reset"):
        get(endpoint.url.replace("https", "http") + "/metrics")
    assert subject() == ((("commonName", "server"),),)
    for end in ("crt", "key"):
        shutil.copy(authority / f"other.{end}", tmp_path / f"server.{end}")
    assert subject() == ((("commonName", "other"),),)


@needs_openssl
def test_client_certificates(open_endpoint, web_config, authority: Path) -> None:
    text = TLS_FILES.format(authority) + (
        f"  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: {authority}/ca.crt\n"
    )
    endpoint = open_endpoint("0.0.0.0", web_config=web_config(text))  # noqa: S104 - it is protected
    url = endpoint.url.replace("0.0.0.0", "127.0.0.1") + "/metrics"  # noqa: S104
    anonymous = ssl.create_default_context(cafile=str(authority / "ca.crt"))
    scraper = ssl.create_default_context(cafile=str(authority / "ca.crt"))
    scraper.load_cert_chain(authority / "client.crt", authority / "client.key")

    with pytest.raises(OSError, match=r"(?i)certificate|reset|eof|closed"):
        get(url, context=anonymous)
    assert get(url, context=scraper)[0] == 200

    web_config(text + "  client_allowed_sans: [other]\n")
    assert get(url, context=scraper)[0] == 403
    web_config(text + "  client_allowed_sans: [other, scraper]\n")
    assert get(url, context=scraper)[0] == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("basic_auth_users: {a: secret}", "basic_auth_users: invalid; allowed: a table of user names"),
        ("basic_auth_users: [a]", "basic_auth_users: invalid"),
        ("basic_auth_user: {}", "unknown key basic_auth_user"),
        ("tls_server_config: {cert: x}", "tls_server_config.cert: is not supported"),
        ("tls_server_config: {cert_file: x}", "tls_server_config.key_file: is missing"),
        ("tls_server_config: {cert_file: x, key_file: y}", "no such file"),
        (
            "tls_server_config: {cert_file: web.yml, key_file: web.yml}",
            "tls_server_config.cert_file: invalid PEM",
        ),
        ("tls_server_config: {cert_file: x, key_file: y, min_version: TLS09}", "min_version"),
        (
            "tls_server_config: {cert_file: x, key_file: y, min_version: TLS13, max_version: TLS12}",
            "is above",
        ),
        (
            "tls_server_config: {cert_file: x, key_file: y, client_auth_type: RequireAnyClientCert}",
            "unverified",
        ),
        (
            "tls_server_config: {cert_file: x, key_file: y, client_auth_type: RequireAndVerifyClientCert}",
            "authorities to trust",
        ),
        ("tls_server_config: {cert_file: x, key_file: y, client_ca_file: z}", "requires client_auth_type"),
        (
            "tls_server_config: {cert_file: x, key_file: y, client_allowed_sans: [a]}",
            "requires client_auth_type",
        ),
        ("tls_server_config: {cert_file: x, key_file: y, curve_preferences: [P256]}", "is not supported"),
        ("rate_limit: {interval: soon}", "rate_limit.interval: invalid; allowed: a duration"),
        ("rate_limit: {interval: 1s, burst: -1}", "rate_limit.burst"),
        ("http_server_config: {headers: {X-Other: a}}", "unknown key X-Other"),
        ('http_server_config: {headers: {X-XSS-Protection: "a\\nb"}}', "X-XSS-Protection"),
        ("{", "invalid YAML"),
        ("[1]", "the file: "),
        ("!!python/object/apply:os.system [true]", "invalid YAML"),
        ("a: &a [*a]", "unknown key"),
    ],
)
def test_an_invalid_file_is_reported_in_one_line(web_config, tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(WebConfigError) as caught:
        web_config(text)

    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 'web.yml'}: ")
    assert words in line
    assert "\n" not in line
    assert "secret" not in line.replace("secret:", "")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WebConfigError, match="cannot be read: no such file"):
        WebConfigFile(tmp_path / "nothing.yml")


@needs_openssl
def test_cipher_suites_have_iana_names(web_config, authority: Path) -> None:
    suites = (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_RSA_WITH_AES_256_GCM_SHA384",
    )
    text = TLS_FILES.format(authority) + f"  cipher_suites: [{', '.join(suites)}]\n"
    current = web_config(text).current()
    assert current.tls is not None

    names = {cipher["name"] for cipher in current.tls.get_ciphers() if cipher["protocol"] != "TLSv1.3"}

    assert names == {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305", "AES256-GCM-SHA384"}
    with pytest.raises(WebConfigError, match="cipher_suites"):
        web_config(TLS_FILES.format(authority) + "  cipher_suites: [TLS_NONE_SUCH]\n")
