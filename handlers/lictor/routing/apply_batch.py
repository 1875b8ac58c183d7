"""One publication: its services, the files that they need, and having nginx take these.

All files are tried at once, else by halves, so that a file which nginx refuses blocks no other service.
"""

import functools
import time
from collections.abc import Iterable, Set
from typing import TYPE_CHECKING, Any, NamedTuple

from lictor import errors
from lictor.adapters import log, tally
from lictor.adapters.text import describe_error
from lictor.routing import nginx, nginx_mode, route_store
from lictor.routing.conf import service_files
from lictor.routing.peers import PublishedRoute
from lictor.spec.settings import Nginx, Settings

if TYPE_CHECKING:
    from lictor.routing.templates import Templates
    from lictor.routing.tls.hosts import Hosts


class Change(NamedTuple):
    """Files of one service, and what is published of it once nginx has confirmed them."""

    files: service_files.ConfFiles
    target: PublishedRoute


class Batch:
    """The services that a publication may have to do with, as it found them, and how far it has come with each: the
    suspects, and all that is unconfirmed. It does not read the others' files, of which there may be thousands.

    `published` stays as it was found until `reread`, so that nothing is confirmed of a decision that came meanwhile.
    """

    def __init__(self, settings: Settings, nginx_settings: Nginx, suspects: Set[str]) -> None:
        self.settings, self.nginx_settings = settings, nginx_settings
        self.state_dir, self.conf_dir, self.mode = (
            settings.state_dir, nginx_settings.conf_dir, nginx_mode.read(settings).name)
        self.routes = self._read_routes({*suspects, *route_store.unconfirmed(self.state_dir)})
        self.published = {name: published for name in self.routes
                          if (published := route_store.published(self.state_dir, name))}
        self.confirmed: list[str] = []
        self.in_place: set[str] = set()  # what nginx confirmed before is there as it should be
        self.refused: dict[str, str] = {}  # by nginx, each with the reason
        self.invalid: dict[str, str] = {}  # by lictor itself, without asking nginx

    @functools.cached_property
    def all_routes(self) -> dict[str, dict[str, Any]]:
        """Every route of this node: what has to be rendered may depend on others."""
        others = set(route_store.names(self.state_dir)) - self.routes.keys()
        return {**self._read_routes(others), **self.routes}

    def _read_routes(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        return {name: route for name in sorted(names) if (route := route_store.route(self.state_dir, name))}

    def mark(self, name: str, **fields: object) -> None:
        route_store.mark(self.state_dir, name, self.published[name], **fields)

    def reread(self, names: Iterable[str]) -> None:
        for name in names:
            self.published[name] = route_store.published(self.state_dir, name) or self.published[name]

    def is_settled(self, name: str) -> bool:
        return route_store.is_settled(self.routes[name], self.mode, self.published[name])

    def is_refused(self, name: str) -> bool:
        """Whether the route of the service was refused before."""
        return route_store.is_refused(self.routes[name], self.mode, self.published[name])

    def refused_before(self) -> dict[str, PublishedRoute]:
        """Find the services whose routes were refused before: those of the batch, and of the others those that share
        more of a host than its server, its other names or TLS. Any other one that was refused is in the batch."""
        sharing = {name for name, service in self.all_routes.items() if _shares_host(service)} - self.published.keys()
        found = {**self.published, **{name: route_store.published(self.state_dir, name) for name in sharing}}
        return {name: each for name, each in found.items()
                if each and route_store.is_refused(self.all_routes[name], self.mode, each)}

    def earlier_routes(self) -> dict[str, list[dict[str, Any]]]:
        """Return the routes in force of the services whose present ones were refused before."""
        places = {name: each.places[0] for name, each in self.refused_before().items()}
        return {name: route_store.routes_at(place) if place else [] for name, place in places.items()}

    def templates(self, mode: str) -> "Templates":
        from lictor.routing import templates  # with Jinja2, which takes longer to load than other peers take

        return templates.templates(self.settings.templates_dir, self.nginx_settings, live=mode == "live",
                                   lua_modules=self._lua_modules if self.measured else None)

    def hosts(self) -> "Hosts":
        """Decide which hosts have TLS; raises Unavailable if nginx does not tell what it can."""
        from lictor.routing.tls.hosts import Hosts  # as above

        return Hosts(self.settings, lambda: self.templates(self.mode), self.all_routes, self.refused_before().keys())

    @functools.cached_property
    def measured(self) -> service_files.Measured:
        return service_files.measured_of(self.all_routes)

    @functools.cached_property
    def _lua_modules(self) -> tuple[str, ...] | None:
        from lictor.routing import user_servers  # which other peers do without

        modules, lack = user_servers.find_lua(self.nginx_settings)
        return None if lack else modules

    def check(self, changes: dict[str, Change], mode: str) -> dict[str, Change]:
        """Return the changes that nginx accepts, those of a service by itself. It is asked only about files that are
        new to it, and not about other peers."""
        new = [change.files for change in changes.values()
               if change.files.upstream and change.files.is_new_to_nginx(self.conf_dir)]
        if not new:
            return changes
        try:
            upstreams, staged = service_files.staged(self.conf_dir, new)
            nginx.check(self.nginx_settings, self.templates(mode).text(
                "check.conf.j2", run_dir=f"{self.conf_dir}/{nginx.RUN}", upstreams=upstreams,
                locations=[text for files in new for text in files.locations]), staged)
            return changes
        except errors.Refused as error:
            if len(changes) > 1:
                return {name: change for half in _halves(changes) for name, change in self.check(half, mode).items()}
            log.event("publish", service=" ".join(changes), outcome="refused", reason=error)
            self.refused.update(dict.fromkeys(changes, str(error)))
        except errors.Unavailable as error:
            log.event("publish", service=" ".join(changes), outcome="waits", reason=error)
        return {}

    def serve(self, changes: dict[str, Change], *, is_to_blame: bool = False) -> list[str]:
        """Swap the files in and reload; return the services of which nginx serves them. What it does not serve is
        rolled back, and if it `is_to_blame` tried again by halves."""
        if not changes:
            return []
        began, listed = time.monotonic(), " ".join(changes)
        changes = {name: change for name, change in changes.items() if self._begin(name, change.target)}
        new = [name for name, change in changes.items() if change.files.is_new_to_nginx(self.conf_dir)]
        try:
            merged = service_files.merged(self.conf_dir, [change.files for change in changes.values()])
            if merged.get(service_files.LOG):
                from lictor.routing.traffic import access_log  # with msgspec, and a log is rarely needed

                access_log.make(self.conf_dir)
            nginx.await_idle(self.nginx_settings)
            nginx.swap(self.conf_dir, merged)
            self._require_names([changes[name].files for name in new])
            generation = nginx.reload(self.nginx_settings)
        except errors.Unavailable as error:
            if new and not self._is_accepted(if_unknown=False):  # nginx is not there, and might not start with them
                self._take_back(changes)
            else:
                nginx.settle(self.conf_dir)
            log.event("publish", service=listed, outcome="waits", reason=error)
            tally.count("reloads", "unconfirmed")
            return []
        except OSError as error:  # of one of the files, which is no file, say
            self._take_back(changes)
            refusal = errors.Refused(f"its files cannot be written: {describe_error(error)}")
            return self._serve_less(changes, new, refusal, is_to_blame=True)
        except errors.Refused as error:
            self._take_back(changes)
            return self._serve_less(changes, new, error, is_to_blame=is_to_blame)
        nginx.settle(self.conf_dir)
        tally.count("reloads", "confirmed")
        tally.time_taken("reload", time.monotonic() - began)
        for name, (_, target) in changes.items():
            self.mark(name, confirmed=target.confirmed, generation=generation, places=target.places,
                      refusal=target.refusal)
        log.event("publish", service=listed, outcome="done", generation=generation,
                  ms=round(1000 * (time.monotonic() - began)))
        return list(changes)

    def _require_names(self, some: list[service_files.ConfFiles]) -> None:
        """Raise Refused if nginx, which swallows that, would give other servers the names of new ones."""
        if some and nginx.can_validate_main_conf(self.nginx_settings):
            from lictor.routing import user_servers  # as above

            user_servers.require_names(self.nginx_settings, {
                name for files in some for text in files.servers.values() for server in user_servers.of_text(text)
                for name in server.names})

    def _serve_less(self, changes: dict[str, Change], new: list[str], error: errors.Refused, *,
                    is_to_blame: bool) -> list[str]:
        """Go on after nginx has refused these changes, which are taken back."""
        tally.count("reloads", "rolled_back")
        listed = " ".join(changes)
        if not is_to_blame and not self._is_accepted(if_unknown=True):
            log.event("publish", service=listed, outcome="waits", reason=f"without the new files too, {error}")
            return []
        if len(changes) > 1:
            return [name for half in _halves(changes) for name in self.serve(half, is_to_blame=True)]
        log.event("publish", service=listed, outcome="rolled-back", reason=error)
        self.refused.update(dict.fromkeys(new, str(error)))  # other peers alone are nothing to refuse
        return []

    def _begin(self, name: str, target: PublishedRoute) -> bool:
        """Write that from now on nginx may be serving either files; returns whether that was possible. If both take
        their peers from the running nginx, these go on being set and confirmed."""
        published = self.published[name]
        is_noted = published.places[1:] and {*target.places} <= {*published.places}
        begun = published if is_noted else published._replace(places=published.places + target.places)
        unsure = {} if route_store.mode_served(begun) == "live" else {"confirmed": False}
        try:
            self.mark(name, places=begun.places, **unsure)
        except OSError as error:
            log.event("publish", service=name, outcome="failed", reason=error)
            return False
        return True

    def _take_back(self, changes: dict[str, Change]) -> None:
        nginx.take_back(self.conf_dir)
        for name, (_, target) in changes.items():
            published = self.published[name]
            if target.places != published.places:  # else it is not settled: the files there may be to blame
                self.mark(name, places=published.places, confirmed=published.confirmed)

    def _is_accepted(self, *, if_unknown: bool) -> bool:
        """Whether nginx accepts its whole configuration with the files as they are."""
        try:
            if nginx.can_validate_main_conf(self.nginx_settings):
                nginx.validate(self.nginx_settings, self.nginx_settings.main_conf)
                return True
            return if_unknown
        except errors.LictorError:
            return False


def _shares_host(service: dict[str, Any]) -> bool:
    return any(route["aliases"] or "tls" in route["options"] for route in service["routes"])


def _halves(changes: dict[str, Change]) -> list[dict[str, Change]]:
    """Halve the changes: among thousands, one is found in a dozen tries."""
    names = list(changes)
    return [{name: changes[name] for name in part} for part in (names[:len(names) // 2], names[len(names) // 2:])]
