"""Files that are replaced: all in order, or none; and nothing is left of an attempt."""

import os
from pathlib import Path

import pytest

from lictor import errors
from lictor.adapters import files


@pytest.mark.parametrize("durable", [False, True])
def test_many_are_replaced_and_keep_their_mode(tmp_path: Path, durable: bool) -> None:
    paths = [str(tmp_path / name) for name in ("a", "b")]
    files.write_all({paths[0]: "old"}, mode=0o600, durable=durable)
    files.write_all({path: f"new {path}" for path in paths}, mode=0o640, durable=durable)
    assert [files.read(path) for path in paths] == [f"new {path}" for path in paths]
    assert {os.stat(path).st_mode & 0o777 for path in paths} == {0o640}
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_when_one_cannot_be_written_all_are_as_they_were(tmp_path: Path) -> None:
    there, nowhere = str(tmp_path / "a"), str(tmp_path / "no-such-folder" / "b")
    files.write_all({there: "old"})
    with pytest.raises(FileNotFoundError):
        files.write_all({there: "new", nowhere: "new"})
    assert files.read(there) == "old" and os.listdir(tmp_path) == ["a"]


def test_what_says_the_same_is_not_written_again(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    assert files.write_atomic(path, "text") is True
    inode = os.stat(path).st_ino
    assert files.write_atomic(path, "text") is False and os.stat(path).st_ino == inode


def test_a_folder_is_locked_by_one_and_the_others_wait_only_so_long(tmp_path: Path) -> None:
    folder = str(tmp_path)
    with (files.locked_folder(folder, timeout_s=0),
          pytest.raises(errors.Unavailable, match="another process has kept it"),
          files.locked_folder(folder, timeout_s=0)):
        pass
    with files.locked_folder(folder, timeout_s=0):
        assert not os.listdir(folder)
    with (pytest.raises(errors.Refused, match="no-such-folder: No such file"),
          files.locked_folder(str(tmp_path / "no-such-folder"), timeout_s=0)):
        pass
