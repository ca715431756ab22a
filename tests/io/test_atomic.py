"""Files and folders appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from medseg.errors import ConfigError, OutputError
from medseg.io.atomic import scratch_folder, whole_file, whole_folder, write_text_whole


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a_seg.nii.gz"
    write_text_whole(path, "old\n")

    def write_half(error: BaseException) -> None:
        with whole_file(path) as temporary:
            assert temporary.name.endswith("a_seg.nii.gz")
            assert temporary.name.startswith(".")
            temporary.write_text("half")
            raise error

    for error, expected in (
        (OSError(errno.ENOSPC, "No space left on device"), OutputError),
        (ValueError("a bug"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ):
        with pytest.raises(expected):
            write_half(error)
    with pytest.raises(OutputError, match="the folder is gone"), whole_file(path):
        pass
    assert [p.name for p in path.parent.iterdir()] == ["a_seg.nii.gz"]
    assert path.read_bytes() == b"old\n"


def test_long_names_and_folders_in_the_way(tmp_path: Path) -> None:
    write_text_whole(tmp_path / ("x" * 250 + ".csv"), "a")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder: cannot be written: a folder lies where the file belongs"):
        write_text_whole(tmp_path / "folder", "a")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="a file lies where a folder belongs"):
        write_text_whole(tmp_path / "file" / "a.txt", "a")
    with pytest.raises(OutputError, match="the name or path is too long"):
        write_text_whole(tmp_path / ("x" * 256), "a")
    assert not list(tmp_path.glob(".*"))


def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")

    def write() -> None:
        with whole_file(tmp_path / "a.txt") as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_text("some text")

    with pytest.raises(OutputError, match=r"a\.txt: cannot be written: the disk is full \(.+ are free") as caught:
        write()
    assert (caught.value.code, caught.value.place) == ("disk_full", tmp_path / "a.txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "disk_full"), (errno.EDQUOT, "over_quota"),
                                              (errno.EROFS, "read_only"), (errno.EIO, "disk_failed")])  # fmt: skip
def test_what_the_disk_says_late_becomes_one_kind_of_error(tmp_path, monkeypatch, number, code):
    """Network disks and quotas answer only when a file is flushed."""
    write_text_whole(tmp_path / "a.txt", "old")
    with whole_folder(tmp_path / "model", marker="m") as temporary:
        (temporary / "m").write_text("old")

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OutputError) as caught:
            write_text_whole(tmp_path / "a.txt", "new" * 1000)
        with pytest.raises(OutputError) as caught_folder, whole_folder(
            tmp_path / "model", marker="m", n_bytes=12_345
        ) as temporary:  # fmt: skip
            (temporary / "m").write_text("new")
    assert caught.value.code == caught_folder.value.code == code
    assert ("about 3.0 kB are needed" in str(caught.value)) == (code == "disk_full")
    assert ("about 12 kB are needed" in str(caught_folder.value)) == (code == "disk_full")
    assert (tmp_path / "a.txt").read_text() == (tmp_path / "model" / "m").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "model"]


def test_a_folder_for_the_meantime_on_a_disk_that_takes_none(tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(OutputError, match="the file system can only be read") as caught, scratch_folder(tmp_path / "a"):
        pass
    assert caught.value.place == tmp_path


def stop_while_writing(path: Path) -> None:
    with whole_folder(path, marker="model.json") as temporary:
        (temporary / "model.json").touch()
        raise RuntimeError("stop")


def test_whole_folder(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for text in ("first", "second"):
        with whole_folder(path, marker="model.json") as temporary:
            (temporary / "deep").mkdir()
            (temporary / "deep" / "a.txt").write_text(text)
            (temporary / "model.json").write_text("{}")
            (temporary / f"{text}.txt").touch()
        assert (path / "deep" / "a.txt").read_text() == text
    assert sorted(p.name for p in path.iterdir()) == ["deep", "model.json", "second.txt"]
    with pytest.raises(RuntimeError, match="stop"):
        stop_while_writing(path)
    assert (path / "model.json").read_text() == "{}"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_failed_exchange_brings_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "model.json").write_text("old")
    rename, calls = Path.rename, []

    def second_fails(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == 2:
            raise PermissionError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(PermissionError, match="no"), whole_folder(path, marker="model.json") as temporary:
        (temporary / "model.json").write_text("new")
    assert (path / "model.json").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_foreign_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with (
        pytest.raises(ConfigError, match=r"holds other files and no model\.json"),
        whole_folder(tmp_path, marker="model.json"),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="is a file where a folder"),
        whole_folder(tmp_path / "thesis.tex", marker="model.json"),
    ):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "empty").mkdir()
    with whole_folder(tmp_path / "empty", marker="model.json") as temporary:
        (temporary / "model.json").touch()
    assert (tmp_path / "empty" / "model.json").exists()
