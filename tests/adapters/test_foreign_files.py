"""Root runs a handler once: it leaves nothing that is foreign to the agent's user, and follows none of its links."""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lictor import errors
from lictor.adapters import files, log, process
from lictor.cli.setup import detect
from lictor.events import script
from lictor.reconcile import observer_health, process_lock
from lictor.routing import nginx
from lictor.spec.settings import Settings

USER = 65534
pytestmark = pytest.mark.daemons  # they need root


@pytest.fixture
def state_dir() -> Iterator[str]:
    """The agent's user's; below a folder that this user may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chown(folder, USER, USER)
        yield folder


def write(settings: Settings) -> None:
    """Do all that leaves files in the state folder."""
    path = settings.state_dir
    for name in script.FOLDERS:
        files.make_folder(f"{path}/{name}")
    files.write_json(f"{path}/routes/books.json", {})
    files.touch(f"{path}/nginx.last", 1)
    process_lock.leave_marker(path, "books")
    observer_health.note_unreadable(settings, "books")
    with process_lock.lock(path, "books"):
        pass
    log.keep(f"{path}/{process.LOG_NAME}")
    log.event("test")
    log.keep("")
    process._open_log(path).close()


def test_a_handler_that_root_runs_once_leaves_nothing_that_the_agents_user_cannot_use(state_dir: str) -> None:
    settings = Settings(state_dir=state_dir, nginx=None)
    write(settings)
    assert detect.require_own_files(state_dir).startswith("6 files")
    pid = os.fork()
    if pid == 0:
        os.setgid(USER)
        os.setuid(USER)
        try:
            write(settings)
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    Path(state_dir, "keys.json").write_text("{}")  # by a version that did
    with pytest.raises(errors.Refused, match=r"keys.json belongs to another user than .*, as do 0 more"):
        detect.require_own_files(state_dir)


LINKS: dict[str, Callable[[Settings], object]] = {
    "locks/books.lock": lambda it: process_lock.lock(it.state_dir, "books").__enter__(),
    "locks/books.again": lambda it: process_lock.leave_marker(it.state_dir, "books"),
    "nginx.last": lambda it: files.touch(f"{it.state_dir}/nginx.last", 1),
    "lictor.log": lambda it: log.open_kept(f"{it.state_dir}/lictor.log"),
}


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("link", LINKS)
def test_root_follows_no_link_of_that_user(state_dir: str, tmp_path: Path, link: str, is_there: bool) -> None:
    files.make_folder(f"{state_dir}/locks")
    target = tmp_path / "roots"
    if is_there:
        target.write_text("root's own")
        os.utime(target, (1e9, 1e9))
    os.symlink(target, f"{state_dir}/{link}")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        LINKS[link](Settings(state_dir=state_dir, nginx=None))
    assert target.exists() is is_there
    if is_there:
        found = target.stat()
        assert (found.st_uid, found.st_mtime, target.read_text()) == (0, 1e9, "root's own")


def test_neither_does_root_follow_a_linked_folder(state_dir: str, tmp_path: Path) -> None:
    target = tmp_path / "roots"
    target.mkdir(mode=0o755)
    os.symlink(target, f"{state_dir}/locks")
    with pytest.raises(errors.Refused, match="is no folder; remove it"):
        process_lock.leave_marker(state_dir, "books")
    os.symlink(target, f"{state_dir}/run")
    with pytest.raises(OSError, match="symbolic links|Not a directory"):
        nginx.prepare(state_dir)
    assert target.stat().st_mode & 0o777 == 0o755 and not any(target.iterdir())


def test_a_log_that_cannot_be_written_stops_nothing(state_dir: str) -> None:
    files.make_folder(f"{state_dir}/locks")
    os.symlink("/nowhere/x", f"{state_dir}/{process.LOG_NAME}")
    assert process.spawn_handler("lictor-reconcile", ["--help"], state_dir=state_dir).wait() == 0


def test_a_long_log_is_put_aside_once_by_however_many_handlers(state_dir: str) -> None:
    files.make_folder(f"{state_dir}/locks")
    path = Path(state_dir, process.LOG_NAME)
    path.write_bytes(b"x" * 10_000_001)
    with ThreadPoolExecutor(8) as pool:
        for file in pool.map(lambda _: process._open_log(state_dir), range(64)):
            file.write(b"line\n")
            file.close()
    assert path.with_name(f"{path.name}.1").stat().st_size >= 10_000_001
    assert path.stat().st_size + path.with_name(f"{path.name}.1").stat().st_size == 10_000_001 + 64 * 5
