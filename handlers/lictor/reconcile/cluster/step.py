"""One step with a set: keep what was learned, tell clients where it is, then carry out the one act that was decided.

What is kept stands in Consul before the act begins. If another process has the lock, or has written since, nothing is
done: the lock in Consul counts here, as a set that two processes change at once can lose its majority.
"""

from msgspec.structs import replace

from lictor import errors
from lictor.adapters import log
from lictor.adapters.consul.lock import Writer
from lictor.planner.cluster.actions import Act
from lictor.planner.cluster.decide import note_failure
from lictor.planner.observation import Observation
from lictor.reconcile.cluster import record, seeds
from lictor.reconcile.cluster.act import Executor
from lictor.reconcile.cluster.look import Look
from lictor.reconcile.context import Context


def needs_lock(look: Look) -> bool:
    """Tell whether there is anything to write or to do."""
    return isinstance(look.decision.action, Act) or not look.is_learned


def take(context: Context, observation: Observation, look: Look, writer: Writer) -> bool:
    """Take the step; returns whether there was an act. One that fails is decided upon anew, after its back-off."""
    name, act = observation.desired.name, look.decision.action
    if not look.stored.trouble:
        releases = {slot.release for slot in look.seen.slots if slot.release}
        following = record.advanced(look.stored.record, look.decision.kept, observation.desired, releases)
        if following != look.stored.record:
            record.write(writer, name, following, look.stored.modify_index)
    seeds.tell(writer, name, look.seeds)
    if not isinstance(act, Act):
        return False
    try:
        Executor(context, observation, look, writer).carry_out(act)
    except errors.LictorError as error:
        _keep_failure(context, writer, name, act, error)
        if isinstance(error, errors.Conflict):
            raise
        log.event("reconcile", service=name, outcome="again", reason=error)
    return True


def _keep_failure(context: Context, writer: Writer, name: str, act: Act, failure: errors.LictorError) -> None:
    """Keep why an act failed, for its next try and for people. If that cannot be written, the history has it."""
    try:
        stored = record.read(context.client, name, consistent=True)
        if not stored.trouble:
            kept = note_failure(stored.record.kept, act, failure)
            record.write(writer, name, replace(stored.record, kept=kept), stored.modify_index)
    except errors.LictorError as error:
        log.event("reconcile", service=name, outcome="failure not kept", reason=error)
