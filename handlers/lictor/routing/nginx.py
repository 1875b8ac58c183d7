"""This node's nginx, on the host or in a container that mounts conf_dir: validate, swap files, signal, confirm.

nginx swallows a configuration that it refuses: the signal succeeds and the old workers stay. So each change of files
comes with a new generation number, which nginx itself answers on a unix socket once it serves those files.
"""

import contextlib
import os
import re
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from lictor import errors, model
from lictor.adapters import files, process
from lictor.routing import nginx_processes, nginx_socket
from lictor.routing.nginx_processes import Processes
from lictor.spec.settings import LEAST_RELOAD_INTERVAL_S, Nginx

if TYPE_CHECKING:
    from lictor.routing.templates import Templates

RUN = "run"  # below conf_dir: the socket, the configuration to check, what the last swap replaced
_FOLDERS = ("traffic", "peers", "upstreams", "locations", "servers", "live", RUN)  # each includes only those before
_GENERATION, _BEFORE = "generation.conf", f"{RUN}/before.json"
_RELOADED = f"{RUN}/reloaded"  # its time is that of the last HUP
_LONGEST_SOCKET_PATH = 107
_SAID = r"\[{}\] (?:\d+#\d+: )?(.*)"  # of a level
_TEST_TIMEOUT_S = 30.0
_CONFIRM_TIMEOUT_S = 10.0  # once nginx has read its files,
_READ_TIMEOUT_S = 45.0  # which may take long with thousands of services
_LEAST_CONNECTIONS = 8
_ASK_WHY_AFTER_S = 1.0
_STARTING_S = 5.0  # a socket this young may not be listened on yet


