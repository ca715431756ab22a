"""The program behind Slicer's panel: found, run with progress, cancelled, and its reasons told."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from MedSegLib.program import (
    Label,
    ProgramError,
    Run,
    clean_environment,
    find_program,
    read_labels,
    rename_command,
    segment_command,
)

ONE, TWO = Label(1, "label 1", (10, 20, 30)), Label(2, "label 2", (1, 2, 3), ("10200004", "Liver"))


def script(folder: Path, text: str) -> Path:
    path = folder / "medseg"
    path.write_text(f"#!{sys.executable}\nimport os, signal, sys, time\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_program_is_found_where_it_was_chosen_named_or_installed(tmp_path, monkeypatch):
    program = script(tmp_path, "pass")
    monkeypatch.delenv("MEDSEG", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_program(str(program)) == program
    with pytest.raises(ProgramError, match=r"medseg was not found; install it \(pip install medseg\)"):
        find_program()
    monkeypatch.setenv("MEDSEG", str(program))
    assert find_program() == program
    with pytest.raises(ProgramError, match="is no program; choose the medseg"):
        find_program(str(tmp_path / "other"))
    monkeypatch.delenv("MEDSEG")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program() == program


def test_slicers_python_does_not_leak():
    found = clean_environment({"PYTHONHOME": "a", "PYTHONPATH": "b", "LD_LIBRARY_PATH": "c", "HOME": "d", "QT_X": "e"})
    assert found == {"HOME": "d"}


def test_progress_is_told_and_the_last_reason_is_the_error(tmp_path):
    program = script(tmp_path, (
        "print('<filter-progress>0.25</filter-progress>', flush=True)\n"
        "print('<filter-progress>0.5</filter-progress>', flush=True)\n"
        "print('medseg: scan.nii: every intensity is 0, expected an image; check the scan', file=sys.stderr)\n"
        "print('a warning of somebody else', file=sys.stderr)\n"
        "sys.exit(2 if 'fail' in sys.argv else 0)"
    ))  # fmt: skip
    good = Run([str(program)]).start()
    good.check()
    assert good.progress == 0.5
    assert not good.is_running
    with pytest.raises(ProgramError, match=r"^scan.nii: every intensity is 0, expected an image; check the scan$"):
        Run([str(program), "fail"]).start().check()
    with pytest.raises(ProgramError, match="cannot be started"):
        Run([str(tmp_path / "nothing")]).start()


@pytest.mark.parametrize("is_stubborn", [False, True])
def test_cancelling_ends_the_program_and_its_children(tmp_path, is_stubborn):
    """Both hold one end of a pipe, which ends when both are gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if is_stubborn else "pass"
    program = script(tmp_path, (
        f"{stubborn}\nos.fork()\nheld = open({str(pipe)!r}, 'w')\nheld.write('ready\\n')\nheld.flush()\n"
        "signal.pause()"
    ))  # fmt: skip
    run = Run([str(program)], kill_after_s=0.3).start()
    with pipe.open() as held:
        assert [held.readline(), held.readline()] == ["ready\n", "ready\n"]
        run.cancel()
        with pytest.raises(ProgramError, match=r"^cancelled$"):
            run.check()
        assert held.read() == ""


def test_only_what_changed_is_written_into_the_model(tmp_path):
    program, model = Path("medseg"), Path("model")
    assert rename_command(program, model, [ONE, TWO], [ONE, TWO]) == []
    now = [Label(1, "fat", (10, 20, 31), ("55603005", "Fat")), Label(3, "new", (0, 0, 0))]
    assert rename_command(program, model, now, [ONE, TWO]) == [
        "medseg", "label", "model", "--name", "1=fat", "--color", "1=10,20,31", "--code", "1=55603005:Fat",
    ]  # fmt: skip
    scan, out, sure = (tmp_path / name for name in ("a.nii", "b.seg.nrrd", "c.nii.gz"))
    assert segment_command(program, model, scan, out, None, "cpu")[-4:] == ["--model", "model", "--device", "cpu"]
    assert segment_command(program, model, scan, out, sure, "cpu")[-2:] == ["--confidence", str(sure)]


def test_the_labels_of_a_model_are_read_and_other_folders_refused(model_folder, tmp_path):
    labels = read_labels(model_folder)
    assert [label.number for label in labels] == [1, 2, 3]
    assert all(label.code is None and label.name for label in labels)
    with pytest.raises(ProgramError, match="is no model folder"):
        read_labels(tmp_path)
