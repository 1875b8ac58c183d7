"""The manifest of what lictor put on this node: one file, so that exactly that can be taken away again."""

import contextlib
import hashlib
import os
import pwd
import stat
from collections.abc import Iterator

from lictor.adapters import files

MANIFEST = "/etc/lictor/installed.json"
_GENERATED = "generated"  # lictor itself writes it anew, so a difference is no change of its owner's


class Manifest:
    """lictor's files and folders below `root`; `lines` says what happened to them, for people.

    If a file differs from what was written last, its owner has changed it, and it is left alone unless `force`.
    """

    def __init__(self, root: str, *, force: bool) -> None:
        self.root, self.force, self.lines = root, force, list[str]()
        known = files.read_json(self.path(MANIFEST)) or {}
        self.files: dict[str, str] = known.get("files", {})  # path -> digest of what was written last, or _GENERATED
        self.folders: dict[str, list[int] | None] = known.get("folders", {})  # path -> mode, uid, gid before; None: new

    def path(self, path: str) -> str:
        """Map a path of the node to below `root`."""
        return os.path.join(self.root, path.lstrip("/"))

    def write(self, path: str, text: str, *, generated: bool = False, mode: int = 0o644) -> bool:
        """Write a file, unless its owner has changed it; returns whether the file is another now.

        A `generated` file is one that lictor itself will write anew.
        """
        present = files.read(self.path(path))
        is_changed = present is not None and present != text and _digest(present) != self.files.get(path)
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
        """Make a folder, and those above it."""
        if not os.path.isdir(self.path(path)):
            self.make_folder(os.path.dirname(path))
            os.mkdir(self.path(path))
            self.folders[path] = None

    def own(self, path: str, user: str, mode: int) -> None:
        """Set a file's or folder's mode; give it, with all that is in it, to `user` if there is one."""
        os.chmod(self.path(path), mode)
        if user:
            account = pwd.getpwnam(user)
            os.chown(self.path(path), account.pw_uid, account.pw_gid)
            for folder, folders, names in os.walk(self.path(path)):
                for name in (*folders, *names):
                    os.chown(os.path.join(folder, name), account.pw_uid, account.pw_gid, follow_symlinks=False)

    def show(self, path: str, user: str) -> None:
        """Let `user`, if there is one, read a file of root's; nobody else may."""
        os.chmod(self.path(path), 0o640)
        if user:
            os.chown(self.path(path), -1, pwd.getpwnam(user).pw_gid)

    def adopt(self, folder: str) -> None:
        """Add what other parts of lictor put into a folder."""
        for entry in sorted(os.scandir(self.path(folder)), key=lambda entry: entry.name):
            path = os.path.join(folder, entry.name)
            if entry.is_dir():
                self.folders.setdefault(path, None)
            elif entry.is_file() and path not in self.files:
                self.files[path] = _GENERATED
                self.lines.append(f"wrote {path}")

    def share(self, path: str, user: str) -> None:
        """Let `user` add files of its own to a folder of root's. The sticky bit keeps it from replacing others'."""
        found, account = os.stat(self.path(path)), pwd.getpwnam(user)
        before = [stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid]
        after = [before[0] | 0o1070, found.st_uid, account.pw_gid]
        if before != after:
            self.folders.setdefault(path, before)
            os.chown(self.path(path), *after[1:])
            os.chmod(self.path(path), after[0])
            self.lines.append(f"changed {path}: {user} may add files")

    def remove(self, keep: dict[str, str]) -> None:
        """Take everything away, last things first. `keep`: path -> why it must stay."""
        for path in reversed(list(self.files)):
            present = files.read(self.path(path))
            is_ours = present is None or self.force or self.files[path] in (_GENERATED, _digest(present))
            if present is not None and (path in keep or not is_ours):
                why = keep.get(path, "it has been changed (--force removes it)")
                self.lines.append(f"kept {path}: {why}")
                continue
            if files.remove(self.path(path)):
                self.lines.append(f"removed {path}")
            del self.files[path]
        if not self.files:
            files.remove(self.path(MANIFEST))
        for path in reversed(list(self.folders)):
            self._restore(path)
        outermost = [path for path in self.folders if os.path.dirname(path) not in self.folders]
        self.lines += [f"left {path}: it is not empty" for path in outermost]

    def _restore(self, path: str) -> None:
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
        """Write the manifest at the end, also after a failure half-way."""
        try:
            yield
        finally:
            if self.files:
                self.make_folder(os.path.dirname(MANIFEST))
                files.write_json(self.path(MANIFEST), {"files": self.files, "folders": self.folders})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
