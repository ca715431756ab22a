"""`medseg inspect`: which series is which, without a word that people typed unless they are asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medseg.cli.main import build_parser, main
from medseg.cli.scans import scans_of
from medseg.config import ChannelsConfig, Config
from medseg.errors import ConfigError
from sample_data.dicom_series import write_dicom_series
from sample_data.phantom import phantom
from sample_data.report_folder import small_grid
from tests.support.dicom_files import AXIAL, edit, write_axial
from tests.support.dicom_files import phantom as voxels
from tests.support.scans import write_nifti

SECRET = "Zerbrowski"


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients: T1 and FLAIR in one study and a later T1, and a T1 of the other; a CT of nobody."""
    folder = tmp_path_factory.mktemp("export")
    flair: dict[str, object] = {
        "ScanningSequence": ["SE", "IR"],
        "RepetitionTime": "9000",
        "EchoTime": "130",
        "InversionTime": "2500",
    }
    spoiled: dict[str, object] = {"SequenceVariant": "SP"}
    rows = [("a1", "A", "1", f"t1 {SECRET}", spoiled), ("a2", "A", "1", "T2 FLAIR", flair),
            ("a3", "A", "2", "T1 mprage", spoiled), ("b1", "B", "3", "t1 mprage 2", spoiled)]  # fmt: skip
    for number, (name, patient, study, description, elements) in enumerate(rows):
        (folder / name).mkdir()
        for path in write_axial(folder / name):
            edit(path, PatientID=patient, PatientName=f"{SECRET}^{patient}", StudyInstanceUID=f"1.9.{study}",
                 SeriesInstanceUID=f"1.2.{number}", SOPInstanceUID=f"1.3.{number}.{int(path.stem[2:])}",
                 SeriesNumber=number, SeriesDescription=description, ProtocolName="head", **elements)  # fmt: skip
    for path in write_dicom_series((voxels(), AXIAL), folder / "ct", modality="CT", series_number=9, seed=7):
        edit(path, PatientID="", PatientName="", StudyInstanceUID="1.9.4", SeriesDescription="", ProtocolName="Thorax")
    return folder


def objects(*words: object, capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    assert main(["inspect", *map(str, words), "--json"]) == 0
    return list(json.loads(capsys.readouterr().out))


def test_series_are_told_apart_without_free_text(export, capsys):
    assert main(["inspect", str(export)]) == 0
    text = capsys.readouterr().out
    assert SECRET.lower() not in text.lower()
    assert "mprage" not in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    found = [line for line in lines if line.startswith(("patient", "mr", "ct"))]
    assert [line if line.startswith("patient") else line[:3] for line in found] == [
        "patient 1, study 1", "ct9", "patient 2, study 1", "mr0", "mr1", "patient 2, study 2", "mr2",
        "patient 3, study 1", "mr3",
    ]  # fmt: skip
    assert "MR T1-weighted (guess) 3D GR TR 10 TE 3 unknown" in found[3]
    assert "MR T2-weighted FLAIR (guess) 3D SE/IR TR 9000 TE 130 TI 2500 unknown" in found[4]


def test_the_same_as_json(export, capsys):
    rows = objects(export, capsys=capsys)
    owners = {str(row["id"])[:3]: (row["patient"], row["study"]) for row in rows}
    assert owners == {"ct9": (1, 1), "mr0": (2, 1), "mr1": (2, 1), "mr2": (2, 2), "mr3": (3, 1)}
    assert {row["description"] for row in rows} == {row["protocol"] for row in rows} == {None}
    facts = rows[2]["facts"]
    assert isinstance(facts, dict)
    assert (facts["weighting_guess"], facts["ti_ms"], facts["agent"]) == ("T2-weighted FLAIR", 2500.0, "unknown")
    assert SECRET not in json.dumps([{**row, "path": ""} for row in rows])


def test_descriptions_are_shown_to_who_asks(export, capsys):
    rows = objects(export, "--show-descriptions", capsys=capsys)
    assert [row["description"] for row in rows] == ["", f"t1 {SECRET}", "T2 FLAIR", "T1 mprage", "t1 mprage 2"]
    assert main(["inspect", str(export), "--show-descriptions"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"t1 {SECRET} | head" in text
    assert "names of patients may be among them" in " ".join(help_of("inspect", capsys).split())


def help_of(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [(["*T1*"], ["mr0", "mr2", "mr3"]), (["t2 flair"], ["mr1"]), (["*mprage", "*flair"], ["mr1", "mr2"]),
     (["thorax"], ["ct9"]), (["head"], None), (["t1"], None)],
)  # fmt: skip
def test_series_are_picked_by_description(patterns, taken, export, capsys):
    flags = [word for pattern in patterns for word in ("--series", pattern)]
    if taken is None:
        assert main(["inspect", str(export), *flags]) == 2
        assert (
            "that --series take, expected at least one; medseg inspect --show-descriptions" in capsys.readouterr().err
        )
    else:
        assert [str(row["id"])[:3] for row in objects(export, *flags, capsys=capsys)] == taken


def test_a_damaged_file_stays_because_nobody_knows_its_series(export, tmp_path, capsys):
    (tmp_path / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    write_axial(tmp_path)
    assert main(["inspect", str(tmp_path), "--series", "phantom", "--json"]) == 1
    assert sorted(row["verdict"] for row in json.loads(capsys.readouterr().out)) == ["corrupt_file", "ok"]


def said_of(folder: Path, *words: str, capfd: pytest.CaptureFixture[str], config: Config | None = None) -> str:
    scans_of(build_parser().parse_args(["train", str(folder), "--model", "m", *words]), config or Config())
    return " ".join(capfd.readouterr().err.split())


def test_a_cohort_that_mixes_kinds_is_warned_about(export, capfd):
    text = said_of(export, capfd=capfd)
    assert "warning: found 3 kinds of series (3 x MR T1-weighted (guess) 3D GR; 1 x CT; " in text
    assert "1 x MR T2-weighted FLAIR (guess) 3D SE/IR), expected one for one model" in text
    assert SECRET not in text
    text = said_of(export, "--series", "*t1*", capfd=capfd)
    assert "warning: found 2 different descriptions among 3 series" in text
    assert "mprage" not in text
    assert "warning" not in said_of(export, "--series", "*mprage*", capfd=capfd)
    channels = ChannelsConfig(names=("t1 z*", "*flair*"), by="series")
    assert "warning" not in said_of(export, capfd=capfd, config=Config(channels=channels))


def test_kinds_of_a_bids_dataset(tmp_path, capfd):
    image = phantom(small_grid(28), noise=8.0, seed=0)[0]
    for name in ("sub-1/anat/sub-1_T1w", "sub-2/anat/sub-2_T1w", "sub-2/anat/sub-2_FLAIR", "x"):
        write_nifti(image, tmp_path / f"{name}.nii.gz")
    assert "found 2 kinds of series (2 x T1w; 1 x FLAIR)" in said_of(tmp_path, capfd=capfd)
    assert "warning" not in said_of(tmp_path, "--exclude", "*FLAIR*", capfd=capfd)


def test_patterns_that_take_nothing_are_named_together(export):
    args = build_parser().parse_args(["train", str(export), "--model", "m", "--series", "x", "--exclude", "y"])
    with pytest.raises(ConfigError, match="that --include and --exclude and --series take"):
        scans_of(args, Config())
