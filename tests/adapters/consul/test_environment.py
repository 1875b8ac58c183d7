"""The CONSUL_* variables, one by one; that they lead to Consul is shown by test_consul_http."""

import os
from pathlib import Path

import pytest

from lictor import errors
from lictor.adapters.consul.environment import Source, read_environment

SECRET = "5f8b1c9e-secret"


@pytest.mark.parametrize(("given", "ssl", "address"), [
    ("", "", "http://127.0.0.1:8500"),
    ("consul.example.com:8501", "", "http://consul.example.com:8501"),
    ("consul.example.com", "", "http://consul.example.com:80"),
    ("http://10.0.0.1:1/", "false", "http://10.0.0.1:1"),
    ("10.0.0.1:1", "true", "https://10.0.0.1:1"),
    ("http://10.0.0.1:1", "1", "https://10.0.0.1:1"),
    ("https://10.0.0.1:1", "0", "https://10.0.0.1:1"),
    ("https://consul.example.com", "", "https://consul.example.com:443"),
    ("[::1]:8500", "", "http://[::1]:8500"),
    ("https://[fe80::1]", "", "https://[fe80::1]:443"),
    ("unix:///run/consul.sock", "true", "unix:///run/consul.sock"),
    (" 10.0.0.1:1\r\n", " true\n", "https://10.0.0.1:1"),
])
def test_every_form_of_address_is_understood(given: str, ssl: str, address: str) -> None:
    environment = read_environment({"CONSUL_HTTP_ADDR": given, "CONSUL_HTTP_SSL": ssl}, None)
    assert str(environment.endpoint) == address
    assert (environment.endpoint.tls is not None) == address.startswith("https:")


@pytest.mark.parametrize(("variable", "given"), [
    *(("CONSUL_HTTP_ADDR", each) for each in (
        "ftp://host:1", "host:", "host:0", "host:65536", "host:８５００", "::1:8500", "[::1", "host:1/path", "a b:1",
        "host:1\r\nX: y", "unix://relative", "://host:1", "a://b://c", "http://", "http://host:1?token=x")),
    *(("CONSUL_HTTP_SSL", each) for each in ("yes", "on", "TRue")),
    ("CONSUL_HTTP_SSL_VERIFY", "no"), ("CONSUL_CACERT", "/nowhere.pem"), ("CONSUL_CAPATH", "/nowhere"),
    ("CONSUL_CLIENT_CERT", "/only-one.pem"), ("CONSUL_CLIENT_KEY", "/only-one.pem"),
    ("CONSUL_HTTP_TOKEN", "two words"), ("CONSUL_HTTP_TOKEN", "injected\r\nX-Other: 1"), ("CONSUL_HTTP_TOKEN", "ü"),
])
def test_a_bad_value_is_refused_by_the_name_of_its_variable(variable: str, given: str) -> None:
    with pytest.raises(errors.Refused, match=variable) as caught:
        read_environment({"CONSUL_HTTP_ADDR": "https://localhost:1", variable: given}, None)
    assert variable != "CONSUL_HTTP_TOKEN" or given not in str(caught.value)


def test_a_password_in_the_address_is_not_repeated() -> None:
    with pytest.raises(errors.Refused) as caught:
        read_environment({"CONSUL_HTTP_ADDR": f"http://me:{SECRET}@host:1"}, None)
    assert SECRET not in str(caught.value)


def test_a_user_and_password_become_a_header() -> None:
    headers = read_environment({"CONSUL_HTTP_AUTH": "me:pass:word"}, None).headers
    assert headers == {"Authorization": "Basic bWU6cGFzczp3b3Jk"}


def test_a_token_file_wins_and_is_read_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explicit, named = tmp_path / "explicit", tmp_path / "named"
    for path, text in ((explicit, f" {SECRET}\n"), (named, "named\n")):
        path.touch(0o600)
        path.write_text(text)
    environ = {"CONSUL_HTTP_TOKEN": "plain"}

    def token(path: Path | None = None) -> str:
        return read_environment(environ, str(path) if path else None).headers["X-Consul-Token"]

    assert token() == "plain"
    environ["CONSUL_HTTP_TOKEN_FILE"] = str(named)
    assert token() == "named"
    assert token(explicit) == SECRET
    explicit.write_text("\ufeffrenewed\r\n")
    assert token(explicit) == "renewed"
    assert capsys.readouterr().err == ""


def test_a_token_file_that_everybody_can_read_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "token"
    path.write_text(SECRET)
    os.chmod(path, 0o644)
    assert read_environment({}, str(path)).headers == {"X-Consul-Token": SECRET}
    warned = capsys.readouterr().err
    assert str(path) in warned and "warning=" in warned and SECRET not in warned


@pytest.mark.parametrize("content", [None, "", "\n", "two\nlines", "\udcff"])
def test_a_token_file_without_a_token_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
        path.chmod(0o600)
    with pytest.raises(errors.Refused, match=str(path)) as caught:
        read_environment({"CONSUL_HTTP_TOKEN": "not instead"}, str(path))
    assert "lines" not in str(caught.value)


def replace(path: Path, text: str | None, *, at_ns: int) -> None:
    """Replace a file as an operator does, in place or by a rename; None: it is away for a moment."""
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
        os.utime(path, ns=(at_ns, at_ns))


@pytest.mark.parametrize(("texts", "tokens"), [
    (["old", "new"], ["old", "new"]), (["old\n", " new \n"], ["old", "new"]),
    (["old", None, "new"], ["old", "old", "new"]), (["old", "", "new"], ["old", "old", "new"]),
    (["old", "two\nlines", "new"], ["old", "old", "new"]), (["old", "ü", "old"], ["old", "old", "old"]),
    (["old", "old", "new"], ["old", "old", "new"]),
])
def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path, texts: list[str | None],
                                                    tokens: list[str]) -> None:
    path = tmp_path / "token"
    path.write_text(texts[0] or "")
    source = Source({}, str(path))
    for number, (text, token) in enumerate(zip(texts, tokens, strict=True)):
        replace(path, text, at_ns=10**18 + number)
        assert source.current().headers == {"X-Consul-Token": token}
    assert source.token_changes == len(set(tokens)) - 1


def test_upon_a_403_the_file_counts_whatever_its_time_says(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old")
    source = Source({"CONSUL_HTTP_TOKEN_FILE": str(path)}, None)
    at_ns = path.stat().st_mtime_ns
    assert not source.read_again()
    replace(path, "new", at_ns=at_ns)
    assert source.current().headers == {"X-Consul-Token": "old"}
    assert source.read_again() and source.current().headers == {"X-Consul-Token": "new"}


@pytest.mark.parametrize("variable", ["CONSUL_CACERT", "CONSUL_CAPATH"])
def test_certificates_are_read_again_when_they_change(tmp_path: Path, variable: str) -> None:
    folder = tmp_path / "certificates"
    folder.mkdir()
    path = folder / "ca.pem"
    pem = Path("/etc/ssl/certs/ca-certificates.crt").read_text()
    path.write_text(pem)
    named = path if variable == "CONSUL_CACERT" else folder
    source = Source({"CONSUL_HTTP_ADDR": "https://localhost:1", variable: str(named)}, None)
    before = source.current().endpoint.tls
    assert before and source.current().endpoint.tls is before
    path.write_text(pem + "\n")
    after = source.current().endpoint.tls
    assert after is not before
    path.write_text("half of a certif")
    assert source.current().endpoint.tls is after and source.token_changes == 0
