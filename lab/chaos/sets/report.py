"""What came of chaos on a set: the end, and the verdict on everything that was written down, told and kept."""

import json
import os
import subprocess
from typing import Any

from lab.chaos import report
from lab.chaos.faults import Mischief
from lab.chaos.sets import verdict
from lab.chaos.sets.faults import FAULTS
from lab.chaos.sets.stops import stops
from lab.chaos.sets.timeline import End
from lab.chaos.sets.watch import Watch
from lab.chaos.sets.world import World
from lab.chaos.verdict import unrepaired


def look_at_end(world: World) -> list[str]:
    """Name what is not as it must be at the end, or cannot be seen."""
    try:
        return verdict.standing(_stand(world))
    except (OSError, ValueError, AssertionError) as error:
        return [f"it cannot be seen how things stand: {type(error).__name__}: {error}"]


def _stand(world: World) -> End:
    """Look at everything once; raises OSError and the like when that cannot be seen."""
    db, last = world.db, world.last_round()
    leader = verdict.leading(last) if last else None
    assert leader, "there is no leader"
    planned, told = world.node.run("plan"), world.node.run("status", "--json")
    assert told.returncode == 0, told.stderr
    says = {each["name"]: each["says"] for each in json.loads(told.stdout)}
    images = world.docker.docker("ps", "-a", "--filter", f"label=lictor.service={db.name}", "--format", "{{.Image}}")
    return End(
        size=world.size, seats=leader.seats, running=sorted(db.containers()),
        names=[f"{db.name}-{seat.number}" for seat in leader.seats],
        primaries=db.tagged("primary"), leader=f"{db.name}-{leader.number}", images=images.split(), image=world.image,
        locks=world.keys_below("lictor/locks/"),
        sessions=world.list_leaked_sessions(),
        plan="" if planned.returncode == 0 and planned.stdout.strip() == "nothing to do" else
        (planned.stdout + planned.stderr).strip(),
        says=says.get(db.name, "nothing"))


def judge(world: World, mischief: Mischief[World], watching: Watch, end: list[str], *, seed: int) -> dict[str, Any]:
    """Judge a run: all that is to be told. `violations` is empty if lictor held."""
    missing, unreadable = _missing(world)
    rounds, writes = world.rounds, [*world.writer.writes, *verdict.probes(world.rounds)]
    terms = {word.term for each in rounds for word in each.words}
    return {
        **report.summary(mischief, FAULTS, seed=seed),
        "writes_acknowledged": len(world.writer.writes),
        "probes_acknowledged": len(writes) - len(world.writer.writes),
        "reads": len(world.reader.reads),
        "lost": len(missing),
        "longest_pause_s": round(max(world.writer.pauses_s, default=0.0), 1),
        "pauses": verdict.pauses(world.writer.writes),
        "rounds": len(rounds),
        "rounds_with_a_leader": sum(verdict.leading(each) is not None for each in rounds),
        "elections": max(terms, default=0) - min(terms, default=0),
        "changes_of_members": verdict.memberships(rounds),
        "volumes_deleted_by_us": len(world.deleted),
        "violations": [
            *end, *mischief.failures, *unreadable,
            *([f"{len(missing)} acknowledged keys are lost, as {missing[0]}"] if missing else []),
            *verdict.primaries(rounds), *verdict.history(writes, world.reader.reads), *verdict.changes(rounds),
            *stops(list(world.events.events), list(world.deeds), rounds),
            *verdict.volumes(rounds, world.deleted), *verdict.gaps(rounds),
            *unrepaired(mischief.records, watching.samples),
        ],
    }


def _missing(world: World) -> tuple[list[str], list[str]]:
    """List the acknowledged keys that are lost; and why that cannot be seen, if it cannot."""
    try:
        return sorted(world.writer.missing()), []
    except AssertionError as error:
        return [], [f"whether acknowledged keys are lost cannot be seen: {error}"]


def tell(found: dict[str, Any]) -> None:
    report.tell_faults(found)
    print(f"\n{found['writes_acknowledged']} writes acknowledged, {found['lost']} lost; {found['probes_acknowledged']} "
          f"writes through each member by itself; {found['reads']} reads\n"
          f"{found['rounds']} looks at the members, at {found['rounds_with_a_leader']} of which there was a leader\n"
          f"longest time without an acknowledgement: {found['longest_pause_s']} s\n"
          f"{found['elections']} elections, {found['changes_of_members']} changes of members, "
          f"{found['volumes_deleted_by_us']} volumes deleted by us\n")
    report.tell_violations(found)


def keep(world: World, found: dict[str, Any], folder: str) -> None:
    """Everything that may tell why: the programs' logs, lictor's state, and what we wrote down."""
    report.keep_logs(world, found, folder, {
        "deeds": world.deeds, "docker_away": world.docker_away, "deleted": world.deleted, "events": world.events.events,
        "writes": world.writer.writes, "reads": world.reader.reads, "rounds": world.rounds}, [world.db.name])
    for name in world.db.containers():
        with open(os.path.join(folder, f"{name}.log"), "w", encoding="utf-8") as file:
            subprocess.run(["docker", "logs", name], stdout=file, stderr=file, timeout=60,
                           env={**os.environ, **world.docker.environ})
