"""Renewed certificates are read by nginx, once, and nothing that it could not use gets in its way."""

import os
from pathlib import Path

import pytest

from lictor import errors
from lictor.routing import publish
from lictor.routing.tls import certificate, record, renewal
from lictor.spec.settings import Settings

from lab.daemon import wait_for
from lab.nginx import Nginx
from support.backend import Backend
from support.certificates import Authority, serial_number
from support.modes import in_both_modes
from support.routed import nginx_of
from support.secured import HOST, OTHER, issue, plain, put, refused, reloads, serve


@in_both_modes
def test_a_renewed_certificate_is_read_once_and_no_other_file_is(settings: Settings, authority: Authority,
                                                                 nginx: Nginx) -> None:
    pair, other = issue(settings, authority, HOST), issue(settings, authority, OTHER)
    with Backend("one") as one:
        put(settings, "other", one.port, host=OTHER, tls=True)
        serve(settings, "books", one.port, tls=True)
        before = reloads(nginx)
        renewal.follow(settings)
        assert reloads(nginx) == before, "nginx has read these when it was told of their host"
        os.utime(pair.certificate)
        authority.issue(*pair, HOST)
        authority.issue(*other, OTHER)
        renewal.follow(settings)
        assert authority.ask(HOST).number == serial_number(pair.certificate)
        assert authority.ask(OTHER).number == serial_number(other.certificate)
        renewal.follow(settings)
        publish.publish(settings, ["books", "other"])
        assert reloads(nginx) == before + 1


@in_both_modes
def test_a_link_that_leads_to_another_certificate_is_followed(settings: Settings, authority: Authority,
                                                              tmp_path: Path) -> None:
    """As certbot has them: files of each renewal in one folder, and links to the last ones in another."""
    pair = certificate.of_host(nginx_of(settings), HOST)
    os.makedirs(os.path.dirname(pair.certificate))
    for number in (1, 2):
        authority.issue(f"{tmp_path}/archive/{number}.pem", f"{tmp_path}/archive/{number}.key", HOST)
    for path, end in zip(pair, ("pem", "key"), strict=True):
        os.symlink(f"{tmp_path}/archive/1.{end}", path)
    with Backend("one") as one:
        serve(settings, "books", one.port, tls=True)
        renewal.follow(settings)
        for path, end in zip(pair, ("pem", "key"), strict=True):
            os.symlink(f"{tmp_path}/archive/2.{end}", f"{path}.new")
            os.replace(f"{path}.new", path)
        renewal.follow(settings)
        assert authority.ask(HOST).number == serial_number(f"{tmp_path}/archive/2.pem")
        authority.issue(f"{tmp_path}/archive/2.pem", f"{tmp_path}/archive/2.key", HOST)
        renewal.follow(settings)
        assert authority.ask(HOST).number == serial_number(f"{tmp_path}/archive/2.pem")


@in_both_modes
def test_what_was_read_before_lictor_kept_a_record_is_read_again_if_it_is_newer_than_its_server(
        settings: Settings, authority: Authority, nginx: Nginx) -> None:
    pair = issue(settings, authority, HOST)
    with Backend("one") as one:
        serve(settings, "books", one.port, tls=True)
        authority.issue(*pair, HOST)
        renewal.follow(settings)
        assert authority.ask(HOST).number == serial_number(pair.certificate)
        before = reloads(nginx)
        os.unlink(f"{settings.state_dir}/certificates.json")
        renewal.follow(settings)
        assert reloads(nginx) == before + 1, "once more does no harm"
        renewal.follow(settings)
        assert reloads(nginx) == before + 1


@in_both_modes
def test_a_renewal_half_way_takes_nothing_away(settings: Settings, authority: Authority, nginx: Nginx,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    """If it stays half-way, the host loses TLS in the end: with such files nginx takes no change of any service."""
    pair = issue(settings, authority, HOST)
    number = serial_number(pair.certificate)
    with Backend("one") as one, Backend("two") as two:
        serve(settings, "books", one.port, tls="redirect")
        renewal.follow(settings)
        before = reloads(nginx)
        authority.issue(f"{authority.folder}/new.pem", pair.key, HOST)
        renewal.follow(settings)
        publish.publish(settings, ["books"])
        assert reloads(nginx) == before and authority.ask(HOST).number == number and plain().status == 308
        why = f"key {pair.key} is not that of certificate {pair.certificate}"
        assert refused(settings) == {
            "books": f"its tls is refused: {why}. nginx goes on with the certificate that it has read"}
        os.replace(f"{authority.folder}/new.pem", pair.certificate)
        renewal.follow(settings)
        publish.publish(settings, ["books"])
        assert authority.ask(HOST).number == serial_number(pair.certificate) != number and not refused(settings)

        os.unlink(pair.certificate)
        put(settings, "other", two.port, host=OTHER)
        assert publish.publish(settings, ["books", "other"]) == []
        monkeypatch.setattr(certificate, "_AT_WORK_S", 0.0)
        assert publish.publish(settings, ["books", "other"]) == ["books", "other"]
        wait_for(lambda: plain().status == 200 and plain(OTHER).status == 200, "both are served without TLS")
        assert "serves it by plain HTTP" in refused(settings)["books"]
        issue(settings, authority, HOST)
        publish.publish(settings, ["books", "other"])
        wait_for(lambda: plain().status == 308, "it is as before")
        assert authority.ask(HOST).number == serial_number(pair.certificate)


@in_both_modes
def test_what_nginx_refuses_is_told_until_it_takes_it_and_tried_again_when_it_has_changed(
        settings: Settings, authority: Authority, nginx: Nginx, monkeypatch: pytest.MonkeyPatch) -> None:
    """lictor itself finds no fault here, as with files that it may not read."""
    pair = issue(settings, authority, HOST)
    with Backend("one") as one:
        serve(settings, "books", one.port, tls=True)
        renewal.follow(settings)
        monkeypatch.setattr(certificate, "explain_unusable", lambda *_: "")
        authority.issue(f"{authority.folder}/new.pem", pair.key, HOST)
        before = reloads(nginx)
        for _ in range(3):
            with pytest.raises(errors.Refused, match=f"^the certificate of {HOST}: nginx refuses it: .*{pair.key}"):
                renewal.follow(settings)
        tried = reloads(nginx)
        assert before < tried <= before + 2 and record.read(settings.state_dir).refused
        os.replace(f"{authority.folder}/new.pem", pair.certificate)
        renewal.follow(settings)
        assert authority.ask(HOST).number == serial_number(pair.certificate)
        assert not record.read(settings.state_dir).refused
