"""What a replica set's configuration has to be, and which one may follow another. Pure.

Rules, with the page of MongoDB's manual that states each:

- at most 50 members, 7 of them with a vote, and at least one [Replica Set Members; Replica Set Configuration];
- a member without a vote has priority 0; `_id` is 0 to 255, and its own; each host is named once [the same];
- the set's name is that of `--replSet`; its `replicaSetId` never changes [Replica Set Configuration];
- a following one has a higher version; at most one voting member is added or removed [replSetReconfig; rs.reconfig()];
- the primary that makes it stays in it, and electable [rs.reconfig()].
"""

from collections.abc import Mapping, Sequence
from typing import Any

Config = Mapping[str, Any]

MOST_MEMBERS, MOST_VOTERS, LARGEST_ID = 50, 7, 255
NAMES = {2: "BadValue", 13: "Unauthorized", 18: "AuthenticationFailed", 23: "AlreadyInitialized",
         50: "MaxTimeMSExpired", 59: "CommandNotFound", 64: "WriteConcernFailed", 74: "NodeNotFound",
         76: "NoReplicationEnabled",
         93: "InvalidReplicaSetConfig", 94: "NotYetInitialized", 103: "NewReplicaSetConfigurationIncompatible",
         104: "NodeNotElectable", 109: "ConfigurationInProgress", 262: "ExceededTimeLimit",
         308: "CurrentConfigNotCommittedYet", 10107: "NotWritablePrimary", 11602: "InterruptedDueToReplStateChange",
         13436: "NotPrimaryOrSecondary"}


class No(Exception):
    """An error, with MongoDB's code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def require_valid(config: Config, set_name: str) -> None:
    """Raise 93 for what no configuration may be."""
    members: Sequence[Mapping[str, Any]] = config.get("members", [])
    ids, hosts = [each.get("_id") for each in members], [each.get("host") for each in members]
    problems = {
        f"the set is {set_name}, and the configuration is for {config.get('_id')}": config.get("_id") != set_name,
        f"{len(members)} members": not 1 <= len(members) <= MOST_MEMBERS,
        f"{len(voters(config))} voting members": not 1 <= len(voters(config)) <= MOST_VOTERS,
        "two members of one _id": len({*ids}) < len(ids),
        "two members of one host": len({*hosts}) < len(hosts),
        "an _id that is no number from 0 to 255": not all(isinstance(each, int) and 0 <= each <= LARGEST_ID
                                                          for each in ids),
        "priority must be 0 when non-voting (votes:0)": any(
            not votes(each) and each.get("priority", 1) for each in members)}
    for problem, is_so in problems.items():
        if is_so:
            raise No(93, problem)


def require_may_follow(new: Config, old: Config, own: str) -> None:
    """Raise for what may not follow a configuration, without force, on the primary `own`."""
    if new["version"] <= old["version"]:
        raise No(103, f"New replica set configuration version must be greater than old, but {new['version']} is not "
                      f"greater than {old['version']}")
    if set_id(new) not in (None, set_id(old)):
        raise No(103, "New and old configurations differ in replica set ID")
    ids = {each["host"]: each["_id"] for each in old["members"]}
    for each in new["members"]:
        if ids.get(each["host"], each["_id"]) != each["_id"]:
            raise No(103, f"New and old configurations both have members with host {each['host']}, of another _id")
    if len(voters(new) ^ voters(old)) > 1:
        raise No(103, "Non force replica set reconfig can only add or remove at most 1 voting member")
    seat = member(new, own)
    if seat is None:
        raise No(74, "No host described in new configuration maps to this node")
    if not votes(seat) or not seat.get("priority", 1):
        raise No(104, "This node would not be electable in the new configuration")


def complete(config: Config) -> dict[str, Any]:
    """Fill in what a configuration leaves out about its members [Replica Set Configuration]."""
    defaults = {"arbiterOnly": False, "buildIndexes": True, "hidden": False, "priority": 1, "tags": {}, "votes": 1}
    return {**config, "members": [{**defaults, **each} for each in config["members"]]}


def member(config: Config | None, host: str) -> Mapping[str, Any] | None:
    return next((each for each in config["members"] if each["host"] == host), None) if config else None


def votes(seat: Mapping[str, Any]) -> int:
    return int(seat.get("votes", 1))


def voters(config: Config) -> set[str]:
    return {each.get("host", "") for each in config.get("members", []) if votes(each)}


def set_id(config: Config | None) -> Any:
    return config.get("settings", {}).get("replicaSetId") if config else None


def age(config: Config | None) -> tuple[int, int]:
    """Order configurations by term and version [replSetReconfig]; -1: there is none."""
    return (config.get("term", -1), config["version"]) if config else (-1, -1)


def is_newer(one: Config | None, other: Config | None) -> bool:
    """Tell whether one replaces the other; with a forced one, which has no term, the version alone counts."""
    (term, version), (other_term, other_version) = age(one), age(other)
    return version > other_version if -1 in (term, other_term) else (term, version) > (other_term, other_version)
