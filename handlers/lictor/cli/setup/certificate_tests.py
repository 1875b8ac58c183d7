"""The test of certificates for `lictor doctor`: nginx presents one for each host that is to have TLS. It holds all
names of the host, and is valid for a while yet."""

import os
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from lictor import errors
from lictor.adapters import files
from lictor.cli.setup.findings import Remark, Untested
from lictor.routing import route_store
from lictor.routing.tls import certificate, handshake, hosts
from lictor.routing.tls.leaf import Leaf
from lictor.spec.settings import Nginx, Settings

_SOON_S = 14 * 86_400.0
_REMEDY = "renew it with all names, and have certbot tell nginx: certbot renew --deploy-hook 'nginx -s reload'"


def is_needed(settings: Settings, server: Nginx) -> bool:
    """Decide whether certificates are a matter of this node."""
    return bool(server.certificate or server.acme_webroot or hosts.gather_wishes(*_routes(settings).values()))


def examine(settings: Settings, server: Nginx) -> str:
    """Ask nginx for the certificate of each host; raises Refused for what clients do not take, Remark for the rest."""
    routes = _routes(settings)
    wishes = hosts.gather_wishes(*routes.values())
    failed = [f"{name}: {why}" for name, why in hosts.explain_refused(settings, routes).items()]
    remarks = [*_list_deaf(server)]
    for host in () if server.container else filter(partial(hosts.is_in_force, server.conf_dir), wishes):
        try:
            presented = handshake.read_presented(server.conf_dir, host)
        except errors.Unavailable as error:
            failed.append(str(error))
            continue
        if presented.ends < time.time():
            failed.append(f"{host}: its certificate has expired, on {_date(presented)}")
        remarks += _remark(server, host, presented, _names(routes, host))
    if failed:
        raise errors.Refused("; ".join([*failed, *remarks]))
    if server.container and wishes:
        raise Untested("nginx is in a container, so where it listens is not known here")
    if remarks:
        raise Remark("; ".join(remarks), _REMEDY)
    return f"hosts with TLS: {len(wishes)}; nginx presents a certificate for each"


def _routes(settings: Settings) -> dict[str, dict[str, Any]]:
    found = {name: route_store.route(settings.state_dir, name) for name in route_store.names(settings.state_dir)}
    return {name: route for name, route in found.items() if route and not route["removed"]}


def _names(routes: Mapping[str, Mapping[str, Any]], host: str) -> list[str]:
    """List the names of a host, by all its routes."""
    return sorted({host, *(alias for service in routes.values() for each in service["routes"] if each["host"] == host
                           for alias in each["aliases"])})


def _remark(server: Nginx, host: str, presented: Leaf, names: list[str]) -> Iterator[str]:
    now_s, pair = time.time(), certificate.of_host(server, host)
    if now_s < presented.ends < now_s + _SOON_S and presented.is_nearly_over(now_s):
        yield f"{host}: its certificate ends on {_date(presented)}"
    if uncovered := presented.list_uncovered(names):
        yield f"{host}: its certificate does not hold {', '.join(uncovered)}"
    if path := certificate.find_unseen(pair):
        yield f"{host}: {path} may not be read by this user, so a renewal is noticed up to twelve hours late"
    elif certificate.read_leaf(pair) not in (presented, None):
        yield f"{host}: nginx has not read the newer {pair.certificate} yet"


def _list_deaf(server: Nginx) -> Iterator[str]:
    """Yield the hosts whose servers, by a template of the user's, do not answer challenges."""
    folder = os.path.join(server.conf_dir, "servers")
    for name in sorted(os.listdir(folder)) if server.acme_webroot else ():
        text = files.read(os.path.join(folder, name)) if name.endswith(".conf") and name[0] != "-" else None
        if text and "/.well-known/acme-challenge/" not in text:
            yield (f"{name.removesuffix('.conf')}: templates/server.conf.j2 has no location for "
                   "/.well-known/acme-challenge/, so acme_webroot is of no use")


def _date(leaf: Leaf) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(leaf.ends))
