"""The tests of `lictor doctor`: each right and setting that the handlers need. A test leaves nothing behind, and its
failure is a finding, never an error.

Root may do more than the handlers. So if root asks, another process does the tests as their user.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from lictor import errors
from lictor.adapters import docker, heartbeat, http, process, secret_files
from lictor.adapters.consul.client import Client
from lictor.cli.setup import (
    consul_tests,
    detect,
    findings,
    handlers_user,
    nginx_tests,
    programs,
    set_tests,
    written_config,
)
from lictor.cli.setup.findings import Finding, Probe, Remark
from lictor.cli.setup.handlers_user import HandlersUser
from lictor.events import http_door, script
from lictor.events.page import access
from lictor.spec import delegation_settings
from lictor.spec.settings import Metrics, Notify, Settings

_HANDLERS = ("lictor-route", "lictor-heal", "lictor-scale", "lictor-reconcile", "lictor-autoscale", "lictor-registrar",
             "lictor-serve")
_OLD_S = 60
_RIGHTS = "rights"  # the name of the test of who tests


def examine(settings: Settings, *, token_file: str | None = None) -> list[Finding]:
    """Run all tests, in the order in which failures should be mended."""
    if os.geteuid():
        return _examine_here(settings, token_file, lambda: f"tested as user id {os.geteuid()}")
    user, token_file = handlers_user.find(settings), token_file or written_config.read_token_file(settings)
    if user is None:
        return _examine_here(settings, token_file, _unknown_user)
    if user.user.uid:  # whose environment is not root's to have, but for where Consul is
        consul = {name: value for name, value in user.environ.items() if name.startswith("CONSUL_")}
        with _environment({**os.environ, **consul}):
            return _examine_as(user, settings, token_file)
    with _environment(user.environ):
        return _examine_here(settings, token_file, lambda: f"tested as root, with the environment of {user.place}")


@contextlib.contextmanager
def _environment(environ: Mapping[str, str]) -> Iterator[None]:
    """Have no other environment than this one meanwhile."""
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environ)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _examine_here(settings: Settings, token_file: str | None, explain: Callable[[], str]) -> list[Finding]:
    found: dict[str, Finding] = {}
    for test in _tests(settings, token_file, Probe(_RIGHTS, explain, "")):
        found[test.name] = findings.find(test, found.get(test.needs))
    return list(found.values())


def _unknown_user() -> str:
    raise Remark("tested as root: no agent that loads this configuration runs here, and no unit of it names a user. "
                 "Whether the agent's user may do the same is not known", "start the agent; watch.config_dir of the "
                 "settings is its -config-dir. Or, as the agent's user: lictor doctor")


def _examine_as(user: HandlersUser, settings: Settings, token_file: str | None) -> list[Finding]:
    """Have the handlers' user do the tests; those of root's are done here."""
    rights = Probe(_RIGHTS, partial(_test_rights, user, settings), "install lictor where that user may read it, such "
                   "as /opt/lictor, and from there once more: lictor init. Let it read the settings; give its unit "
                   "the ReadWritePaths that lictor init writes")
    found = {_RIGHTS: findings.find(rights, None)}
    options = [*script.inherited(settings, token_file), "doctor", "--json"]
    try:
        told = {each.name: each for each in _read_findings(user, options)}
    except errors.Refused as error:
        told, found[_RIGHTS] = {}, found[_RIGHTS]._replace(ok=False, detail=str(error), remedy=rights.remedy)
    own = {test.name: test for test in _tests(settings, token_file, rights)}
    for name in (each for each in told or own if each != _RIGHTS):
        test = own.get(name)
        if test and (test.of_root or name == nginx_tests.SIGNAL and user.may_signal):
            found[name] = findings.find(test, found.get(test.needs))
        else:
            found[name] = told.get(name) or Finding(name, None, f"not tested: {_RIGHTS} comes first")
    return list(found.values())


def _read_findings(user: HandlersUser, options: list[str]) -> list[Finding]:
    """Run this very command as the handlers' user; raises Refused if it cannot be run."""
    argv = [sys.executable, os.path.join(sys.prefix, "bin", "lictor"), *options]
    try:
        text = user.run(argv).stdout
    except errors.CommandFailed as error:
        text = error.stdout if error.code == 1 else ""
        if not text:
            raise errors.Refused(f"{user.name}, which runs the handlers, cannot run lictor: "
                                 f"{handlers_user.describe_failure(error)}") from error
    try:
        return [Finding(**{key: table[key] for key in Finding._fields}) for table in json.loads(text)]
    except (ValueError, LookupError, TypeError) as error:
        raise errors.Refused(f"{user.name}, which runs the handlers, runs another lictor: {error!r}") from error


def _test_rights(user: HandlersUser, settings: Settings) -> str:
    folders = [path for _, path in _folders(settings)]
    read_only = user.find_read_only(folders)
    if read_only:
        raise errors.Refused(f"{', '.join(read_only)}: read-only for {user.place}, though its user {user.name} may "
                             "write there. Its unit says so (ProtectSystem), or a mount")
    return f"tested as {user.name}, with the groups and the environment of {user.place}"


