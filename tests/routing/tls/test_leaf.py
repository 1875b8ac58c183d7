"""What a certificate says of itself, by its bytes alone."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lictor.routing.tls import leaf
from lictor.routing.tls.leaf import Leaf

BEGIN, END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_CONFIG = """
[ca]
default_ca = own
[own]
dir = {folder}
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
[req]
distinguished_name = none
[none]
"""


def issue(folder: Path, begins: str, ends: str) -> str:
    """Issue a certificate by OpenSSL's own authority, which takes any time."""
    (folder / "index").write_text("")
    (folder / "ca.conf").write_text(_CONFIG.format(folder=folder))
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-config", "ca.conf", "-keyout", "key", "-out", "request", "-subj", "/CN=a.example.com"],
                   check=True, capture_output=True, cwd=folder)
    subprocess.run(["openssl", "ca", "-config", "ca.conf", "-selfsign", "-keyfile", "key", "-in", "request", "-batch",
                    "-out", "pem", "-notext", "-startdate", begins, "-enddate", ends, *(
                        ["-extfile", "names"] if (folder / "names").exists() else [])],
                   check=True, capture_output=True, cwd=folder)
    return (folder / "pem").read_text()


@pytest.mark.parametrize(("begins", "ends", "seconds"), [
    ("20010101000000Z", "20491231235959Z", (978307200, 2524607999)),
    ("19700101000000Z", "20510101000000Z", (0, 2556144000))])
def test_times_of_either_form(tmp_path: Path, begins: str, ends: str, seconds: tuple[float, float]) -> None:
    found = leaf.of_pem(f"# a comment\n{issue(tmp_path, begins, ends)}\n{BEGIN}\nrest")
    assert (found.begins, found.ends) == seconds and found.names == ()


def test_names_are_the_alternative_ones(tmp_path: Path) -> None:
    (tmp_path / "names").write_text(
        "subjectAltName=DNS:A.example.com,IP:10.0.0.1,email:a@example.com,DNS:*.b.example.com\n"
        "keyUsage=critical,digitalSignature\n")
    found = leaf.of_pem(issue(tmp_path, "20200101000000Z", "20300101000000Z"))
    assert found.names == ("a.example.com", "*.b.example.com")


@pytest.mark.parametrize(("name", "is_covered"), [
    ("a.example.com", True), ("x.b.example.com", True), ("*.b.example.com", True), ("b.example.com", False),
    ("x.y.b.example.com", False), ("*.example.com", False), ("www.example.*", False), ("example.com", False)])
def test_names_that_a_client_takes_it_for(name: str, is_covered: bool) -> None:
    found = Leaf(("a.example.com", "*.b.example.com"), 0, 1).list_uncovered([name])
    assert found == ([] if is_covered else [name])


@pytest.mark.parametrize(("now_s", "is_over"), [(0, False), (60, False), (61, True), (90, True), (91, True)])
def test_the_last_third_of_its_time_is_when_it_is_renewed(now_s: float, is_over: bool) -> None:
    assert Leaf((), 0, 90).is_nearly_over(now_s) is is_over


_SOME = st.recursive(st.binary(max_size=20), lambda inner: st.builds(
    lambda tag, parts: bytes([tag, min(len(parts), 127)]) + parts[:127],
    st.sampled_from([0x02, 0x04, 0x17, 0x18, 0x30, 0x82, 0xA0, 0xA3]), st.lists(inner, max_size=6).map(b"".join)))


@given(_SOME)
@example(b"")
@example(b"\x30\x84\xff\xff\xff\xff")
@example(b"\x30\xff")
@example(b"\x30")
def test_whatever_is_no_certificate_is_only_refused(der: bytes) -> None:
    with pytest.raises(ValueError, match="the certificate cannot be read"):
        leaf.of_der(der)


@pytest.mark.parametrize("text", ["", BEGIN, f"{BEGIN}\n{END}", f"{BEGIN}\n%%%\n{END}"])
def test_a_text_without_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="certificate"):
        leaf.of_pem(text)
