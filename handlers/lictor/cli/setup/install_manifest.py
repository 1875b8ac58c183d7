"""What lictor put on this node, remembered in one file, so that exactly that can be taken away again."""

import contextlib
import hashlib
import os
import pwd
import stat
from collections.abc import Iterator

from lictor.adapters import files

MANIFEST = "/etc/lictor/installed.json"
_GENERATED = "generated"  # rewritten by lictor itself, so a difference is not its owner's


class Installed:
    """Files and folders of lictor's below `root`; `lines` says what happened to them, for people.

    A file that differs from what was written last has been changed by its owner, and is left alone unless `force`.
    """

    def __init__(self, root: str, *, force: bool) -> None:
        self.root, self.force, self.lines = root, force, list[str]()
        known = files.read_json(self.path(MANIFEST)) or {}
        self.files: dict[str, str] = known.get("files", {})  # path -> digest of what was written last, or _GENERATED
        self.folders: dict[str, list[int] | None] = known.get("folders", {})  # path -> mode, uid, gid before; None: new

    def path(self, path: str) -> str:
        """Where a path of the node lies below `root`."""
        return os.path.join(self.root, path.lstrip("/"))

    def write(self, path: str, text: str, *, generated: bool = False, mode: int = 0o644) -> bool:
        """Write a file unless its owner changed it (`generated`: lictor will); returns whether anything changed."""
        there = files.read(self.path(path))
        is_changed = there is not None and there != text and _digest(there) != self.files.get(path)
        if is_changed and not self.force:
            self.lines.append(f"kept {path}: it has been changed (--force overwrites it)")
            return False
        if is_changed and self.files.get(path) != _GENERATED:
            os.replace(self.path(path), self.path(f"{path}.bak"))
            self.lines.append(f"kept what was in {path} as {path}.bak")
        self.make_folder(os.path.dirname(path))
        changed = files.write_atomic(self.path(path), text, mode=mode)
        self.files[path] = _GENERATED if generated else _digest(text)
        if changed:
            self.lines.append(f"wrote {path}")
        return changed

    def make_folder(self, path: str) -> None:
        if not os.path.isdir(self.path(path)):
            self.make_folder(os.path.dirname(path))
            os.mkdir(self.path(path))
            self.folders[path] = None

    def own(self, path: str, user: str, mode: int) -> None:
        """Give a file, or a folder with all that is in it, its mode, and to `user` if there is one."""
        os.chmod(self.path(path), mode)
        if user:
            account = pwd.getpwnam(user)
            os.chown(self.path(path), account.pw_uid, account.pw_gid)
            for folder, folders, names in os.walk(self.path(path)):
                for name in (*folders, *names):
                    os.chown(os.path.join(folder, name), account.pw_uid, account.pw_gid, follow_symlinks=False)

    def show(self, path: str, user: str) -> None:
        """Let a file of root's be read by `user`, if there is one, and by nobody else."""
        os.chmod(self.path(path), 0o640)
        if user:
            os.chown(self.path(path), -1, pwd.getpwnam(user).pw_gid)

    def adopt(self, folder: str) -> None:
        """Remember what other parts of lictor put into a folder."""
        for entry in sorted(os.scandir(self.path(folder)), key=lambda entry: entry.name):
            path = os.path.join(folder, entry.name)
            if entry.is_dir():
                self.folders.setdefault(path, None)
            elif entry.is_file() and path not in self.files:
                self.files[path] = _GENERATED
                self.lines.append(f"wrote {path}")

    def share(self, path: str, user: str) -> None:
        """Let `user` add files of its own to a folder of root's. Sticky: it can't replace those of others."""
        before, account = os.stat(self.path(path)), pwd.getpwnam(user)
        wanted = (stat.S_IMODE(before.st_mode) | 0o1070, before.st_uid, account.pw_gid)
        if (stat.S_IMODE(before.st_mode), before.st_uid, before.st_gid) != wanted:
            self.folders.setdefault(path, [stat.S_IMODE(before.st_mode), before.st_uid, before.st_gid])
            os.chown(self.path(path), *wanted[1:])
            os.chmod(self.path(path), wanted[0])
            self.lines.append(f"changed {path}: {user} may add files")

    def remove(self, keep: dict[str, str]) -> None:
        """Take everything away, last things first. `keep`: path -> why not."""
        for path in reversed(list(self.files)):
            there = files.read(self.path(path))
            if there is not None and path in keep:
                self.lines.append(f"kept {path}: {keep[path]}")
            elif there is None or self.force or self.files[path] in (_GENERATED, _digest(there)):
                if files.remove(self.path(path)):
                    self.lines.append(f"removed {path}")
                del self.files[path]
            else:
                self.lines.append(f"kept {path}: it has been changed (--force removes it)")
        if not self.files:
            files.remove(self.path(MANIFEST))
        for path in reversed(list(self.folders)):
            self._give_back(path)
        outermost = [path for path in self.folders if os.path.dirname(path) not in self.folders]
        self.lines += [f"left {path}: it is not empty" for path in outermost]

    def _give_back(self, path: str) -> None:
        before = self.folders[path]
        if before is not None:
            os.chmod(self.path(path), before[0])
            os.chown(self.path(path), *before[1:])
            self.lines.append(f"changed {path} back")
        elif os.path.isdir(self.path(path)):
            if os.listdir(self.path(path)):
                return
            os.rmdir(self.path(path))
        del self.folders[path]

    @contextlib.contextmanager
    def saved(self) -> Iterator[None]:
        """Remember what was done, also when it fails half-way."""
        try:
            yield
        finally:
            if self.files:
                self.make_folder(os.path.dirname(MANIFEST))
                files.write_json(self.path(MANIFEST), {"files": self.files, "folders": self.folders})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