def _folders(settings: Settings) -> Iterator[tuple[str, str]]:
    """List the folders that handlers write, by the settings that name them."""
    yield "state_dir", settings.state_dir
    if settings.nginx:
        yield "conf_dir", settings.nginx.conf_dir
        yield "config_dir", settings.watch.config_dir


def _tests(settings: Settings, token_file: str | None, rights: Probe) -> Iterator[Probe]:
    yield Probe("settings", lambda: settings.path or "the defaults: there is no file", "")
    yield rights
    for name in _HANDLERS:
        yield Probe(name, partial(_usable, process.handler_path(name), os.R_OK | os.X_OK), "install lictor again")
    yield from programs.list_tests(settings)
    for key, path in _folders(settings):
        yield Probe(key, partial(_usable, path, os.R_OK | os.W_OK | os.X_OK), "lictor init, or correct the settings")
    yield Probe("files", partial(detect.require_own_files, settings.state_dir), "chown them as state_dir", "state_dir")
    client: Client | None = None
    try:
        client = Client.connect(token_file=token_file)
    except errors.LictorError as error:
        yield Probe("Consul", partial(_fail, error), "correct the variable, or name the token's file")
    else:
        yield from consul_tests.list_tests(settings, client)
    if settings.nginx:
        yield from nginx_tests.list_tests(settings, settings.nginx, client)
    yield Probe("Docker", lambda: f"engine {docker.connect(timeout_s=5).engine_id()}",
                "start Docker; DOCKER_HOST names its socket, and the group of that socket may use it")
    if client:
        yield from set_tests.list_tests(settings, client)
    yield Probe("registrar", lambda: _registrar(settings.state_dir), "systemctl enable --now lictor-registrar")
    if settings.watch.door == "http":
        yield Probe("serve", lambda: _serve(settings), "systemctl enable --now lictor-serve")
    if settings.metrics and settings.metrics.listen:
        yield Probe("metrics", partial(_metrics, settings.metrics), "systemctl enable --now lictor-serve, which reads "
                    "[metrics] at its start; journalctl -u lictor-serve says what keeps it from that")
    if settings.metrics and settings.metrics.textfile:
        yield Probe("textfile", partial(_textfile, settings.metrics.textfile), "let the handlers' user write into its "
                    "folder; each sweep writes it")
    yield Probe("notify", lambda: _notify(settings.notify), "correct [notify] in the settings")
    if settings.command:
        yield Probe("command", partial(_command, settings.command), "correct [command] in the settings")
    if settings.webhook:
        yield Probe("webhook", partial(_webhook, settings.webhook), "correct [webhook] in the settings")


def _fail(error: errors.LictorError) -> str:
    raise error


def _usable(path: str, rights: int) -> str:
    if not os.access(path, rights):
        raise errors.Refused(f"{path} is not there, or may not be {'written to' if rights & os.W_OK else 'run'}")
    return path


def _registrar(state_dir: str) -> str:
    """Test the registrar; a container that is not registered as its labels ask is its own affair."""
    said, heard = heartbeat.examine(state_dir), heartbeat.read(state_dir)
    if heard and heard.unmet:
        raise Remark(said)
    return said


def _notify(notify: Notify | None) -> str:
    """Test that people can be notified; no notification is sent for it."""
    if notify is None:
        raise Remark("off: an open breaker and healing on hold notify nobody", "write [notify] into the settings")
    if notify.command:
        programs.require(notify.command[0])
    if notify.token_file:
        secret_files.read_token(notify.token_file)
    return "a command is run" if notify.command else "a webhook is called"


def _metrics(metrics: Metrics) -> str:
    """Test the listener as Prometheus asks it."""
    secret = access.read_secret(metrics)
    answer = http.exchange("GET", f"http://{metrics.listen}/metrics", body=None, timeout_s=5.0, read=http.read_whole,
                           headers={"Authorization": f"Bearer {secret}"} if secret else {})
    http.refuse_failure(answer, answer.body.decode("utf-8", "replace").strip()[:200])
    if b"\nlictor_build_info{" not in answer.body:
        raise errors.Refused(f"what answers at {metrics.listen} shows no metrics of lictor")
    return f"lictor-serve shows them at {metrics.listen}"


def _textfile(path: str) -> str:
    age_s = time.time() - os.stat(path).st_mtime
    if abs(age_s) > _OLD_S:
        raise errors.Refused(f"{path} was written {age_s:.0f} s ago; a sweep comes each 15 s")
    return f"{path} was written within {_OLD_S} s"


def _command(command: delegation_settings.Command) -> str:
    for words in filter(None, (command.scale, command.redeploy)):
        programs.require(words[0])
    return f"{command.scale[0]} gets the desired counts"


def _webhook(webhook: delegation_settings.Webhook) -> str:
    """Test that its secrets can be read; no request is sent for it."""
    for request in filter(None, (webhook.scale, webhook.redeploy)):
        for path in request.headers_files.values():
            secret_files.read_secret(path)
    if webhook.jenkins:
        secret_files.read_token(webhook.jenkins.token_file)
    return f"{'Jenkins' if webhook.jenkins else 'a webhook'} gets the desired counts"


def _serve(settings: Settings) -> str:
    http_door.ask(settings, "/alive")
    return f"lictor-serve answers at {settings.watch.address}"
