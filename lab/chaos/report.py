"""What came of a chaos run: the verdict on everything that was written down, told and kept."""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from lab.chaos import agreement, evidence, verdict
from lab.chaos.asking import Asking
from lab.chaos.faults import FAULTS, Mischief
from lab.chaos.machine import Machine
from lab.chaos.timeline import Access, Done, Failed
from lab.chaos.watch import Watch
from lab.chaos.world import SERVICES, WANTED, World


def judge(world: World, mischief: Mischief[Any], watching: Watch, asking: Asking, end: list[str], *,
          seed: int) -> dict[str, Any]:
    """Judge a run: all that is to be told. `violations` is empty if lictor held."""
    events, deeds = list(world.events.events), list(world.deeds)
    log = list(evidence.accesses(os.path.join(world.node.nginx.folder, "access.log")))
    by_target = {each.target: each for each in log}
    hurts = verdict.instants(deeds, events, world.nginx_refusing)
    failed = _failed(world)
    why = {each: verdict.explain(each, by_target.get(each.target), world.nginx_away, hurts, world.events.addresses)
           for each in failed}
    unexplained = [each for each in failed if why[each] == verdict.UNEXPLAINED]
    repaired = verdict.repairs(mischief.records, watching.samples)
    return {
        **summary(mischief, FAULTS, seed=seed),
        "requests": sum(each.requests for each in world.clients.values()),
        "resets_of_reused_connections": sum(each.resets_of_reused for each in world.clients.values()),
        "failed_requests": {reason or "unexplained": count for reason, count in Counter(why.values()).items()},
        "repairs": [_repair(seconds, fault, mischief) for seconds, fault in repaired],
        "asked": {"rounds": len(asking.rounds), "answers": asking.answers, "unanswered": asking.failed,
                  "twice": [(round(asked.at, 1), *each) for asked in asking.rounds for each in sorted(asked.found)]},
        "violations": [
            *end, *mischief.failures,
            *verdict.removals(events, deeds, dict.fromkeys(SERVICES.values(), WANTED), watching.draining),
            *verdict.deaths(events, deeds, world.docker_away),
            *verdict.strangers(log, world.events.addresses, SERVICES),
            *agreement.find_standing(asking.rounds),
            *verdict.unrepaired(mischief.records, watching.samples),
            *_told(unexplained, by_target),
        ],
    }


def summary(mischief: Mischief[Any], kinds: Iterable[str], *, seed: int) -> dict[str, Any]:
    """Sum up the faults, of these kinds, and tell their story."""
    return {
        "seed": seed,
        "faults": {kind: _counted(mischief, kind) for kind in kinds},
        "not_done": [f"{each.kind}: {each.detail}" for each in mischief.records if not each.done],
        "story": [{**each._asdict(), "seconds": round(each.ended - each.began, 1)} for each in mischief.records],
    }


def _repair(seconds: float, fault: Done, mischief: Mischief[Any]) -> dict[str, Any]:
    meanwhile = [each for each in mischief.records if each.done and fault.began < each.began < fault.began + seconds]
    return {"seconds": round(seconds, 1), "fault": fault.kind, "target": fault.target,
            "other_faults_meanwhile": len(meanwhile)}


def _told(unexplained: list[Failed], log: dict[str, Access]) -> list[str]:
    """One line for those of a service that look the same, with the first as the example."""
    alike: dict[tuple[str, str], list[Failed]] = {}
    for each in unexplained:
        alike.setdefault((each.service, each.seen), []).append(each)
    return [f"{service}: {len(found)} requests failed, unexplained, {found[0].began:.3f} to {found[-1].ended:.3f}: "
            f"{seen}; the first is {found[0].target}, in nginx's log: {log.get(found[0].target, 'not there')}"
            for (service, seen), found in alike.items()]


def _failed(world: World) -> list[Failed]:
    to_epoch = time.time() - time.monotonic()
    return [Failed(service, each.target, each.began + to_epoch, each.at + to_epoch, each.seen, each.status)
            for service, client in world.clients.items() for each in client.failures]


def _counted(mischief: Mischief[Any], kind: str) -> dict[str, int]:
    mine = [each.done for each in mischief.records if each.kind == kind]
    return {"done": sum(mine), "not_done": len(mine) - sum(mine)}


def tell_faults(found: dict[str, Any]) -> None:
    print("\nfaults                  done  not done")
    for kind, counted in found["faults"].items():
        print(f"  {kind:<20} {counted['done']:>5}  {counted['not_done']:>8}")


def tell_violations(found: dict[str, Any]) -> None:
    print(f"\n{len(found['violations'])} violations" + ("" if found["violations"] else ": all is well"))
    for each in found["violations"]:
        print(f"  {each}")


def tell(found: dict[str, Any]) -> None:
    tell_faults(found)
    failed = found["failed_requests"]
    print(f"\n{found['requests']} requests, {sum(failed.values())} failed")
    for reason, count in failed.items():
        print(f"  {count}: {reason}")
    print(f"  apart from these, {found['resets_of_reused_connections']} idle kept-alive connections were closed just "
          "as the client\n  wrote; nginx does that at reloads, and clients send those again by themselves\n")
    asked = found["asked"]
    print(f"each verb was asked how it is, in {asked['rounds']} rounds: {asked['answers']} answers, "
          f"{asked['unanswered']} could not be had;\n  {len(asked['twice'])} times two contradicted each other twice "
          "in a row\n")
    alone = [each for each in found["repairs"] if not each["other_faults_meanwhile"]]
    for what, repairs in (("", found["repairs"]), (" without another fault meanwhile", alone)):
        for longest in repairs[:1]:
            print(f"longest time to repair{what}: {longest['seconds']:.1f} s, {longest['fault']}: {longest['target']}"
                  f"; {longest['other_faults_meanwhile']} others meanwhile" * (not what))
    tell_violations(found)


def keep(world: World, found: dict[str, Any], folder: str) -> None:
    """Everything that may tell why: the programs' logs, lictor's state, and what we wrote down."""
    keep_logs(world, found, folder, {
        "deeds": world.deeds, "nginx_away": world.nginx_away, "nginx_refusing": world.nginx_refusing,
        "docker_away": world.docker_away, "events": world.events.events, "addresses": world.events.addresses,
        "failures": {service: each.failures for service, each in world.clients.items()}}, SERVICES.values())


def keep_logs(world: Machine, found: dict[str, Any], folder: str, written: dict[str, Any],
              services: Iterable[str]) -> None:
    os.makedirs(folder, exist_ok=True)
    for name in ("node", "server", "dockerd.log"):
        source = os.path.join(world.folder, name)
        if os.path.isdir(source):
            shutil.copytree(source, os.path.join(folder, name), dirs_exist_ok=True, ignore=_not_kept)
        elif os.path.exists(source):
            shutil.copy(source, folder)
    with open(os.path.join(folder, "timeline.json"), "w", encoding="utf-8") as file:
        json.dump({"found": found, **written}, file, indent=1)
    with open(os.path.join(folder, "why.txt"), "w", encoding="utf-8") as file:
        for service in services:
            file.write(f"== {service}\n{world.node.run('why', service).stdout}\n")
    print(f"\nlogs and records are in {folder}")


def _not_kept(folder: str, names: list[str]) -> set[str]:
    """Sockets cannot be copied, and an agent's data is of no use."""
    return {each for each in names if each in ("data", "tmp", "run")}
