"""The kind `mongodb`, by pymongo, for replica sets of MongoDB 4.4 and newer.

A newcomer starts on its own, and is added without vote and priority: the set sends it the configuration and the data.
The primary is asked whether its configuration is committed, and each change is made upon that one, a version later.

MongoDB answers alike before a member has a configuration and before it has loaded it. So a member is new only if its
`local.system.replset` is empty, or if it has no user at all and no configuration.

If the container's environment names the first user, as the official image takes it, lictor logs in as that user. Where
a member has no user yet and counts the connection as local, lictor makes that user (the localhost exception).
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from lictor import errors
from lictor.adapters import mongo
from lictor.adapters.mongo import Failure, Login, Run
from lictor.clusters import mongodb_answers as answers
from lictor.planner.cluster.observation import NEW, Configuration, Link, Report

USER, PASSWORD = "MONGO_INITDB_ROOT_USERNAME", "MONGO_INITDB_ROOT_PASSWORD"  # the official image's own names
ASK_S, CHANGE_S = 5.0, 15.0
_STEP_DOWN_S, _CATCH_UP_S = 60, 8
_PAUSE_S = 0.1
_OLDEST_WIRE_VERSION = 9  # MongoDB 4.4, which commits configurations by a majority
_LARGEST_ID = 255

# Error codes of MongoDB
_UNAUTHORIZED, _AUTHENTICATION_FAILED, _ALREADY_INITIALIZED, _NO_REPLICATION = 13, 18, 23, 76
_INVALID_CONFIG, _NOT_YET_INITIALIZED, _NEW_CONFIG_INCOMPATIBLE = 93, 94, 103
_NOT_YET = (109, 308)  # ConfigurationInProgress, CurrentConfigNotCommittedYet
_NOT_PRIMARY = (10107, 13435, 13436, 189)
_NEVER = (_UNAUTHORIZED, _AUTHENTICATION_FAILED, _ALREADY_INITIALIZED, _NO_REPLICATION, _INVALID_CONFIG)

Member = dict[str, Any]


class Members:
    """Speaks with the members of one service's set, as the user that its environment names."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        user, password = environment.get(USER, ""), environment.get(PASSWORD, "")
        self._login = Login(user, password) if user and password else None

    def ask(self, member: str, address: str) -> Report:
        with _judged():
            try:
                with mongo.session(member, self._login, ASK_S) as run:
                    return _ask(run, member)
            except Failure as failure:
                if not self._login or failure.code != _AUTHENTICATION_FAILED:
                    raise
            with mongo.session(member, None, ASK_S) as run:
                return _ask_without_user(run, member, address)

    def ask_links(self, member: str, address: str) -> dict[str, Link]:
        with _judged(), mongo.session(member, self._login, ASK_S) as run:
            return answers.links(_status(run))

    def environment(self, name: str, member: str, address: str, configuration: Configuration | None) -> dict[str, str]:
        """Add nothing: mongod is told all that it needs by its command."""
        return {}

    def initiate(self, member: str, set_name: str, address: str) -> None:
        """Make the set, and the first user if there is none. If that was cut short before, go on with it."""
        config = {"_id": set_name, "members": [{"_id": 0, "host": address}]}
        with _judged():
            has_user = not self._login or self._has_user(member, self._login)
            with mongo.session(member, self._login if has_user else None, CHANGE_S) as run:
                try:
                    run({"replSetInitiate": config})
                except Failure as failure:
                    if has_user or failure.code != _ALREADY_INITIALIZED or not _status(run).is_alone(set_name, address):
                        raise
                if self._login and not has_user:
                    _make_first_user(run, self._login)

    def add(self, primary: str, address: str, basis: Configuration) -> None:
        self._change(primary, basis, lambda members: [
            *members, {"_id": _free_id(members), "host": address, "votes": 0, "priority": 0}])

    def give_vote(self, primary: str, address: str, basis: Configuration) -> None:
        self._change(primary, basis, lambda members: [
            each | {"votes": 1, "priority": 1} if each["host"] == address else each for each in members])

    def take_vote(self, primary: str, address: str, basis: Configuration) -> None:
        self._change(primary, basis, lambda members: [
            each | {"votes": 0, "priority": 0} if each["host"] == address else each for each in members])

    def remove(self, primary: str, address: str, basis: Configuration) -> None:
        self._change(primary, basis, lambda members: [each for each in members if each["host"] != address])

    def step_down(self, primary: str, basis: Configuration) -> None:
        with _judged(), mongo.session(primary, self._login, CHANGE_S) as run:
            _require(run, primary, basis)
            run({"replSetStepDown": _STEP_DOWN_S, "secondaryCatchUpPeriodSecs": _CATCH_UP_S})

    def _change(self, primary: str, basis: Configuration, change: Callable[[list[Member]], list[Member]]) -> None:
        """Change one member of the configuration that was decided upon; all else in it stays as it is."""
        with _judged(), mongo.session(primary, self._login, CHANGE_S) as run:
            config = _require(run, primary, basis)
            members = change([dict(each) for each in config["members"]])
            run({"replSetReconfig": {**config, "version": basis.version + 1, "members": members}})

    def _has_user(self, member: str, login: Login) -> bool:
        try:
            with mongo.session(member, login, ASK_S) as run:
                run({"ping": 1})
                return True
        except Failure as failure:
            if failure.code != _AUTHENTICATION_FAILED:
                raise
            return False


