"""Renewed certificates: nginx reads files only when it is told to, so a sweep tells it once they are others.

A handler whose user may not look at them asks nginx what it presents instead. In the last third of a certificate's
time, when certbot has renewed it or is about to, nginx is told to read its files once in twelve hours.
"""

import time
from collections.abc import Mapping

from lictor import errors
from lictor.adapters import files, log
from lictor.routing.tls import certificate, handshake, hosts, record
from lictor.routing.tls.record import Record
from lictor.spec.settings import Nginx, Settings

_ASK_EVERY_S = 3600.0
_REREAD_EVERY_S = 12 * 3600.0
_TRY_AGAIN_AFTER_S = 300.0


def follow(settings: Settings) -> None:
    """Have nginx read renewed certificates. Raises Refused, saying why, for as long as it does not take them, and
    Unavailable while it is not there."""
    if not settings.nginx or not settings.nginx.certificate:
        return
    before, now_s = record.read(settings.state_dir), time.time()
    stamps = {host: certificate.stamp(settings.nginx, certificate.of_host(settings.nginx, host))
              for host in hosts.list_in_force(settings.nginx.conf_dir)}
    known = before._replace(confirmed=_confirmed(settings.nginx, before, stamps))
    due = [host for host, stamp in stamps.items() if stamp and known.confirmed.get(host) != stamp
           and not certificate.explain_unusable(settings.nginx, certificate.of_host(settings.nginx, host))]
    asked, aged = _ask(settings.nginx, before, [host for host, stamp in stamps.items() if stamp is None], now_s)
    known = known._replace(asked=asked)
    try:
        if due or aged:
            known = _reread(settings, known, stamps, [*due, *aged], now_s)
    finally:
        record.write(settings.state_dir, known)
    if known.refused:
        raise errors.Refused(known.refused)


def _confirmed(settings: Nginx, before: Record, stamps: Mapping[str, str | None]) -> dict[str, str]:
    """Return the files that nginx has read: those of a server that was made when they were there already, too."""
    confirmed = {host: stamp for host, stamp in before.confirmed.items() if stamps.get(host)}
    for host in stamps.keys() - before.confirmed.keys():
        pair = certificate.of_host(settings, host)
        made_at = files.modified_ns(hosts.server_path(settings.conf_dir, host)) / 1e9
        if (stamp := stamps[host]) and certificate.newest_change(pair) < made_at:
            confirmed[host] = stamp
    return confirmed


def _ask(settings: Nginx, before: Record, unseen: list[str], now_s: float) -> tuple[dict[str, float], list[str]]:
    """Ask nginx for the certificates whose files cannot be seen; returns when each was asked for, and those that may
    have been renewed."""
    asked, aged = dict[str, float](), list[str]()
    for host in unseen:
        asked[host] = before.asked.get(host, 0.0)
        if not 0 <= now_s - asked[host] < _ASK_EVERY_S:
            asked[host] = now_s
            try:
                if handshake.read_presented(settings.conf_dir, host).is_nearly_over(now_s):
                    aged.append(host)
            except errors.Unavailable as error:  # the others are asked all the same
                log.event("certificate", host=host, outcome="unknown", reason=error)
    return asked, aged if not 0 <= now_s - before.reread_at < _REREAD_EVERY_S else []


def _reread(settings: Settings, known: Record, stamps: Mapping[str, str | None], due: list[str],
            now_s: float) -> Record:
    """Reload nginx, unless it has just refused these very files."""
    from lictor.routing import publish

    about = " ".join(f"{host} {stamps[host]}" for host in due)
    if known.refused and known.refused_stamps == about and 0 <= now_s - known.refused_at < _TRY_AGAIN_AFTER_S:
        return known
    try:
        publish.reread(settings)
    except errors.Refused as error:
        log.event("certificate", host=" ".join(due), outcome="refused", reason=error)
        return known._replace(refused=f"the certificate of {', '.join(due)}: {error}"[:1000], refused_stamps=about,
                              refused_at=now_s)
    log.event("certificate", host=" ".join(due), outcome="done", reason="it was renewed, or may have been")
    return Record({host: stamp for host, stamp in stamps.items() if stamp}, known.asked, now_s)
