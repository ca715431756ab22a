"""What a person thinks of each scan comes back from the page, is kept, and nothing strange is."""

from __future__ import annotations

import pytest

from medseg.cli.main import main
from medseg.errors import ConfigError
from medseg.report.ratings import FILE, Rating, keep_ratings, kept_ratings, read_ratings
from medseg.report.write import write_report
from sample_data.report_folder import make_out


def written(path, text):
    path.write_text(text, "utf-8")
    return path


def test_ratings_are_read_kept_and_shown(tmp_path, capsys):
    out = make_out(tmp_path / "out", 3, volumes=False, side=24)
    saved = written(
        tmp_path / "r.csv", '\ufeffscan,rating,note\n"scan000","pass",""\nscan001,EXCLUDE,"moved, ""twice"""\n'
    )
    assert main(["report", str(out), "--ratings", str(saved)]) == 0
    assert kept_ratings(out) == {"scan000": Rating("pass"), "scan001": Rating("exclude", 'moved, "twice"')}
    page = (out / "report.html").read_text("utf-8")
    assert page.count(" selected>pass<") == 1
    assert page.count(" selected>exclude<") == 1
    assert "moved, &#34;twice&#34;" in page
    more = written(tmp_path / "more.csv", "scan,rating,note\nscan000,exclude,\nscan002,,only a note\n")
    assert main(["report", str(out), "--ratings", str(more)]) == 0
    assert kept_ratings(out)["scan000"] == Rating("exclude")
    assert kept_ratings(out)["scan001"] == Rating("exclude", 'moved, "twice"')
    assert kept_ratings(out)["scan002"] == Rating("", "only a note")
    strange = written(tmp_path / "strange.csv", "scan,rating,note\nother,pass,\n")
    assert main(["report", str(out), "--ratings", str(strange)]) == 2
    assert "--ratings: found 1 scan that this folder has not, such as other" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "said"), [
    ("scan,rating\na,pass\n", "found other columns, expected scan, rating, note"),
    ("", "found other columns"),
    ("scan,rating,note\na,good,\n", "row 2: found the rating 'good', expected pass, exclude or none"),
])  # fmt: skip
def test_other_files_are_refused(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said):
        read_ratings(written(tmp_path / "r.csv", text))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "r.csv").write_bytes(b"scan,rating,note\n\xff\xfe,pass,\n")
    with pytest.raises(ConfigError, match=r"r\.csv: cannot be read as text"):
        read_ratings(tmp_path / "r.csv")


def test_notes_do_not_become_formulas(tmp_path):
    keep_ratings(tmp_path, {"a": Rating("pass", "=1+1")}, frozenset({"a"}))
    assert (tmp_path / FILE).read_text() == "scan,rating,note\na,pass,'=1+1\n"


def test_a_page_without_ratings_has_none(tmp_path):
    out = make_out(tmp_path / "out", 2, volumes=False, side=24)
    page = write_report(out).read_text("utf-8")
    assert page.count(" selected>not rated<") == 2  # the refused scan has nothing to rate
    assert not (out / FILE).exists()