@contextlib.contextmanager
def _judged() -> Iterator[None]:
    """Turn MongoDB's codes into what a caller treats differently."""
    try:
        yield
    except Failure as failure:
        if failure.code in _NOT_PRIMARY:
            raise errors.Conflict(f"{failure}. It is not the primary.") from failure
        if failure.code == _NEW_CONFIG_INCOMPATIBLE:
            raise errors.Conflict(f"{failure}. Its configuration is another one by now.") from failure
        if failure.code in _NOT_YET:
            raise errors.NotYet(str(failure)) from failure
        if failure.code in _NEVER:
            raise errors.Refused(str(failure)) from failure
        raise


def _ask(run: Run, member: str) -> Report:
    hello = _hello(run, member)
    try:
        status = _status(run)
    except Failure as failure:
        if failure.code == _NOT_YET_INITIALIZED:
            return _newcomer(run, member)
        if failure.code == _INVALID_CONFIG:
            return answers.report_removed(answers.decode(_read(run), answers.ConfigAnswer).config)
        raise
    is_writable = hello.isWritablePrimary and status.myState == answers.IS_PRIMARY
    answer = answers.decode(_read(run, with_commitment=is_writable), answers.ConfigAnswer)
    return answers.report(status, answer, is_writable=is_writable)


def _ask_without_user(run: Run, member: str, address: str) -> Report:
    """Ask by the localhost exception, which ends with the first user. A set whose making was cut short before that
    counts as new: to initiate it once more makes the user."""
    _hello(run, member)
    try:
        status = _status(run)
    except Failure as failure:
        if failure.code == _NOT_YET_INITIALIZED:
            return Report(NEW)
        raise errors.Refused(f"mongodb: {member} does not take the user of {USER}, or has no user and is not reached "
                             "as local. It cannot be asked.") from failure
    if status.myState == answers.IS_PRIMARY and status.is_alone(status.set, address):
        return Report(NEW)
    raise errors.Unavailable(f"mongodb: {member} is of a set, and has no user. Either it has not copied the users yet, "
                             f"or that of {USER} was never made.")


def _newcomer(run: Run, member: str) -> Report:
    kept = run({"find": "system.replset", "limit": 1, "singleBatch": True}, "local")
    if answers.decode(kept, answers.Found).cursor.firstBatch:
        raise errors.Unavailable(f"mongodb: {member} has a configuration, and has not loaded it yet")
    return Report(NEW)


def _hello(run: Run, member: str) -> answers.Hello:
    found = answers.decode(run({"hello": 1}), answers.Hello)
    if found.maxWireVersion < _OLDEST_WIRE_VERSION:
        raise errors.Refused(f"mongodb: {member} is older than MongoDB 4.4. Its configurations are not committed by a "
                             "majority, so none is changed.")
    return found


def _status(run: Run) -> answers.Status:
    return answers.decode(run({"replSetGetStatus": 1}), answers.Status)


def _read(run: Run, *, with_commitment: bool = False) -> Mapping[str, Any]:
    return run({"replSetGetConfig": 1, **({"commitmentStatus": True} if with_commitment else {})})


def _require(run: Run, primary: str, basis: Configuration) -> Mapping[str, Any]:
    """Read the primary's configuration; raise unless it is the one that was decided upon, and committed."""
    raw = _read(run, with_commitment=True)
    answer = answers.decode(raw, answers.ConfigAnswer)
    if not answer.config.to_configuration(is_committed=True).is_same(basis):
        raise errors.Conflict(f"mongodb: {primary} has another configuration than decided upon")
    if not answer.commitmentStatus:
        raise errors.NotYet(f"mongodb: version {basis.version} of the configuration is not committed yet")
    found: Mapping[str, Any] = raw["config"]
    return found


def _free_id(members: Iterable[Member]) -> int:
    taken = {each["_id"] for each in members}
    following = max(taken, default=-1) + 1
    return following if following <= _LARGEST_ID else min({*range(_LARGEST_ID + 1)} - taken)


def _make_first_user(run: Run, login: Login) -> None:
    """Make the first user, once the only member is writable. The session's time limit ends the wait."""
    while not answers.decode(run({"hello": 1}), answers.Hello).isWritablePrimary:
        time.sleep(_PAUSE_S)
    run({"createUser": login.user, "pwd": login.password, "roles": [{"role": "root", "db": "admin"}],
         "writeConcern": {"w": "majority"}})