def prepare(conf_dir: str, templates: "Templates | None" = None) -> list[str]:
    """Make conf_dir what nginx.conf can include; returns the files that changed. What is served stays as it is."""
    socket_path = nginx_socket.path(conf_dir)
    if len(os.fsencode(socket_path)) > _LONGEST_SOCKET_PATH:
        raise errors.Refused(f"nginx.conf_dir is {conf_dir!r}; a socket below it may have {_LONGEST_SOCKET_PATH} "
                             f"bytes, and {socket_path} has more")
    for folder in _FOLDERS:
        os.makedirs(os.path.join(conf_dir, folder), exist_ok=True)
    run_dir = os.open(os.path.join(conf_dir, RUN), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    os.fchmod(run_dir, 0o750)  # nginx gives its sockets mode 0666
    os.close(run_dir)
    if templates is None:
        from lictor.routing.templates import Templates  # with Jinja2, which most of this module's users do without

        templates = Templates()
    changed = [path for name, text in templates.shared(conf_dir).items()
               if files.write_atomic(path := os.path.join(conf_dir, name), text)]
    if not os.path.exists(os.path.join(conf_dir, _GENERATION)):
        _stamp(conf_dir)
    return changed


def check(settings: Nginx, text: str, staged: Mapping[str, str] | None = None) -> None:
    """Have nginx parse a whole synthetic configuration, apart from the live one; raises Refused with nginx's reason.

    `staged`: files that only this configuration includes, by path below conf_dir.
    """
    path = os.path.join(settings.conf_dir, RUN, "check.conf")
    texts = {os.path.join(settings.conf_dir, name): content for name, content in (staged or {}).items()}
    for folder in {os.path.dirname(each) for each in texts}:
        os.makedirs(folder, exist_ok=True)
    files.write_all({**texts, path: text}, durable=False)
    try:
        validate(settings, path)
    finally:
        for each in texts:
            files.remove(each)


def await_idle(settings: Nginx) -> None:
    """Wait until nginx reads no files, as far as its processes can be seen. Not only lictor tells it to."""
    if not settings.container:
        nginx_processes.await_idle(settings.pid_file, timeout_s=_CONFIRM_TIMEOUT_S)


def swap(conf_dir: str, texts: Mapping[str, str | None]) -> None:
    """Write the files (None: remove it), which are paths below conf_dir. The texts that they replace stay known, to
    other handlers too, until settle() or take_back(): nginx itself could not start with what it refuses.

    reload() makes their names survive a power cut, while nginx reads them.
    """
    before = {path: text for path in texts if (text := files.read(os.path.join(conf_dir, path))) != texts[path]}
    if before:
        files.write_json(os.path.join(conf_dir, _BEFORE), before, durable=False)
        _replace(conf_dir, {path: texts[path] for path in before})


def settle(conf_dir: str) -> None:
    """Keep what was swapped in."""
    files.remove(os.path.join(conf_dir, _BEFORE))


def take_back(conf_dir: str) -> None:
    """Put back what the last swap replaced, unless it was settled; its process may have been killed since."""
    before = files.read_json(os.path.join(conf_dir, _BEFORE))
    if isinstance(before, dict):
        _replace(conf_dir, before)
        _sync_swapped(conf_dir)
    settle(conf_dir)


def reload(settings: Nginx) -> int:
    """Make nginx serve the files as they are, and return their generation, which nginx has confirmed.

    Waits until a reload is allowed again. Raises Unavailable when nginx isn't running or may not be signalled (files
    that were swapped may stay), and Refused when it runs but doesn't serve them: then they have to go.
    """
    generation = _stamped(settings.conf_dir)
    if answered(settings.conf_dir) == generation:
        # Whoever sent the HUP was killed, and nginx may yet have to retire old workers.
        _sync_swapped(settings.conf_dir)
        time.sleep(LEAST_RELOAD_INTERVAL_S)
        return generation
    time.sleep(turn_in_s(settings))
    with ExitStack() as held:
        try:
            before = _hup(settings, held)
        finally:
            _sync_swapped(settings.conf_dir)
        _confirm(settings, generation, before, held)
        before.quit()
        before.await_quit()
    return generation


def turn_in_s(settings: Nginx) -> float:
    """Return the time until a reload is allowed again."""
    since_s = (time.time_ns() - files.modified_ns(os.path.join(settings.conf_dir, _RELOADED))) / 1e9
    return max(0.0, settings.reload_min_interval_s - since_s) if since_s >= 0 else 0.0  # the clock was set back


def answered(conf_dir: str) -> int | None:
    """Ask nginx for the generation that it serves; None if there is no answer."""
    return max(nginx_socket.generations(conf_dir, connections=1), default=None)


def clean(settings: Nginx, now: model.Clock) -> list[str]:
    """Remove what killed processes left behind; returns the paths.

    A nginx that was killed leaves its socket, and can then not be started again before that is gone.
    """
    found = [folder for folder, _, _ in os.walk(settings.conf_dir)]
    stale = [path for folder in found for path in files.remove_stale_temporaries(folder, now, older_than_s=60)]
    path = nginx_socket.path(settings.conf_dir)
    try:
        if now.age_s(os.stat(path).st_mtime) > _STARTING_S:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(path)
    except ConnectionRefusedError:
        files.remove(path)
        stale.append(path)
    except OSError:
        pass  # there is none, or it is not ours to judge
    return stale


def can_validate_main_conf(settings: Nginx) -> bool:
    """Whether nginx's verdict counts: only root can read all that main_conf names: logs, the pid file, keys."""
    return bool(settings.container) or os.geteuid() == 0


def validate(settings: Nginx, path: str) -> list[str]:
    """Have nginx parse a whole configuration, as main_conf; raises Refused with its reason. Returns its warnings."""
    return list(re.findall(_SAID.format("warn"), _ask(settings, ["-t", "-q", "-c", path]).stderr))


def reread(settings: Nginx) -> int:
    """Have nginx read its files though none of lictor's has changed; as `reload`."""
    _stamp(settings.conf_dir)
    return reload(settings)


def describe_build(settings: Nginx) -> str:
    """Have nginx print its version and how it was built."""
    return _ask(settings, ["-V"]).stderr


def dump(settings: Nginx) -> str:
    """Have nginx print main_conf with all that it includes; raises Refused with its reason."""
    return _ask(settings, ["-T", "-q", "-c", settings.main_conf]).stdout


def _ask(settings: Nginx, options: list[str]) -> process.Output:
    argv = [settings.binary, *options]
    if settings.container:
        from lictor.adapters import docker  # few nginx are in a container

        code, output = docker.connect().execute(settings.container, argv, timeout_s=_TEST_TIMEOUT_S)
        if code:
            raise errors.Refused(f"nginx refuses it: {_reason(output)}")
        return process.Output(output, output)
    try:
        return process.run(argv, timeout_s=_TEST_TIMEOUT_S)
    except errors.CommandFailed as error:
        if error.code is None:  # it has said nothing of the files
            raise errors.Unavailable(f"nginx does not say whether it takes them: {error}") from error
        raise errors.Refused(f"nginx refuses it: {_reason(error.stderr or str(error))}") from error


def _reason(output: str) -> str:
    fatal, other = (re.findall(_SAID.format(level), output) for level in ("emerg", "error"))
    return "; ".join(fatal or other or output.splitlines()[-1:])


def _hup(settings: Nginx, held: ExitStack) -> Processes:
    """Signal nginx; returns the processes that it had. `held` will close what is open of them."""
    files.touch(os.path.join(settings.conf_dir, _RELOADED), time.time_ns())
    return _hup_container(settings.container) if settings.container else nginx_processes.hup(settings.pid_file, held)


def _hup_container(container: str) -> Processes:
    from lictor.adapters import docker  # as above

    client = docker.connect()
    if not ((client.inspect(container) or {}).get("State") or {}).get("Running"):
        raise errors.Unavailable(f"nginx's container {container} is not running")
    client.kill(container, "HUP")
    return Processes()  # they are in another pid namespace


def _confirm(settings: Nginx, generation: int, before: Processes, held: ExitStack) -> None:
    """Wait until nginx answers the generation. If it would accept by now what it has not, it is told again: its
    operator has mended it meanwhile."""
    connections = max(_LEAST_CONNECTIONS, 2 * len(before.workers))  # these answer too, each on one while it is idle

    def is_served() -> bool:
        return generation in nginx_socket.generations(settings.conf_dir, connections=connections)

    began, may_ask = time.monotonic(), can_validate_main_conf(settings)
    deadline, patience_s = began + _READ_TIMEOUT_S, _ASK_WHY_AFTER_S if may_ask else _CONFIRM_TIMEOUT_S / 2
    if before.await_start(timeout_s=patience_s):
        before.quit()  # they would take most of the questions
    while not is_served():
        if not settings.container and time.monotonic() < deadline and nginx_processes.is_at_work(settings.pid_file):
            began = time.monotonic()
        waited_s = time.monotonic() - began
        if waited_s > _CONFIRM_TIMEOUT_S:
            raise errors.Refused(
                f"nginx did not answer generation {generation} on {nginx_socket.path(settings.conf_dir)} "
                f"within {_CONFIRM_TIMEOUT_S:.0f} s; does {settings.main_conf} include lictor.conf?")
        if waited_s > patience_s:
            if may_ask:
                validate(settings, settings.main_conf)
            if not is_served():
                with contextlib.suppress(errors.Unavailable):  # it is just being started, and reads the files then
                    _hup(settings, held)
            patience_s = 3 * waited_s
        time.sleep(0.002)


def _stamp(conf_dir: str) -> None:
    """Write a generation that was never answered before, not even by an nginx older than conf_dir."""
    text = f'location = /generation {{ return 200 "{max(_stamped(conf_dir) + 1, int(time.time()))}"; }}\n'
    # Not durable: a power cut also ends the nginx that it could be mistaken for.
    files.write_atomic(os.path.join(conf_dir, _GENERATION), text, durable=False)


def _stamped(conf_dir: str) -> int:
    found = re.search(r'"(\d+)"', files.read(os.path.join(conf_dir, _GENERATION)) or "", re.ASCII)
    return int(found[1]) if found else 0


def _replace(conf_dir: str, texts: Mapping[str, str | None]) -> None:
    """Write new files before the ones that include them, and remove files after these: nginx may start at any moment.

    The generation is new before the first file and again after the last, so that nothing half-way is ever confirmed.
    """
    _stamp(conf_dir)
    in_order = sorted(texts, key=_rank)
    new = {os.path.join(conf_dir, path): text for path in in_order if (text := texts[path]) is not None}
    for path in new:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    files.write_all(new, with_folders=False)
    for each in reversed(in_order):
        if texts[each] is None:
            files.remove(os.path.join(conf_dir, each))
    _stamp(conf_dir)


def _sync_swapped(conf_dir: str) -> None:
    """Make the names of the files that were swapped, or taken back, survive a power cut."""
    if isinstance(swapped := files.read_json(os.path.join(conf_dir, _BEFORE)), dict):
        files.sync({os.path.dirname(os.path.join(conf_dir, path)) for path in swapped})


def _rank(path: str) -> int:
    """Rank a file below conf_dir: it includes only files of a lower rank."""
    folder, slash, _ = path.partition("/")
    return _FOLDERS.index(folder) if slash else len(_FOLDERS)


