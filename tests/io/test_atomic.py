"""Files and folders appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.errors import ConfigError
from medseg.io.atomic import whole_file, whole_folder, write_text_whole


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a_seg.nii.gz"
    write_text_whole(path, "old\n")

    def write_half(error: BaseException) -> None:
        with whole_file(path) as temporary:
            assert temporary.name.endswith("a_seg.nii.gz")
            assert temporary.name.startswith(".")
            temporary.write_text("half")
            raise error

    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            write_half(error)
    with pytest.raises(FileNotFoundError), whole_file(path):
        pass
    assert [p.name for p in path.parent.iterdir()] == ["a_seg.nii.gz"]
    assert path.read_bytes() == b"old\n"


def test_long_names_and_folders_in_the_way(tmp_path: Path) -> None:
    write_text_whole(tmp_path / ("x" * 250 + ".csv"), "a")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_text_whole(tmp_path / "folder", "a")
    assert not list(tmp_path.glob(".*"))


def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")

    def write() -> None:
        with whole_file(tmp_path / "a.txt") as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_text("some text")

    with pytest.raises(OSError, match="No space left"):
        write()
    assert not list(tmp_path.iterdir())


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
