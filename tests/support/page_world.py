"""Fifty services in a real Consul, in every condition that the page may have to show, with hostile words among them."""

import json
import time
from typing import Any

from lictor import model
from lictor.planner import service_state
from lictor.planner.autoscale import kept as keeping
from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.traffic import Slice
from lictor.planner.observation import drain_text
from lictor.planner.service_state import Breaker, Failure, Release, Rollout, State, Trust
from lictor.routing.traffic import windows

from lab.consul import Consul

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
LONG = "registry.example.com/a-team-with-a-long-name/a-service-with-a-very-long-name-that-never-ends"


def fill(consul: Consul, count: int = 50) -> None:
    """Register two nodes, and services that are well beside those in special conditions, `count` or some more."""
    consul.register({"Name": "lictor", "ID": "lictor", "Port": 0})
    outside(consul, "lictor", "node-2", "lictor", "passing", alive=True)
    tell(consul, "node-1", pending=[f"held: would start held-3 {HOSTILE}", "held-2: of another one"])
    for name, put in CONDITIONS.items():
        put(consul, name)
    for number in range(count - len(CONDITIONS) + 2):
        well(consul, f"shop-{number}")


def tell(consul: Consul, node: str, **fields: Any) -> None:
    """What the last sweep of a node has told, held by a session, as sweeps go on."""
    session = consul.request("PUT", "/v1/session/create", {"TTL": "3600s", "Checks": []})["ID"]
    assert consul.request("PUT", f"/v1/kv/lictor/condition/{node}?acquire={session}", {
        "silence": "", "refused": {}, "unconfirmed": {}, "lines": [], "pending": [],
        "about": {"nginx": "reload", "engine": "Docker 20.10", "registered": "7"}, **fields})


def spec(consul: Consul, name: str, **changes: Any) -> None:
    consul.put(f"services/{name}/spec", json.dumps({
        "name": name, "node": "node-1", "image": f"{name}:1.0", "port": 8080, "route": {"path": f"/{name}"},
        "replicas": {"initial": 2, "min": 0, "max": 10}, **changes}))


def instance(consul: Consul, name: str, number: int, *, status: str = "passing", output: str = "", image: str = "",
             maintenance: str | None = None, tags: tuple[str, ...] = ()) -> None:
    """Register an instance with the agent, as a registrar does."""
    service_id = f"{name}-{number}"
    consul.register({
        "Name": name, "ID": service_id, "Address": "127.0.0.1", "Port": 8000 + number, "Tags": tags,
        "Meta": {model.META_ENGINE: "docker", model.META_CONTAINER: f"{name}{number}" * 3,
                 model.META_IMAGE: image or f"{name}:1.0"},
        "Check": {"CheckID": f"check:{service_id}", "Name": "answers", "TTL": "1h", "Status": status}})
    consul.request("PUT", f"/v1/agent/check/update/check:{service_id}", {"Status": status, "Output": output})
    if maintenance is not None:
        query = f"enable=true&reason={maintenance.replace(' ', '%20')}"
        consul.request("PUT", f"/v1/agent/service/maintenance/{service_id}?{query}")


def outside(consul: Consul, name: str, node: str, service_id: str, status: str, *, alive: bool) -> None:
    """Register on an external node, which may be lost."""
    consul.request("PUT", "/v1/catalog/register", {
        "Node": node, "Address": "127.0.0.1", "NodeMeta": {"external-node": "true"},
        "Service": {"Service": name, "ID": service_id, "Port": 8000, "Meta": {
            model.META_ENGINE: "docker", model.META_CONTAINER: service_id * 3, model.META_IMAGE: "x:1"}},
        "Checks": [{"Node": node, "CheckID": "externalNodeHealth", "Name": "node",
                    "Status": "passing" if alive else "critical"},
                   {"Node": node, "CheckID": f"check:{service_id}", "Name": "answers", "ServiceID": service_id,
                    "Status": status}]})


def state(consul: Consul, name: str, **groups: Any) -> None:
    consul.put(f"lictor/state/{name}", service_state.encode(State(**groups)))


def well(consul: Consul, name: str) -> None:
    spec(consul, name)
    for number in (1, 2):
        instance(consul, name, number)
    serve(consul, name, 2)


def serve(consul: Consul, name: str, count: int) -> None:
    """What node-1 tells of its nginx: it sends requests to the first of a service's instances."""
    consul.put(f"lictor/nodes/{name}/node-1", json.dumps({
        "instances": [["node-1", f"{name}-{number + 1}"] for number in range(count)]}))


def measured(consul: Consul, name: str) -> None:
    well(consul, name)
    first = time.time() // 10 * 10 - 360
    slices = [Slice(first + 10 * number, 10.0, {traffic.bucket(0.1 + number / 100): 300 + 10 * number},
                    errors=number % 7, begun=310 + 10 * number, busy_s=40.0) for number in range(36)]
    consul.put(f"lictor/traffic/{name}/node-1", windows.encode(slices))


def scaled(consul: Consul, name: str) -> None:
    well(consul, name)
    spec(consul, name, autoscale={"p95": "250ms"})
    kept = keeping.Kept(node="node-1", at=time.time(), status="warning",
                        reason=f"p95 312 ms of 250 ms over 60 s; wants 5 {HOSTILE}")
    consul.put(f"{keeping.KEY_PREFIX}{name}", keeping.encode(kept))


def of_a_set(consul: Consul, name: str) -> None:
    spec(consul, name, cluster={"kind": "etcd", "name": "s0"}, route=None, volumes=["data:/data"],
         replicas={"initial": 3, "min": 1, "max": 5})
    for number, role in enumerate(("primary", "secondary", ""), start=1):
        instance(consul, name, number, tags=(role,) if role else ())


def hostile(consul: Consul, name: str) -> None:
    spec(consul, name, image="shop:1.0")
    instance(consul, name, 1, status="critical", output=HOSTILE, image=HOSTILE)
    instance(consul, name, 2, maintenance="<b>bold</b> 'reason'", image=f"{LONG}:{'0' * 60}")
    for number, text in enumerate((HOSTILE, "'\"</td></tr></table>", "\x1b[31mred\u202e")):
        consul.put(f"lictor/history/{name}/{1_700_000_000_000_000 + number}", json.dumps({
            "at": 1_700_000_000 + number, "service": name, "node": HOSTILE, "kind": text, "container": text,
            "reason": text, "outcome": HOSTILE, "seen": text, "detail": f"{text}\n" * 3}))
    consul.put(f"lictor/history/{name}/{1_700_000_000_000_009}", "{")


def held(consul: Consul, name: str) -> None:
    well(consul, name)
    consul.put(f"services/{name}/hold", f"Anna looks into it {HOSTILE}")


def failing(consul: Consul, name: str) -> None:
    spec(consul, name)
    instance(consul, name, 1)
    instance(consul, name, 2, status="critical", output="HTTP GET http://127.0.0.1:8002/health: 404 Not Found")


def mixed_states(consul: Consul, name: str) -> None:
    """One instance in each state."""
    spec(consul, name, replicas=7)
    for number, status in enumerate(("passing", "warning", "critical"), start=1):
        instance(consul, name, number, status=status, output="" if status == "passing" else "disk nearly full")
    instance(consul, name, 4, maintenance=drain_text(time.time() - 5, "surplus"))
    instance(consul, name, 5, maintenance="Anna looks into it")
    instance(consul, name, 6, maintenance=model.PAUSED)
    outside(consul, name, "node-9", f"{name}-7", "passing", alive=False)


def releasing(consul: Consul, name: str) -> None:
    spec(consul, name, image=f"{name}:2.0", release={"strategy": "blue-green"})
    instance(consul, f"{name}-blue", 1, image=f"{name}:1.0")
    consul.put(f"services/{name}/color", "blue")
    state(consul, name, release=Release(live={"image": f"{name}:1.0"}, live_release="0" * 12, color="blue",
                                        rollout=Rollout(release_of(consul, name), time.time() - 12, most=1)))


def release_failed(consul: Consul, name: str) -> None:
    spec(consul, name, image=f"{name}:2.0")
    instance(consul, name, 1)
    state(consul, name, release=Release(
        live={"image": f"{name}:1.0"}, live_release="0" * 12, previous={"image": f"{name}:0.9"},
        failed=Failure(release_of(consul, name), f"{name}:2.0", "it exits at once: exec format error", time.time())))


def release_of(consul: Consul, name: str) -> str:
    """The fingerprint of what a service's keys ask for."""
    from lictor.planner import desired

    given = consul.get(f"services/{name}/spec") or ""
    return desired.desired(name, {"spec": given.encode()}, State()).release


def breaker_open(consul: Consul, name: str) -> None:
    well(consul, name)
    state(consul, name, breaker=Breaker(time.time(), "its budget is spent: 3 of 3 replaced within 10 min"))


def doubted(consul: Consul, name: str) -> None:
    well(consul, name)
    state(consul, name, trust=Trust(doubt="2 of 2 instances are critical at once"))


def refused(consul: Consul, name: str) -> None:
    consul.put(f"services/{name}/spec", json.dumps({"name": name, "imge": HOSTILE, "port": 8080}))


def refused_count(consul: Consul, name: str) -> None:
    well(consul, name)
    consul.put(f"services/{name}/replicas", "many")


def nobody(consul: Consul, name: str) -> None:
    spec(consul, name, node="node-7")


def only_routed(consul: Consul, name: str) -> None:
    spec(consul, name, engine="none", node="", image="", replicas=1)
    instance(consul, name, 1)


def empty(consul: Consul, name: str) -> None:
    spec(consul, name, replicas=3)


def unseen(consul: Consul, name: str) -> None:
    consul.put(f"services/{name}/spec", json.dumps({"name": name, "node": "node-1", "image": "worker:1"}))


def removed(consul: Consul, name: str) -> None:
    well(consul, name)
    consul.put(f"services/{name}/removed", "now")


def many(consul: Consul, name: str) -> None:
    spec(consul, name, replicas={"initial": 30, "max": 40})
    for number in range(30):
        instance(consul, name, number + 1)
    serve(consul, name, 30)


def of_no_service(consul: Consul, name: str) -> None:
    consul.put(f"services/{name}/UPPER/spec", "x")
    consul.put(f"services/{HOSTILE[:8]}/spec", "{}")


CONDITIONS: dict[str, Any] = {
    "as-desired": well, "measured": measured, "hostile": hostile, "held": held, "failing": failing,
    "every-state": mixed_states, "releasing": releasing, "release-failed": release_failed, "breaker": breaker_open,
    "doubted": doubted, "refused": refused, "refused-count": refused_count, "nobody-acts": nobody,
    "only-routed": only_routed, "empty": empty, "no-port": unseen, "removed": removed, "a-set": of_a_set,
    "many-instances": many, "no-service": of_no_service,
    "a-name-that-is-as-long-as-a-name-may-be-which-is-63-characters-x": well,
}
